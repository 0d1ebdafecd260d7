//! The line that moves on a terminal while something lasts.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::foreign;
use crate::cli::printer::Printer;

/// At most one line; off a terminal none.
pub(crate) struct Spinner<'a> {
    printer: &'a Printer,
    bar: Option<ProgressBar>,
}

impl<'a> Spinner<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self { printer, bar: None }
    }

    /// Shows what lasts.
    pub(crate) fn show(&mut self, message: &str) {
        if !self.printer.is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(foreign::line(message).into_owned());
    }

    /// Says something above it.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.talk(line)),
            None => self.printer.talk(line),
        }
    }

    /// Takes it away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
