//! A place in a line of the language, and what stands from there.

use crate::mistake::Mistake;

/// Characters with the columns they were written at: more than one column each where they are escaped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marked {
    pub(crate) text: String,
    /// One for each character, and one for the end.
    columns: Vec<usize>,
}

impl Marked {
    pub(crate) fn push(&mut self, c: char, column: usize) {
        self.text.push(c);
        self.columns.push(column);
    }

    fn end(&mut self, column: usize) {
        self.columns.push(column);
    }

    /// The column of a place in the text, in bytes.
    pub(crate) fn column(&self, byte: usize) -> usize {
        let before = self.text.char_indices().take_while(|(at, _)| *at < byte).count();
        self.columns.get(before).or(self.columns.last()).copied().unwrap_or(1)
    }
}

/// Reads a line from left to right.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(crate) fn column(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    pub(crate) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake::new(self.column(), message)
    }

    /// Passes over spaces; says whether there was one, or the end.
    pub(crate) fn spaces(&mut self) -> bool {
        let length = self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        self.at += length;
        length > 0 || self.rest().is_empty()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Passes over a text if it stands here.
    pub(crate) fn eat(&mut self, text: &str) -> bool {
        let stands = self.rest().starts_with(text);
        self.at += if stands { text.len() } else { 0 };
        stands
    }

    /// The characters from here that are of a kind; passes over them.
    pub(crate) fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// A word of letters.
    pub(crate) fn word(&mut self) -> &'a str {
        self.take_while(|c| c.is_alphabetic() || c == '_')
    }

    /// What a message quotes of what stands here.
    pub(crate) fn next_word(&self) -> &'a str {
        self.rest().split([' ', '\t']).next().unwrap_or_default()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// A text in double quotes, with the escapes of JSON.
    pub(crate) fn quoted(&mut self, what: &str) -> Result<Marked, Mistake> {
        let opened = self.column();
        if !self.eat("\"") {
            let single = if self.rest().starts_with('\'') { ", which has double quotes" } else { "" };
            return Err(self.mistake(format!("here stands {what}{single}")));
        }
        let mut marked = Marked::default();
        loop {
            let column = self.column();
            match self.next() {
                None => return Err(Mistake::new(opened, "this quote is not closed")),
                Some('"') => {
                    marked.end(column);
                    return Ok(marked);
                }
                Some('\\') => marked.push(self.escaped(column)?, column),
                Some(c) => marked.push(c, column),
            }
        }
    }

    fn escaped(&mut self, column: usize) -> Result<char, Mistake> {
        let unknown = |shown: &str| {
            let known = r#"a text knows `\"`, `\\`, `\n`, `\r`, `\t` and `\u00e9`"#;
            Err(Mistake::new(column, format!("`\\{shown}` means nothing: {known}")))
        };
        Ok(match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.four_digits(column)?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) && self.eat("\\u") {
                    units.push(self.four_digits(column)?);
                }
                let whole = String::from_utf16(&units).ok();
                match whole.and_then(|whole| whole.chars().next()) {
                    Some(c) => c,
                    None => return unknown(&format!("u{first:04x}")),
                }
            }
            Some(c) => return unknown(&c.to_string()),
            None => return unknown(""),
        })
    }

    fn four_digits(&mut self, column: usize) -> Result<u16, Mistake> {
        let rest = self.rest();
        let digits = rest.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let number =
            number.ok_or_else(|| Mistake::new(column, "after `\\u` stand four hexadecimal digits"))?;
        self.at += 4;
        Ok(number)
    }

    /// A regular expression between slashes, in which `\/` stands for a slash.
    pub(crate) fn slashed(&mut self) -> Result<Marked, Mistake> {
        let opened = self.column();
        if !self.eat("/") {
            return Err(self.mistake("here stands a regular expression between slashes, such as /v\\d+/"));
        }
        let mut marked = Marked::default();
        loop {
            let column = self.column();
            match self.next() {
                None => return Err(Mistake::new(opened, "this slash is not closed")),
                Some('/') => {
                    marked.end(column);
                    return Ok(marked);
                }
                Some('\\') => match self.next() {
                    Some('/') => marked.push('/', column),
                    other => {
                        marked.push('\\', column);
                        other.into_iter().for_each(|c| marked.push(c, column + 1));
                    }
                },
                Some(c) => marked.push(c, column),
            }
        }
    }
}
