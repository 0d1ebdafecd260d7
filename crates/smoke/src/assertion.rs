//! What must be true of an answer.

use std::fmt;

use cutover_core::gates;

use crate::Lookup;
use crate::answer::Answer;
use crate::cursor::Cursor;
use crate::judge;
use crate::mistake::Mistake;
use crate::predicate::Predicate;
use crate::query::Query;

/// An assertion that was read, such as `status == 200`. `{}` writes it in its plainest form, which reads as the same.
#[derive(Debug, Clone)]
pub struct Assertion {
    text: String,
    query: Query,
    predicate: Predicate,
}

impl Assertion {
    /// Reads a line.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mut cursor = Cursor::new(text);
        cursor.spaces();
        let query = Query::parse(&mut cursor)?;
        let predicate = Predicate::parse(&mut cursor, &query)?;
        Ok(Self { text: text.to_owned(), query, predicate })
    }

    /// Judges an answer; names in the line are looked up now. The finding has the line as it is written, so that what a
    /// name stands for is not in it; what was found may hold anything that was in the answer.
    #[must_use]
    pub fn judge(&self, answer: &Answer<'_>, lookup: Lookup<'_>) -> gates::Assertion {
        let answered = self.query.find(answer, lookup);
        let (holds, found) = match judge::judge(&self.predicate, &answered, lookup) {
            Ok(holds) => (holds, judge::found(&answered)),
            Err(why) => (false, why),
        };
        gates::Assertion { text: self.text.clone(), found, holds }
    }

    /// The names that it looks up.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        [self.query.names(), self.predicate.names()].concat()
    }

    /// Whether it is about the status of the answer.
    #[must_use]
    pub fn is_about_status(&self) -> bool {
        matches!(self.query, Query::Status)
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.query, self.predicate)
    }
}
