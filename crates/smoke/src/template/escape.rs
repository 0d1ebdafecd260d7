//! Filling in where what is filled in has to be written in another way.

use super::{Part, Unknown, fill, fill_with, parts};
use crate::Lookup;

/// What RFC 3986 (2.3) leaves as it is everywhere.
const UNRESERVED: &str = "-._~";

/// A path with its query, every name filled in and percent-encoded, so that it stays within its segment or parameter.
/// Only what the path begins with is taken as it is: it is a path already, such as one from a `location` field.
pub fn fill_path(text: &str, lookup: Lookup<'_>) -> Result<String, Unknown> {
    let start = match parts(text).first() {
        Some(Part::Name { whole, .. }) => whole.len(),
        _ => 0,
    };
    let encoded = fill_with(&text[start..], lookup, |value| percent_encoded(&value, UNRESERVED, true))?;
    Ok(fill(&text[..start], lookup)? + &encoded)
}

/// A body with every name filled in. Within the quotes of JSON what is filled in is escaped, in a form it is
/// percent-encoded; other bodies take it as it is. Which one it is says the `content-type` that is sent.
pub fn fill_body(text: &str, content_type: Option<&str>, lookup: Lookup<'_>) -> Result<String, Unknown> {
    let kind = content_type.and_then(|field| field.split(';').next()).unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return fill_json(text, lookup);
    }
    if kind == "application/x-www-form-urlencoded" {
        return fill_with(text, lookup, |value| percent_encoded(&value, UNRESERVED, true));
    }
    fill(text, lookup)
}

fn fill_json(text: &str, lookup: Lookup<'_>) -> Result<String, Unknown> {
    let mut filled = String::with_capacity(text.len());
    let (mut quoted, mut after_backslash) = (false, false);
    for part in parts(text) {
        match part {
            Part::Plain(plain) => {
                for c in plain.chars() {
                    match c {
                        _ if after_backslash => after_backslash = false,
                        '\\' if quoted => after_backslash = true,
                        '"' => quoted = !quoted,
                        _ => {}
                    }
                }
                filled.push_str(plain);
            }
            Part::Name { whole, .. } => {
                let value = fill(whole, lookup)?;
                let written = serde_json::Value::from(value.as_str()).to_string();
                filled.push_str(if quoted { &written[1..written.len() - 1] } else { &value });
            }
        }
    }
    Ok(filled)
}

/// A text with every byte as `%XX` but letters, digits and those in `plain`.
pub(crate) fn percent_encoded(text: &str, plain: &str, upper: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else if upper {
            encoded.push_str(&format!("%{byte:02X}"));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "evil" => Some("a\"b\\c/d?e&f\n".to_owned()),
            "location" => Some("/orders/7?new=1".to_owned()),
            "id" => Some("7".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn in_a_path_a_name_stays_within_its_segment_unless_the_path_begins_with_it() {
        let check = |text: &str, expected: &str| assert_eq!(fill_path(text, &lookup).unwrap(), expected);
        check("/orders/{{id}}", "/orders/7");
        check("/orders/{{evil}}?q={{evil}}", "/orders/a%22b%5Cc%2Fd%3Fe%26f%0A?q=a%22b%5Cc%2Fd%3Fe%26f%0A");
        check("{{location}}", "/orders/7?new=1");
        check("{{location}}&by={{location}}", "/orders/7?new=1&by=%2Forders%2F7%3Fnew%3D1");
        assert!(fill_path("/{{nobody}}", &lookup).is_err());
    }

    #[test]
    fn in_a_body_a_name_is_written_as_its_kind_asks() {
        let check = |kind: Option<&str>, text: &str, expected: &str| {
            assert_eq!(fill_body(text, kind, &lookup).unwrap(), expected);
        };
        let json = Some("application/json; charset=utf-8");
        check(json, r#"{"a":"{{evil}}","b":{{id}}}"#, r#"{"a":"a\"b\\c/d?e&f\n","b":7}"#);
        check(Some("application/problem+json"), r#"["\"{{evil}}"]"#, r#"["\"a\"b\\c/d?e&f\n"]"#);
        check(Some("Application/X-WWW-Form-Urlencoded"), "a={{evil}}&b=c", "a=a%22b%5Cc%2Fd%3Fe%26f%0A&b=c");
        check(Some("text/plain"), "{{evil}}", "a\"b\\c/d?e&f\n");
        check(None, "{{evil}}", "a\"b\\c/d?e&f\n");
    }

    proptest! {
        #[test]
        fn whatever_is_filled_into_json_comes_out_of_it_as_it_was(key in "\\PC{0,8}", value in "(?s).{0,12}") {
            let body = serde_json::json!({ key: "{{value}}" }).to_string();
            prop_assume!(parts(&body).len() == 3);
            let filled = fill_body(&body, Some("application/json"), &|_| Some(value.clone())).unwrap();
            let read: serde_json::Value = serde_json::from_str(&filled).unwrap();
            prop_assert_eq!(read.as_object().unwrap().values().next().unwrap().as_str(), Some(value.as_str()));
        }
    }
}
