//! What was wanted of `cutover` beside what was measured, whatever it is: nothing fails by it.

use std::fmt::{self, Write as _};

/// A figure that was wanted.
#[derive(Debug)]
pub struct Bar {
    /// Of what.
    pub what: String,
    /// At most this.
    pub wanted: f64,
    /// By which figures are divided when they are written.
    pub unit: f64,
    /// What is written behind them.
    pub suffix: &'static str,
    /// `None` if nobody asked for it in this run, `Some(None)` if it could not be measured.
    pub measured: Option<Option<f64>>,
}

/// A table of those that were asked for.
///
/// # Errors
///
/// None in fact: a string takes everything.
pub fn write(text: &mut String, bars: &[Bar]) -> fmt::Result {
    writeln!(text, "| cutover | wanted at most | measured | |\n|---|---:|---:|---|")?;
    for Bar { what, wanted, unit, suffix, measured } in bars {
        let wanted_text = format!("{}{suffix}", wanted / unit);
        match measured {
            None => {}
            Some(None) => writeln!(text, "| {what} | {wanted_text} | none | missed |")?,
            Some(Some(value)) => {
                let met = if value <= wanted { "met" } else { "missed" };
                writeln!(text, "| {what} | {wanted_text} | {:.2}{suffix} | {met} |", value / unit)?;
            }
        }
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_missed_or_not_asked_for() {
        let check = |measured: Option<Option<f64>>, expected: &str| {
            let bar = Bar { what: "weight".to_owned(), wanted: 8e3, unit: 1e3, suffix: " KB", measured };
            let mut text = String::new();
            write(&mut text, &[bar]).unwrap();
            let row = text.lines().nth(2).unwrap();
            assert_eq!(row, expected);
        };
        check(Some(Some(8e3)), "| weight | 8 KB | 8.00 KB | met |");
        check(Some(Some(8.5e3)), "| weight | 8 KB | 8.50 KB | missed |");
        check(Some(None), "| weight | 8 KB | none | missed |");
        check(None, "");
    }
}
