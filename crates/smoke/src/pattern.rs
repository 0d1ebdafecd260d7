//! A regular expression in which names may stand.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::Lookup;
use crate::cursor::{Cursor, Marked};
use crate::mistake::Mistake;
use crate::template::{self, Part, Unknown};

/// A pattern, such as `/v\d+/i`.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    flags: String,
    /// Unless names have to be filled in first.
    ready: Option<Regex>,
}

impl Pattern {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Mistake> {
        let opened = cursor.column();
        let marked = cursor.slashed()?;
        let column = cursor.column();
        let flags = cursor.word();
        if let Some(flag) = flags.chars().find(|flag| !"ims".contains(*flag)) {
            return Err(Mistake::new(
                column,
                format!("`{flag}` means nothing behind a regular expression: `i`, `m` and `s` do"),
            ));
        }
        let mut sample = Marked::default();
        let mut at = 0;
        for part in template::parts(&marked.text) {
            let whole = part.written();
            match part {
                Part::Plain(text) => {
                    text.char_indices().for_each(|(offset, c)| sample.push(c, marked.column(at + offset)))
                }
                Part::Name { .. } => "(?:x)".chars().for_each(|c| sample.push(c, marked.column(at))),
            }
            at += whole.len();
        }
        let wrong = |offset: usize, message: String| {
            let column = if offset >= sample.text.len() { marked.column(at) } else { sample.column(offset) };
            Mistake::new(column, format!("this is no regular expression: {message}"))
        };
        match regex_syntax::Parser::new().parse(&sample.text) {
            Err(regex_syntax::Error::Parse(error)) => {
                return Err(wrong(error.span().start.offset, error.kind().to_string()));
            }
            Err(regex_syntax::Error::Translate(error)) => {
                return Err(wrong(error.span().start.offset, error.kind().to_string()));
            }
            _ => {}
        }
        let regex = build(&sample.text, flags).map_err(|error| {
            let message = match error {
                regex::Error::CompiledTooBig(_) => "it is too big".to_owned(),
                other => other.to_string().lines().last().unwrap_or_default().to_owned(),
            };
            Mistake::new(opened, format!("this is no regular expression that can be used: {message}"))
        })?;
        let ready = (sample.text == marked.text).then_some(regex);
        Ok(Self { text: marked.text, flags: flags.to_owned(), ready })
    }

    /// The pattern with its names filled in, each as the text that it stands for.
    pub(crate) fn regex(&self, lookup: Lookup<'_>) -> Result<Regex, String> {
        if let Some(regex) = &self.ready {
            return Ok(regex.clone());
        }
        let exact = |value: String| format!("(?:{})", regex::escape(&value));
        let filled = template::fill_with(&self.text, lookup, exact)
            .map_err(|Unknown(name)| Unknown(name).to_string())?;
        // What was filled in may be a secret, and the error would quote it.
        build(&filled, &self.flags)
            .map_err(|_| "with its names filled in it is no regular expression".to_owned())
    }
}

fn build(text: &str, flags: &str) -> Result<Regex, regex::Error> {
    let has = |flag| flags.contains(flag);
    let mut builder = RegexBuilder::new(text);
    builder.case_insensitive(has('i')).multi_line(has('m')).dot_matches_new_line(has('s')).build()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", literal(&self.text), self.flags)
    }
}

/// A regular expression as a line writes it: between slashes.
#[must_use]
pub fn literal(text: &str) -> String {
    let mut written = String::from("/");
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '/' if !escaped => written.push_str("\\/"),
            '\n' if !escaped => written.push_str("\\n"),
            _ => written.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    written.push('/');
    written
}
