//! Text of others: what of it a terminal would obey instead of showing it.

use hyper::StatusCode;

use crate::api::problem::Problem;

/// Whether a terminal does something else with it than show it: control characters (C0, DEL, C1), and those that turn
/// the direction of what follows.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Refuses a reason that would not look everywhere as it was meant: it is shown to people in one line.
pub(super) fn check_reason(reason: &str) -> Result<(), Problem> {
    if !reason.chars().any(is_hidden) {
        return Ok(());
    }
    let mut problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "a reason is one line, without control characters");
    problem.hint = Some("say it in plain words".to_owned());
    Err(problem)
}
