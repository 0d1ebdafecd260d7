//! What is wrong with a line of the language, and where.

use std::fmt;

/// A mistake in an assertion or a capture. `{}` is the message alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands in the text, from 1, in characters; one more than there are if something is missing at the end.
    pub column: usize,
    /// What is wrong and what to do about it: a sentence without a full stop.
    pub message: String,
}

impl Mistake {
    pub(crate) fn new(column: usize, message: impl Into<String>) -> Self {
        Self { column, message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// ` (did you mean …?)` if a word that could stand here resembles what was typed, else the words that could.
pub(crate) fn instead<'a>(typed: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    let likeness = |word: &&str| (strsim::jaro_winkler(typed, word) * 1000.0) as u32;
    match words.clone().max_by_key(likeness).filter(|word| likeness(word) >= 800) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let all: Vec<_> = words.map(|word| format!("`{word}`")).collect();
            format!("here stands one of {}", all.join(", "))
        }
    }
}
