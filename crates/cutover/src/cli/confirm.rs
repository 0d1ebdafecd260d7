//! Asks whether something is meant that is not easily taken back.

use std::io::IsTerminal;

use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;

/// Asks on a terminal; where nobody can be asked, `--yes` has to say it. `nothing` says what did not happen, such as
/// `nothing was stopped`.
pub(crate) fn confirm(printer: &Printer, question: &str, nothing: &str) -> Result<(), Failure> {
    match answer(printer, question) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Exit::Refused, nothing.to_owned())),
        None => Err(Failure::usage(format!("{question}, and nobody is here to say yes: {nothing}"))
            .hint("`--yes` says that it is meant")),
    }
}

/// Whether a person says yes; nothing where nobody can be asked.
pub(crate) fn answer(printer: &Printer, question: &str) -> Option<bool> {
    if !printer.is_terminal() || !std::io::stdin().is_terminal() {
        return None;
    }
    printer.talk(&format!("{question}\ntype `yes` if that is meant:"));
    let mut answer = String::new();
    // Whoever cannot be read has not said yes.
    let _ = std::io::stdin().read_line(&mut answer);
    Some(answer.trim() == "yes")
}
