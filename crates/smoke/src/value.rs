//! What is compared: the values that a line writes, and those that are found.

use std::fmt;
use std::time::Duration;

use serde_json::{Number, Value};

use crate::cursor::Cursor;
use crate::mistake::Mistake;
use crate::template;

/// A value as a line writes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// `"text"`, in which names are filled in.
    Text(String),
    /// `{{NAME}}` alone: equal to whatever reads the same.
    Name(String),
    Number(Number),
    Flag(bool),
    Null,
    /// `500ms`.
    Time(Duration),
    /// `2xx`: its first digit.
    Class(u16),
}

impl Operand {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Mistake> {
        if cursor.rest().starts_with('"') {
            return Ok(Self::Text(cursor.quoted("a text")?.text));
        }
        if let Some(template::Part::Name { name, whole }) = template::parts(cursor.rest()).first() {
            cursor.eat(whole);
            return Ok(Self::Name((*name).to_owned()));
        }
        let column = cursor.column();
        let word = cursor.take_while(|c| c.is_alphanumeric() || "+-._%".contains(c));
        Self::of_word(word).ok_or_else(|| match word {
            "" => Mistake::new(column, VALUES),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                let known = "numbers are written like 200 or -1.5, durations like 500ms, classes of statuses like 2xx";
                Mistake::new(column, format!("`{word}` is neither: {known}"))
            }
            _ => Mistake::new(column, format!("`{word}` is no value: a text has double quotes, such as {}", quoted(word))),
        })
    }

    fn of_word(word: &str) -> Option<Self> {
        match word {
            "true" => return Some(Self::Flag(true)),
            "false" => return Some(Self::Flag(false)),
            "null" => return Some(Self::Null),
            "1xx" | "2xx" | "3xx" | "4xx" | "5xx" => {
                return word[..1].parse().ok().map(Self::Class);
            }
            _ => {}
        }
        let number = number(word).map(Self::Number);
        number.or_else(|| humantime::parse_duration(word).ok().map(Self::Time))
    }

    /// The texts that names are filled into.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Text(text) => template::names(text),
            Self::Name(name) => vec![name.clone()],
            _ => Vec::new(),
        }
    }
}

const VALUES: &str = "here stands a value: a \"text\", a number, true, false, null or {{NAME}}";

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Name(name) => write!(f, "{{{{{name}}}}}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Null => f.write_str("null"),
            Self::Time(time) => f.write_str(&humantime::format_duration(*time).to_string().replace(' ', "")),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// A text as a line writes it: in double quotes, escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as a number, if it reads as one.
pub(crate) fn number(text: &str) -> Option<Number> {
    serde_json::from_str(text).ok()
}

/// What a query has found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    Status(u16),
    Time(Duration),
    Text {
        text: String,
        /// Whether it went on.
        cut: bool,
    },
    Json(Value),
}

impl Found {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cut: false }
    }

    /// As a text that can be filled in elsewhere.
    pub(crate) fn as_text(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Time(time) => shown_time(*time),
            Self::Text { text, .. } | Self::Json(Value::String(text)) => text.clone(),
            Self::Json(value) => value.to_string(),
        }
    }

    /// As a number, if it is one or reads as one.
    pub(crate) fn as_number(&self) -> Option<Number> {
        match self {
            Self::Status(status) => Some((*status).into()),
            Self::Text { text, .. } => number(text.trim()),
            Self::Json(Value::Number(number)) => Some(number.clone()),
            Self::Json(_) | Self::Time(_) => None,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(_) | Self::Time(_) => f.write_str(&self.as_text()),
            Self::Text { text, cut } => f.write_str(&excerpt(text, *cut)),
            Self::Json(Value::String(text)) => f.write_str(&excerpt(text, false)),
            Self::Json(value) => {
                let shown = value.to_string();
                match shown.char_indices().nth(LONGEST) {
                    Some((end, _)) => write!(f, "{}…", &shown[..end]),
                    None => f.write_str(&shown),
                }
            }
        }
    }
}

/// Most characters of a value that are shown.
const LONGEST: usize = 200;

fn excerpt(text: &str, cut: bool) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", quoted(&text[..end])),
        None if cut => format!("{}…", quoted(text)),
        None => quoted(text),
    }
}

/// A time in milliseconds, in microseconds below ten of them.
pub(crate) fn shown_time(time: Duration) -> String {
    if time < Duration::from_millis(10) {
        return format!("{:.1}ms", time.as_secs_f64() * 1000.0);
    }
    format!("{}ms", time.as_millis())
}
