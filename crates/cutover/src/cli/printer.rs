//! The one place that prints: data on standard output, talk on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::foreign;

/// Prints as the user wants it.
pub(crate) struct Printer {
    json: bool,
    /// What is said is about one host of several.
    part: Option<Part>,
}

/// One host of several: its talk bears its name, its result is kept for the block it gets in the end.
struct Part {
    host: String,
    told: Mutex<Option<Told>>,
}

/// A result that was not printed yet.
pub(crate) struct Told {
    pub(crate) object: Value,
    pub(crate) text: String,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, part: None }
    }

    /// For what is said about one host of several. Nothing moves there, and nobody is asked.
    pub(crate) fn for_host(&self, host: &str) -> Self {
        Self { json: self.json, part: Some(Part { host: host.to_owned(), told: Mutex::default() }) }
    }

    /// The result of that host, if there was one.
    pub(crate) fn take_result(&self) -> Option<Told> {
        self.part.as_ref()?.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches the talk.
    pub(crate) fn is_terminal(&self) -> bool {
        !self.json && self.part.is_none() && std::io::stderr().is_terminal()
    }

    /// The result: one object for machines, or the text for people.
    pub(crate) fn result(&self, object: &impl Serialize, text: impl FnOnce() -> String) {
        if let Some(part) = &self.part {
            let object = serde_json::to_value(object).unwrap_or_default();
            let told = Told { object, text: text() };
            *part.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        } else if self.json {
            match serde_json::to_string(object) {
                Ok(line) => self.raw(&line),
                Err(error) => self.talk(&format!("error: the answer cannot be written as JSON: {error}")),
            }
        } else {
            self.data(text().trim_end());
        }
    }

    /// Lines of data. What a terminal would obey in them is shown instead: it may come from anybody.
    pub(crate) fn data(&self, lines: &str) {
        self.raw(&foreign::block(lines));
    }

    /// A line of which its writer knows what it does to a terminal. A reader that has gone away is no error of ours.
    pub(crate) fn raw(&self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// What a terminal shows instead of what it showed before, as it is.
    pub(crate) fn frame(&self, text: &str) {
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    /// Where much data goes that is not kept in memory.
    pub(crate) fn stream(&self) -> impl Write + use<> {
        std::io::stdout().lock()
    }

    /// An object for machines where standard output belongs to something else.
    pub(crate) fn beside(&self, object: &Value) {
        let _ = writeln!(std::io::stderr(), "{object}");
    }

    /// Lines of talk, shown as data is.
    pub(crate) fn talk(&self, lines: &str) {
        let line = &foreign::block(lines);
        let mut stderr = std::io::stderr().lock();
        match &self.part {
            None => drop(writeln!(stderr, "{line}")),
            Some(Part { host, .. }) => {
                for line in line.lines() {
                    let _ = writeln!(stderr, "{host}: {line}");
                }
            }
        }
    }

    /// What went wrong and what to do.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let object = json!({
                "v": VERSION, "success": false, "message": failure.message, "hint": failure.hint,
                "exit": failure.exit.code(),
            });
            self.raw(&object.to_string());
        }
        self.talk(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.talk(&format!("  hint: {hint}"));
        }
    }

    /// The object of arguments that mean nothing; what is wrong with them was said before.
    pub(crate) fn misused(&self, said: &str) {
        let first = said.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let object = json!({
            "v": VERSION, "success": false, "message": message, "hint": null, "exit": Exit::Usage.code(),
        });
        self.raw(&object.to_string());
    }
}
