//! A JSONPath (RFC 9535) in which names may stand within quotes.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::Lookup;
use crate::cursor::Marked;
use crate::mistake::Mistake;
use crate::template::{self, Part, Unknown};

/// Deeper ones are refused: reading them takes a stack, and a time that grows with every level.
const DEEPEST: usize = 10;
/// Longer ones are refused.
const LONGEST: usize = 2000;
/// What a path may do to a document of a megabyte has to be done soon: a second `..`, or a search within each element of
/// another one, takes the square of its size.
const TOO_DEAR: [&str; 2] = [
    "a path has `..` once at most: more of them take hours on a large document",
    "a filter looks at fields of its element, without `..`, `*` or another filter: those take hours on a large document",
];

/// A path.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) text: String,
    /// Whether it finds one value at most, by its form (RFC 9535, 2.3.5.1: a singular query).
    pub(crate) is_singular: bool,
    /// Unless names have to be filled in first.
    ready: Option<JsonPath>,
}

impl Path {
    pub(crate) fn parse(marked: Marked) -> Result<Self, Mistake> {
        if marked.text.len() > LONGEST {
            return Err(Mistake::new(marked.column(0), format!("this path is longer than {LONGEST} bytes")));
        }
        let mut sample = Marked::default();
        let (mut quotes, mut at) = (Quotes::default(), 0);
        for part in template::parts(&marked.text) {
            match part {
                Part::Plain(text) => {
                    for (offset, c) in text.char_indices() {
                        let column = marked.column(at + offset);
                        quotes.next(c).map_err(|message| Mistake::new(column, message))?;
                        sample.push(c, column);
                    }
                }
                Part::Name { whole, .. } if quotes.open.is_none() => {
                    let message =
                        format!("`{whole}` stands in a path only within quotes, such as $[\"{whole}\"]");
                    return Err(Mistake::new(marked.column(at), message));
                }
                Part::Name { .. } => sample.push('x', marked.column(at)),
            }
            at += part.written().len();
        }
        let path = JsonPath::parse(&sample.text).map_err(|error| {
            let message = match error.message() {
                "parser error" => "it cannot be read from here on",
                told => told,
            };
            let column = sample.column(error.position());
            let column = if error.position() >= sample.text.len() { marked.column(at) } else { column };
            Mistake::new(column, format!("this is no JSONPath: {message}"))
        })?;
        let ready = (sample.text == marked.text).then_some(path);
        Ok(Self { text: marked.text, is_singular: !quotes.several, ready })
    }

    /// What it finds, in the order of the document.
    pub(crate) fn find<'v>(&self, value: &'v Value, lookup: Lookup<'_>) -> Result<Vec<&'v Value>, Unknown> {
        if let Some(path) = &self.ready {
            return Ok(path.query(value).all());
        }
        let filled = template::fill_with(&self.text, lookup, |value| escaped(&value))?;
        // It was read with another text in the same quotes, and this one has nothing that could end them.
        Ok(JsonPath::parse(&filled).map(|path| path.query(value).all()).unwrap_or_default())
    }
}

/// A text within the quotes of a path, of either kind (RFC 9535, 2.3.1.1): whatever could end them is written by its
/// number.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_control() || "\"'\\".contains(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// Goes over a path and knows what stands within quotes.
#[derive(Debug, Default)]
struct Quotes {
    open: Option<char>,
    after_backslash: bool,
    depth: usize,
    before: char,
    /// How often there was a `..`.
    descents: usize,
    /// The depth at which a filter began, while it lasts.
    filter: Option<usize>,
    /// Whether something outside quotes makes it find more than one value.
    several: bool,
}

impl Quotes {
    fn next(&mut self, c: char) -> Result<(), String> {
        if let Some(open) = self.open {
            match c {
                _ if self.after_backslash => self.after_backslash = false,
                '\\' => self.after_backslash = true,
                _ if c == open => self.open = None,
                _ => {}
            }
            return Ok(());
        }
        let descends = c == '.' && self.before == '.';
        self.descents += usize::from(descends);
        if self.descents > 1 {
            return Err(TOO_DEAR[0].to_owned());
        }
        // A `*` is no multiplication: there is none in a filter.
        if self.filter.is_some() && (descends || c == '*' || c == '?') {
            return Err(TOO_DEAR[1].to_owned());
        }
        if c == '?' {
            self.filter = Some(self.depth);
        }
        match c {
            '"' | '\'' => self.open = Some(c),
            '*' | '?' | ',' | ':' => self.several = true,
            '.' if self.before == '.' => self.several = true,
            '(' | '[' => self.depth += 1,
            ')' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                self.filter = self.filter.filter(|begun| self.depth >= *begun);
            }
            _ => {}
        }
        self.before = c;
        if self.depth > DEEPEST {
            Err(format!("more than {DEEPEST} brackets within one another"))
        } else {
            Ok(())
        }
    }
}
