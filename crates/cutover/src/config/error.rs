//! What a mistake in the configuration looks like: its place, what is wrong, and what to do about it.

use std::fmt;

/// A mistake that a person made in `cutover.toml` or beside it; the exit code is that of wrong usage.
///
/// `{}` is place and message, for a printer that shows the hint in its own way. `{:#}` is the whole, with the hint
/// on a line of its own, readable without colour:
///
/// ```text
/// cutover.toml:4: unknown key `comand`
///   did you mean `command`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    place: Option<Place>,
    message: String,
    hint: Option<String>,
}

impl ConfigError {
    /// A mistake that is in no file.
    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        Self { place: None, message: printable(message.as_ref()), hint: None }
    }

    /// The same mistake, at a place.
    pub(super) fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same mistake, with what to do about it.
    pub(crate) fn with_hint(self, hint: impl AsRef<str>) -> Self {
        Self { hint: Some(printable(hint.as_ref())), ..self }
    }

    /// The same mistake, with what to do about it if that is known.
    pub(super) fn with_hint_if_any(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// A place in a file: `cutover.toml:4`, or `cutover.toml` for what is missing from it. Where a line is long and the
/// mistake a character of it, and in the alternate form (`{:#}`), it has the column too: `cutover.toml:4:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file as the person named it.
    pub(super) file: String,
    /// Line and column, both from 1; the column counts characters.
    pub(super) position: Option<(usize, usize)>,
    /// Whether the line alone says too little.
    pub(super) exact: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) if f.alternate() || self.exact => write!(f, "{}:{line}:{column}", self.file),
            Some((line, _)) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) if f.alternate() => write!(
                f,
                "
  {hint}"
            ),
            _ => Ok(()),
        }
    }
}

/// Text from a file goes to a terminal: what would move its cursor or colour it is shown escaped.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_error_can_be_had_one_by_one() {
        let place = Place { file: "cutover.toml".to_owned(), position: Some((4, 3)), exact: false };
        let error = ConfigError::new("unknown key `comand`").at(place).with_hint("did you mean `command`?");
        assert_eq!(error.to_string(), "cutover.toml:4: unknown key `comand`");
        assert_eq!(format!("{error:#}"), "cutover.toml:4: unknown key `comand`\n  did you mean `command`?");
        assert_eq!(error.hint(), Some("did you mean `command`?"));
        assert_eq!(
            error.place.as_ref().map(|place| format!("{place} {place:#}")).unwrap(),
            "cutover.toml:4 cutover.toml:4:3"
        );
    }

    #[test]
    fn a_text_from_the_file_cannot_colour_the_terminal() {
        assert_eq!(ConfigError::new("unknown key `\u{1b}[31m`").to_string(), "unknown key `\\u{1b}[31m`");
    }
}
