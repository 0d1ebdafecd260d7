//! What is looked at in an answer.

use std::fmt;

use serde_json::Value;

use crate::Lookup;
use crate::answer::Answer;
use crate::cursor::Cursor;
use crate::mistake::{Mistake, instead};
use crate::path::Path;
use crate::pattern::Pattern;
use crate::template;
use crate::value::{Found, quoted};

/// A query.
#[derive(Debug, Clone)]
pub(crate) enum Query {
    Status,
    Header(String),
    Body,
    JsonPath(Path),
    Regex(Pattern),
    Duration,
}

/// The words that a query begins with.
pub(crate) const WORDS: [&str; 6] = ["status", "header", "body", "jsonpath", "regex", "duration"];

/// What a query finds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answered {
    /// It is there.
    One(Found),
    /// There may be several: the values of a field, what a path with `*` finds.
    Several(Vec<Found>),
    /// It is not there; what is said of that.
    Nothing(String),
    /// Nobody knows; why.
    Unknown(String),
}

impl Query {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Mistake> {
        let column = cursor.column();
        let word = cursor.word();
        let takes_more = matches!(word, "header" | "jsonpath" | "regex");
        if takes_more && !cursor.spaces() && !cursor.rest().starts_with(['"', '/']) {
            return Err(cursor.mistake(format!("a space is missing behind `{word}`")));
        }
        Ok(match word {
            "status" => Self::Status,
            "body" => Self::Body,
            "duration" => Self::Duration,
            "header" => {
                let marked = cursor.quoted("the name of a field, such as \"content-type\"")?;
                let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
                match marked.text.char_indices().find(|(_, c)| !allowed(*c)) {
                    Some((at, c)) => {
                        let message = format!("a field has no {} in its name", quoted(&c.to_string()));
                        return Err(Mistake::new(marked.column(at), message));
                    }
                    None if marked.text.is_empty() => {
                        return Err(Mistake::new(marked.column(0), "a field has a name"));
                    }
                    None => Self::Header(marked.text),
                }
            }
            "jsonpath" => Self::JsonPath(Path::parse(cursor.quoted("a path, such as \"$.items[0].name\"")?)?),
            "regex" => Self::Regex(Pattern::parse(cursor)?),
            "" => return Err(cursor.mistake(format!("here stands what is looked at: {}", listed()))),
            other => {
                return Err(Mistake::new(
                    column,
                    format!("`{other}` is nothing to look at: {}", instead(other, WORDS.into_iter())),
                ));
            }
        })
    }

    /// Looks for it in an answer.
    pub(crate) fn find(&self, answer: &Answer<'_>, lookup: Lookup<'_>) -> Answered {
        match self {
            Self::Status => Answered::One(Found::Status(answer.status)),
            Self::Duration => Answered::One(Found::Time(answer.took)),
            Self::Header(name) => {
                let same = answer.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
                Answered::Several(same.map(|(_, value)| Found::text(value)).collect())
            }
            Self::Body => Answered::One(Found::Text { text: text_of(answer), cut: !answer.whole }),
            Self::JsonPath(path) => find_path(path, answer, lookup),
            Self::Regex(pattern) => find_pattern(pattern, answer, lookup),
        }
    }

    /// The names that have to be filled in.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::JsonPath(path) => template::names(&path.text),
            Self::Regex(pattern) => template::names(&pattern.text),
            Self::Status | Self::Header(_) | Self::Body | Self::Duration => Vec::new(),
        }
    }
}

fn listed() -> String {
    WORDS.map(|word| format!("`{word}`")).join(", ")
}

fn text_of(answer: &Answer<'_>) -> String {
    String::from_utf8_lossy(answer.body).into_owned()
}

/// What is said of an answer whose body went on.
pub(crate) fn cut_after(bytes: usize) -> String {
    format!("the body was cut after {bytes} bytes, so nobody knows")
}

fn find_path(path: &Path, answer: &Answer<'_>, lookup: Lookup<'_>) -> Answered {
    if !answer.whole {
        return Answered::Unknown(cut_after(answer.body.len()));
    }
    let value: Value = match serde_json::from_slice(answer.body) {
        Ok(value) => value,
        Err(error) => return Answered::Unknown(format!("the body is not JSON: {error}")),
    };
    match path.find(&value, lookup) {
        Err(unknown) => Answered::Unknown(unknown.to_string()),
        Ok(nodes) if !path.is_singular => {
            Answered::Several(nodes.into_iter().cloned().map(Found::Json).collect())
        }
        Ok(nodes) => match nodes.first() {
            Some(node) => Answered::One(Found::Json((*node).clone())),
            None => Answered::Nothing(format!("nothing at `{}`", path.text)),
        },
    }
}

fn find_pattern(pattern: &Pattern, answer: &Answer<'_>, lookup: Lookup<'_>) -> Answered {
    let regex = match pattern.regex(lookup) {
        Ok(regex) => regex,
        Err(why) => return Answered::Unknown(why),
    };
    let text = text_of(answer);
    let unknown = || Answered::Unknown(cut_after(answer.body.len()));
    let Some(groups) = regex.captures(&text) else {
        return if answer.whole { Answered::Nothing("no match in the body".to_owned()) } else { unknown() };
    };
    // A match that reaches the place where the body was cut could have gone on.
    if !answer.whole && groups.get_match().end() >= decided_until(&text) {
        return unknown();
    }
    match if regex.captures_len() > 1 { groups.get(1) } else { Some(groups.get_match()) } {
        Some(found) => Answered::One(Found::text(found.as_str())),
        None => Answered::Nothing("a match in the body, but not of its group".to_owned()),
    }
}

/// How far a text that was cut says what the whole would: its last character may be half of one, and whatever looks at
/// the end of a line or a word looks one further.
pub(crate) fn decided_until(text: &str) -> usize {
    text.char_indices().rev().nth(1).map_or(0, |(at, _)| at)
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Header(name) => write!(f, "header {}", quoted(name)),
            Self::Body => f.write_str("body"),
            Self::JsonPath(path) => write!(f, "jsonpath {}", quoted(&path.text)),
            Self::Regex(pattern) => write!(f, "regex {pattern}"),
            Self::Duration => f.write_str("duration"),
        }
    }
}
