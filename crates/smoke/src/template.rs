//! Texts with names in them, such as `Bearer {{TOKEN}}`.
//!
//! A name has letters, digits, `_`, `-` and `.`, and does not begin with a digit; spaces may stand around it. Other
//! braces stand for themselves, and so do those in what is filled in: a text is filled once.
//!
//! What is filled in must stay what it is, wherever it stands: a path is filled by [`fill_path`], a body by
//! [`fill_body`], a field by [`fill`]; whoever sends the request refuses a field with an end of line in it.

mod escape;

use crate::Lookup;

pub(crate) use escape::percent_encoded;
pub use escape::{fill_body, fill_path};

/// A name that stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{{{{{0}}}}}` stands for nothing here")]
pub struct Unknown(pub String);

/// The text with every name filled in.
pub fn fill(text: &str, lookup: Lookup<'_>) -> Result<String, Unknown> {
    fill_with(text, lookup, |value| value)
}

/// The names in a text, in their order, repeated ones too.
#[must_use]
pub fn names(text: &str) -> Vec<String> {
    parts(text).into_iter().filter_map(Part::name).map(str::to_owned).collect()
}

/// Whether a text can stand between `{{` and `}}`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// The text with every name filled in, each by what `escape` makes of it.
pub(crate) fn fill_with(
    text: &str,
    lookup: Lookup<'_>,
    escape: impl Fn(String) -> String,
) -> Result<String, Unknown> {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Plain(plain) => filled.push_str(plain),
            Part::Name { name, .. } => {
                filled.push_str(&escape(lookup(name).ok_or_else(|| Unknown(name.to_owned()))?));
            }
        }
    }
    Ok(filled)
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Stands for itself.
    Plain(&'a str),
    /// Is filled in.
    Name {
        name: &'a str,
        /// With its braces.
        whole: &'a str,
    },
}

impl<'a> Part<'a> {
    fn name(self) -> Option<&'a str> {
        match self {
            Part::Plain(_) => None,
            Part::Name { name, .. } => Some(name),
        }
    }

    /// As it is written.
    pub(crate) fn written(self) -> &'a str {
        match self {
            Part::Plain(text) => text,
            Part::Name { whole, .. } => whole,
        }
    }
}

/// Cuts a text into its parts; together they are the text.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut plain, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = text[at..].find("{{") {
        let open = at + found;
        match placeholder(&text[open..]) {
            Some((name, length)) => {
                parts.extend((plain < open).then(|| Part::Plain(&text[plain..open])));
                parts.push(Part::Name { name, whole: &text[open..open + length] });
                (plain, at) = (open + length, open + length);
            }
            // The second brace may be the first of a name: `{{{NAME}}}`.
            None => at = open + 1,
        }
    }
    parts.extend((plain < text.len()).then(|| Part::Plain(&text[plain..])));
    parts
}

/// The name that a text begins with, and how many bytes it has with its braces.
fn placeholder(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("{{")?;
    // Longer ones are no names, and looking for their end from every brace of a long text would take its square.
    let end = inner.bytes().take(200).position(|byte| byte == b'}')?;
    let name = inner[..end].trim_matches(' ');
    (inner[end..].starts_with("}}") && is_name(name)).then_some((name, end + 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "user" => Some("eve".to_owned()),
            "open" => Some("{{".to_owned()),
            "twice" => Some("{{user}}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn names_are_filled_in_once_and_other_braces_stay() {
        let check = |text: &str, expected: &str| assert_eq!(fill(text, &lookup).unwrap(), expected, "{text}");
        check("", "");
        check("/u/{{user}}/{{ user }}", "/u/eve/eve");
        check("{{twice}}", "{{user}}");
        check("{{open}}user}}", "{{user}}");
        check("{{{user}}}", "{eve}");
        check(r#"{"a":{"b":{}}}"#, r#"{"a":{"b":{}}}"#);
        for other in ["{{", "{{}}", "{{ }}", "{{1}}", "{{a b}}", "{user}", "{{user}", "{{user} }", "{{ä}}"] {
            check(other, other);
        }
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_told() {
        let unknown = fill("{{user}} {{token}}", &lookup).unwrap_err();
        assert_eq!(unknown.to_string(), "`{{token}}` stands for nothing here");
        assert_eq!(names("{{user}} {{ token }}{{user}}"), ["user", "token", "user"]);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_text(text in "[{} a-c1é]{0,40}") {
            let written: String = parts(&text).into_iter().map(Part::written).collect();
            prop_assert_eq!(written, text);
        }
    }
}
