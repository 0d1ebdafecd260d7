//! The text of a configuration file, as the place where mistakes are.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place};

/// A file's text under the name that the person gave it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: String,
    text: String,
}

impl Source {
    pub(super) fn new(path: &Path, text: String) -> Self {
        Self { file: path.display().to_string(), text }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A mistake at a range of bytes.
    pub(super) fn error(&self, span: &Range<usize>, message: impl AsRef<str>) -> ConfigError {
        let position = Some(self.position(span.start));
        ConfigError::new(message).at(Place { file: self.file.clone(), position, exact: false })
    }

    /// A mistake at a character of a text value, counted from 1; `span` is that of the value. Where the file shows the
    /// text as it is, the column is that of the file; otherwise the message says the one of the text.
    pub(super) fn error_within(
        &self,
        span: &Range<usize>,
        column: usize,
        message: impl AsRef<str>,
    ) -> ConfigError {
        let message = message.as_ref();
        match self.within(span, column) {
            Some(byte) => {
                let position = Some(self.position(byte));
                ConfigError::new(message).at(Place { file: self.file.clone(), position, exact: true })
            }
            None => self.error(span, format!("{message} (column {column} of the text)")),
        }
    }

    /// The byte of a character of a text that is written in one line.
    fn within(&self, span: &Range<usize>, column: usize) -> Option<usize> {
        let raw = self.text.get(span.clone())?;
        let quote = raw.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        if raw.len() < 2 || raw.starts_with("\"\"\"") || raw.starts_with("'''") {
            return None;
        }
        let mut at = 1;
        for _ in 1..column {
            let rest = raw.get(at..)?;
            at += match rest.strip_prefix('\\').filter(|_| quote == '"').map(|escape| escape.chars().next()) {
                // TOML 1.1: `\xHH`, `\uHHHH`, `\UHHHHHHHH`, and the others of one letter.
                Some(Some('x')) => 4,
                Some(Some('u')) => 6,
                Some(Some('U')) => 10,
                Some(_) => 2,
                None => rest.chars().next()?.len_utf8(),
            };
        }
        Some(span.start + at.min(raw.len() - 1))
    }

    /// The name of a file beside this one, as a message shows it.
    pub(super) fn beside(&self, file: &str) -> PathBuf {
        Path::new(&self.file).parent().unwrap_or(Path::new("")).join(file)
    }

    /// A mistake that has no line, because something is missing.
    pub(super) fn missing(&self, message: impl AsRef<str>) -> ConfigError {
        ConfigError::new(message).at(Place { file: self.file.clone(), position: None, exact: false })
    }

    /// What the TOML parser did not understand, with what people most often meant.
    pub(super) fn syntax_error(&self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let span = start..start;
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        self.error(&span, format!("not valid TOML: {message}")).with_hint_if_any(self.syntax_hint(start))
    }

    fn syntax_hint(&self, start: usize) -> Option<String> {
        let line = self.line(start);
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let plain = |c: char| c.is_ascii_alphanumeric() || "./_- ".contains(c);
        let bare = !value.is_empty() && value.chars().all(plain);
        bare.then(|| format!("text and durations stand in quotes: `{key} = \"{value}\"`"))
    }

    /// Line and column, both from 1, of a byte.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        // A character begins at each byte that is not a continuation byte of UTF-8.
        let column = before[line_start..].iter().filter(|&&b| b & 0xC0 != 0x80).count() + 1;
        (line, column)
    }

    fn line(&self, byte: usize) -> &str {
        let (line, _) = self.position(byte);
        self.text.lines().nth(line - 1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let source = Source::new(Path::new("x"), "é = 1\nb = 2\n".to_owned());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(3), (1, 3));
        assert_eq!(source.position(7), (2, 1));
        assert_eq!(source.position(99), (3, 1));
    }

    #[test]
    fn text_without_quotes_is_answered_with_the_quotes() {
        let error = |text| Fixture::empty().error(text);
        for text in ["command = ./shop", "[rollout]\nbake = 10m"] {
            let shown = error(text);
            let quoted = text.lines().last().unwrap().replace("= ", "= \"") + "\"`";
            assert!(
                shown.ends_with(&format!("\n  text and durations stand in quotes: `{quoted}")),
                "{shown}"
            );
        }
        assert_eq!(
            error("name = \"shop\"\nname = \"shop\"\n"),
            "cutover.toml:2: not valid TOML: duplicate key"
        );
    }
}
