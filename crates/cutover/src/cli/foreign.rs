//! Text of others on a terminal: applications, other users and other hosts may write what they like, and a terminal
//! obeys what it is not kept from. What it would obey is shown escaped.

use std::borrow::Cow;
use std::fmt::Write;

use crate::api::plain::is_hidden;

/// In one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\t')
}

/// What has been put together of several lines.
pub(crate) fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\t' | '\n'))
}

fn escaped(text: &str, harmless: impl Fn(char) -> bool) -> Cow<'_, str> {
    let obeyed = |character: char| is_hidden(character) && !harmless(character);
    if !text.chars().any(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if obeyed(character) { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

/// In one line that keeps its colours and bold letters, which end with it.
pub(crate) fn coloured(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut rest, mut has_colours) = (String::with_capacity(text.len() + 16), text, false);
    while let Some(at) = rest.find('\u{1b}') {
        let (before, from) = rest.split_at(at);
        shown.push_str(&line(before));
        let arguments = from.strip_prefix("\u{1b}[").and_then(|from| from.split_once('m'));
        match arguments
            .filter(|(digits, _)| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')))
        {
            Some((digits, after)) => {
                has_colours = true;
                let _ = write!(shown, "\u{1b}[{digits}m");
                rest = after;
            }
            None => {
                shown.push_str("\\u{1b}");
                rest = from.strip_prefix('\u{1b}').unwrap_or_default();
            }
        }
    }
    shown.push_str(&line(rest));
    if has_colours {
        shown.push_str("\u{1b}[0m");
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(line("naïve 日本\t✓"), "naïve 日本\t✓");
        assert_eq!(line("a\r\nb\u{1b}[2J\u{7f}\u{9b}31m"), "a\\r\\nb\\u{1b}[2J\\u{7f}\\u{9b}31m");
        assert_eq!(line("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
        assert_eq!(block("a\nb\u{7}"), "a\nb\\u{7}");
    }

    #[test]
    fn colours_of_a_log_stay_and_end_with_their_line() {
        assert_eq!(coloured("\u{1b}[1;31mred"), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(coloured("\u{1b}[2J\u{1b}]0;title\u{7}"), "\\u{1b}[2J\\u{1b}]0;title\\u{7}");
        assert_eq!(coloured("a\u{1b}"), "a\\u{1b}");
        assert_eq!(coloured("plain"), "plain");
    }
}
