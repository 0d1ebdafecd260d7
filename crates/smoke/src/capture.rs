//! What a later request needs of an answer.

use std::fmt;

use serde_json::Value;

use crate::Lookup;
use crate::answer::Answer;
use crate::cursor::Cursor;
use crate::judge::told;
use crate::mistake::Mistake;
use crate::query::{Answered, Query, cut_after};
use crate::value::Found;

/// A capture that was read, such as `jsonpath "$.token"`.
#[derive(Debug, Clone)]
pub struct Capture {
    query: Query,
}

impl Capture {
    /// Reads a line.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mut cursor = Cursor::new(text);
        cursor.spaces();
        let query = Query::parse(&mut cursor)?;
        cursor.spaces();
        if !cursor.is_at_end() {
            let message = format!("`{}` follows, but a capture is a query alone", cursor.next_word());
            return Err(cursor.mistake(message));
        }
        Ok(Self { query })
    }

    /// Takes it from an answer, or says why there is none.
    pub fn take(&self, answer: &Answer<'_>, lookup: Lookup<'_>) -> Result<String, String> {
        match self.query.find(answer, lookup) {
            Answered::One(Found::Json(Value::Null)) => Err("it is null".to_owned()),
            Answered::One(Found::Text { text, cut: true }) => Err(cut_after(text.len())),
            Answered::One(found) => Ok(found.as_text()),
            Answered::Several(all) => match all.as_slice() {
                [] => Err("there is none".to_owned()),
                [only] => Ok(only.as_text()),
                [first, ..] => Err(format!("there are {}, the first is {}", all.len(), told(first))),
            },
            Answered::Nothing(why) | Answered::Unknown(why) => Err(why),
        }
    }

    /// The names that it looks up.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.query.names()
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.query)
    }
}
