//! What a gate has found, as people read it: of what failed, request, answer and assertions side by side.

use std::fmt::Write;

use cutover_core::gates::{Check, Finding, Verdict};

use crate::cli::foreign;

/// Characters of the reason of a finding, in the line of its step.
pub(crate) const REASON: usize = 80;
/// Characters of a column.
const COLUMN: usize = 46;
/// Characters of a reason, or of what was found: request and answer stand beside it.
const SAID: usize = 120;
/// Lines of a request or an answer.
const LINES: usize = 16;

/// The checks of a finding that did not pass, each with its evidence; nothing if there are none, or if the line of the
/// step, which ends with the reason, says all that is known.
pub(crate) fn of_what_failed(finding: &Finding) -> String {
    let mut text = String::new();
    let failed: Vec<&Check> = finding.checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    if let [check] = failed[..]
        && check.request.is_none()
        && check.assertions.is_empty()
        && check.output.is_empty()
        && finding.reason.chars().count() <= REASON
    {
        return text;
    }
    for check in failed {
        of_check(&mut text, check);
    }
    text
}

/// Every check in a line, with the evidence of those that did not pass.
pub(crate) fn all(finding: &Finding) -> String {
    let mut text = String::new();
    for check in &finding.checks {
        if check.verdict == Verdict::Pass {
            let _ = writeln!(text, "      ✓ {:<60} {:>7}", foreign::line(&check.full_name()), took(check));
            output(&mut text, check);
        } else {
            of_check(&mut text, check);
        }
    }
    text
}

fn took(check: &Check) -> String {
    format!("{:.1} s", check.took_ms as f64 / 1000.0)
}

fn of_check(text: &mut String, check: &Check) {
    let mark = if check.verdict == Verdict::Fail { '✗' } else { '?' };
    let name = foreign::line(&check.full_name()).into_owned();
    let _ = writeln!(text, "      {mark} {name:<60} {:>7}", took(check));
    if !check.reason.is_empty() {
        let _ = writeln!(text, "        {}", cut(&foreign::line(&check.reason), SAID));
    }
    if check.request.is_some() || check.answer.is_some() {
        columns(
            text,
            check.request.as_deref().unwrap_or("-"),
            check.answer.as_deref().unwrap_or("none came"),
        );
    }
    for assertion in &check.assertions {
        let mark = if assertion.holds { '✓' } else { '✗' };
        let asserted = cut(&foreign::line(&assertion.text), COLUMN);
        let found = cut(&foreign::line(&assertion.found), SAID);
        let _ = writeln!(text, "        {mark} {asserted:<COLUMN$}   found {found}");
    }
    output(text, check);
}

fn output(text: &mut String, check: &Check) {
    for line in &check.output {
        let _ = writeln!(text, "        | {}", foreign::line(line));
    }
}

/// Request and answer beside one another.
fn columns(text: &mut String, request: &str, answer: &str) {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| cut(&foreign::line(line), COLUMN));
        let mut lines: Vec<String> = lines.take(LINES + 1).collect();
        if lines.len() > LINES {
            lines.truncate(LINES);
            lines.push("…".to_owned());
        }
        lines
    };
    let (request, answer) = (lines(request), lines(answer));
    let _ = writeln!(text, "        {:<COLUMN$} │ answer", "request");
    for row in 0..request.len().max(answer.len()) {
        let left = request.get(row).map_or("", String::as_str);
        let right = answer.get(row).map_or("", String::as_str);
        let line = format!("        {left:<COLUMN$} │ {right}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// A line of at most so many characters.
pub(crate) fn cut(line: &str, longest: usize) -> String {
    match line.char_indices().nth(longest) {
        Some((end, _)) => {
            let end = line[..end].char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}…", &line[..end])
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::gates::Assertion;

    use super::*;

    #[test]
    fn of_what_failed_request_answer_and_assertions_stand_side_by_side() {
        let check = Check {
            took_ms: 212,
            reason: "`status == 200` does not hold".to_owned(),
            request: Some("POST /pay HTTP/1.1\nHost: shop.example\n\n{\"sum\":7}".to_owned()),
            answer: Some(
                "HTTP/1.1 500 Internal Server Error\n\nno such table: \u{1b}[31mpayments".to_owned(),
            ),
            assertions: vec![
                Assertion { text: "status == 200".to_owned(), found: "500".to_owned(), holds: false },
                Assertion { text: "duration < 1s".to_owned(), found: "212ms".to_owned(), holds: true },
            ],
            ..Check::new("checkout", "pay", Verdict::Fail)
        };
        let finding = Finding::of(vec![Check::new("home", "home", Verdict::Pass), check]);
        insta::assert_snapshot!(of_what_failed(&finding));
        assert!(all(&finding).starts_with("      ✓ home"));
        assert_eq!(of_what_failed(&Finding::pass("4 of 4")), "");
    }

    #[test]
    fn what_the_line_of_the_step_says_already_is_not_said_again() {
        let refused = |reason: &str| {
            let check = Check { reason: reason.to_owned(), ..Check::new("chat", "chat", Verdict::NotYet) };
            of_what_failed(&Finding::of(vec![Check::new("mail", "mail", Verdict::Pass), check]))
        };
        assert_eq!(refused("connection refused"), "");
        assert!(refused(&"refused ".repeat(12)).contains("refused refused"), "the line of the step is cut");
    }

    #[test]
    fn what_is_long_is_cut_where_a_character_ends() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
