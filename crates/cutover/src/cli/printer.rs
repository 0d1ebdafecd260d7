//! The one place that prints: data on standard output, talk on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use crate::api::VERSION;
use crate::cli::exit::Failure;

/// Prints as the user wants it.
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches the talk.
    pub(crate) fn is_terminal(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// The result: one object for machines, or the text for people.
    pub(crate) fn result(&self, object: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            match serde_json::to_string(object) {
                Ok(line) => self.data(&line),
                Err(error) => self.talk(&format!("error: the answer cannot be written as JSON: {error}")),
            }
        } else {
            self.data(text().trim_end());
        }
    }

    /// A line of data. A reader that has gone away is no error of ours.
    pub(crate) fn data(&self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// Where much data goes that is not kept in memory.
    pub(crate) fn stream(&self) -> impl Write + use<> {
        std::io::stdout().lock()
    }

    /// A line of talk.
    pub(crate) fn talk(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// What went wrong and what to do.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let object = json!({
                "v": VERSION, "success": false, "message": failure.message, "hint": failure.hint,
                "exit": failure.exit.code(),
            });
            self.data(&object.to_string());
        }
        self.talk(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.talk(&format!("  hint: {hint}"));
        }
    }
}
