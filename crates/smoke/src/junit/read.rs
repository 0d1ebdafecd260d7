//! What a test runner reports.

use cutover_core::gates::{Check, Verdict};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Deeper is no report.
const DEEPEST: usize = 64;
/// Most tests that are read.
const MOST_TESTS: usize = 100_000;
/// Most characters of the text of a failure.
const LONGEST: usize = 4000;

/// Reads a report: one check for each test that was run. That nothing was run is an error, and so is a text that is not
/// a report or ends too early.
pub fn read(xml: &[u8], suite: &str) -> Result<Vec<Check>, String> {
    let text = std::str::from_utf8(xml).map_err(|_| "the report is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err("the report is empty".to_owned());
    }
    let mut report = Report {
        suite,
        checks: Vec::new(),
        skipped: 0,
        test: None,
        open: Vec::new(),
        root: false,
        claimed: 0,
    };
    let mut reader = Reader::from_str(text);
    loop {
        let event = reader.read_event();
        let line = || {
            1 + text.as_bytes()[..text.len().min(reader.buffer_position() as usize)]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
        };
        let event = event.map_err(|error| format!("the report is not XML: {error} in line {}", line()))?;
        if matches!(event, Event::Eof) {
            return report.finish();
        }
        report.event(event).map_err(|message| format!("{message} in line {}", line()))?;
    }
}

struct Report<'a> {
    suite: &'a str,
    checks: Vec<Check>,
    skipped: usize,
    test: Option<Test>,
    open: Vec<String>,
    /// Whether an element came.
    root: bool,
    /// Failures and errors that the report as a whole says it has.
    claimed: usize,
}

struct Test {
    check: Check,
    skipped: bool,
    /// What stands within a failure.
    text: String,
}

impl Report<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(element) => self.start(&element)?,
            Event::Empty(element) => {
                self.start(&element)?;
                self.end();
            }
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&text),
            Event::CData(text) => self.text(&text),
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let whole = format!("&{name};");
                // What a document defines for itself is not filled in: that is how a small one becomes a huge one.
                self.text(&quick_xml::escape::unescape(&whole).unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let name = element.local_name().as_ref().to_owned();
        if self.open.is_empty() {
            if self.root || !matches!(name.as_str(), "testsuites" | "testsuite") {
                return Err(format!(
                    "this is no report of JUnit's form: it has `<{name}>` where `<testsuites>` should be"
                ));
            }
            self.root = true;
        }
        if self.open.len() >= DEEPEST {
            return Err(format!(
                "this is no report of JUnit's form: it is more than {DEEPEST} elements deep"
            ));
        }
        let value = |wanted: &str| attribute(element, wanted);
        match name.as_str() {
            "testcase" if self.test.is_none() => {
                if self.checks.len() + self.skipped >= MOST_TESTS {
                    return Err(format!("the report has more than {MOST_TESTS} tests"));
                }
                let own = value("name")?.unwrap_or_else(|| "a test without a name".to_owned());
                let full = match value("classname")?.filter(|class| !class.is_empty() && *class != own) {
                    Some(class) => format!("{class} {own}"),
                    None => own,
                };
                let mut check = Check::new(self.suite, full, Verdict::Pass);
                check.took_ms = value("time")?.as_deref().map_or(0, milliseconds);
                self.test = Some(Test { check, skipped: false, text: String::new() });
            }
            "failure" | "error" => {
                let message = value("message")?.or(value("type")?);
                if let Some(test) = &mut self.test {
                    test.check.verdict = Verdict::Fail;
                    if let Some(message) = message.filter(|_| test.check.reason.is_empty()) {
                        test.check.reason = first_line(&message);
                    }
                } else {
                    // Of the suite itself: what sets it up, or takes it down.
                    let mut check = Check::new(self.suite, "the suite itself", Verdict::Fail);
                    check.reason =
                        message.map_or_else(|| "it has an error".to_owned(), |text| first_line(&text));
                    self.checks.push(check);
                }
            }
            "testsuite" | "testsuites" if self.open.is_empty() => {
                for count in ["failures", "errors"] {
                    self.claimed +=
                        value(count)?.and_then(|count| count.trim().parse::<usize>().ok()).unwrap_or(0);
                }
            }
            "skipped" => self.test.iter_mut().for_each(|test| test.skipped = true),
            _ => {}
        }
        self.open.push(name);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let in_failure = matches!(self.open.last().map(String::as_str), Some("failure" | "error"));
        if let Some(test) = self.test.as_mut().filter(|test| in_failure && test.text.len() < LONGEST) {
            test.text.extend(text.chars().take(LONGEST));
        }
    }

    fn end(&mut self) {
        if self.open.pop().as_deref() != Some("testcase") || self.open.iter().any(|name| name == "testcase") {
            return;
        }
        let Some(Test { mut check, skipped, text }) = self.test.take() else { return };
        if check.verdict == Verdict::Fail {
            check.output =
                text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect();
            if check.reason.is_empty() {
                check.reason =
                    check.output.first().cloned().unwrap_or_else(|| "it failed and says nothing".to_owned());
            }
        } else if skipped {
            self.skipped += 1;
            return;
        }
        self.checks.push(check);
    }

    fn finish(self) -> Result<Vec<Check>, String> {
        if let Some(open) = self.open.last() {
            return Err(format!("the report ends within `<{open}>`"));
        }
        let failed = self.checks.iter().any(|check| check.verdict == Verdict::Fail);
        match (self.checks.is_empty(), self.skipped) {
            _ if self.claimed > 0 && !failed => {
                Err(format!("the report says that {} failed, and tells none of them", self.claimed))
            }
            (false, _) => Ok(self.checks),
            _ if !self.root => Err("this is no report of JUnit's form: it has no element".to_owned()),
            (true, 0) => Err("the report has no test in it".to_owned()),
            (true, skipped) => Err(format!("every test of the report was skipped, {skipped} of them")),
        }
    }
}

fn attribute(element: &BytesStart<'_>, wanted: &str) -> Result<Option<String>, String> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| format!("the report is not XML: {error}"))?;
        if attribute.key.as_ref() == wanted {
            let text = quick_xml::escape::unescape(&attribute.value)
                .map_or_else(|_| attribute.value.to_string(), std::borrow::Cow::into_owned);
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().trim_end().to_owned()
}

/// Seconds such as `1.25`, or `1,234.5` as some write them.
fn milliseconds(text: &str) -> u64 {
    let seconds: f64 = text.replace(',', "").parse().unwrap_or_default();
    // A cast of a float ends at the bounds of the number.
    (seconds * 1000.0).round() as u64
}
