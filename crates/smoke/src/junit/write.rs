//! What was found, for CI services.

use std::fmt::Write as _;

use cutover_core::gates::{Check, Finding, Verdict};

/// Writes findings as a report: a suite for each, by its name, with a test for each of its checks; a finding without
/// checks is a test for itself. What failed is a failure, what nobody knows an error.
#[must_use]
pub fn write(name: &str, findings: &[(String, Finding)]) -> String {
    let suites: Vec<(&str, Vec<Check>)> =
        findings.iter().map(|(gate, finding)| (gate.as_str(), checks(gate, finding))).collect();
    let all = || suites.iter().flat_map(|(_, checks)| checks);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // A `String` takes whatever is written.
    let _ = writeln!(xml, "<testsuites name=\"{}\"{}>", escaped(name), figures(all()));
    for (gate, checks) in &suites {
        let _ = writeln!(xml, "  <testsuite name=\"{}\"{}>", escaped(gate), figures(checks.iter()));
        checks.iter().for_each(|check| write_check(&mut xml, check));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// The checks of a finding; where they do not say why it is what it is, one more that does.
fn checks(gate: &str, finding: &Finding) -> Vec<Check> {
    let mut checks = finding.checks.clone();
    let told = Verdict::of_all(checks.iter().map(|check| check.verdict));
    if checks.is_empty() || told != finding.verdict {
        let mut whole = Check::new(gate, gate, finding.verdict);
        whole.reason.clone_from(&finding.reason);
        checks.push(whole);
    }
    checks
}

fn figures<'a>(checks: impl Iterator<Item = &'a Check>) -> String {
    let (mut tests, mut failures, mut errors, mut milliseconds) = (0_u64, 0_u64, 0_u64, 0_u64);
    for check in checks {
        tests += 1;
        failures += u64::from(check.verdict == Verdict::Fail);
        errors += u64::from(check.verdict == Verdict::NotYet);
        milliseconds = milliseconds.saturating_add(check.took_ms);
    }
    format!(
        " tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"{}\"",
        seconds(milliseconds)
    )
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

fn write_check(xml: &mut String, check: &Check) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escaped(&check.suite),
        escaped(&check.name),
        seconds(check.took_ms)
    );
    let element = match check.verdict {
        Verdict::Pass if check.output.is_empty() => return xml.push_str("/>\n"),
        Verdict::Pass => None,
        Verdict::Fail => Some("failure"),
        Verdict::NotYet => Some("error"),
    };
    xml.push_str(">\n");
    if let Some(element) = element {
        let _ = writeln!(
            xml,
            "      <{element} message=\"{}\" type=\"{}\">{}</{element}>",
            escaped(&check.reason),
            check.verdict.label(),
            escaped(&details(check))
        );
    }
    if !check.output.is_empty() {
        let _ = writeln!(xml, "      <system-out>{}</system-out>", escaped(&check.output.join("\n")));
    }
    xml.push_str("    </testcase>\n");
}

/// Assertions, request and answer, below one another.
fn details(check: &Check) -> String {
    let mut text = String::new();
    for assertion in &check.assertions {
        let sign = if assertion.holds { "ok  " } else { "FAIL" };
        let _ = writeln!(text, "{sign} {}\n     found: {}", assertion.text, assertion.found);
    }
    for (title, part) in [("request", &check.request), ("answer", &check.answer)] {
        if let Some(part) = part {
            let _ = writeln!(text, "{}{title}:\n{part}", if text.is_empty() { "" } else { "\n" });
        }
    }
    text
}

/// A text that can stand in an element or an attribute; what no XML may hold (XML 1.0, 2.2) is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\r' => escaped.push_str("&#13;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
