//! The cases that come with this crate, and the reader of their files.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::case::{Case, Mistake, TypedCase};

/// Each file is a theme; the table of the bench goes by this order.
const FILES: &[(&str, &str)] = &[
    ("request-line", include_str!("../../corpus/request-line.toml")),
    ("targets", include_str!("../../corpus/targets.toml")),
    ("fields", include_str!("../../corpus/fields.toml")),
    ("host", include_str!("../../corpus/host.toml")),
    ("length", include_str!("../../corpus/length.toml")),
    ("transfer-coding", include_str!("../../corpus/transfer-coding.toml")),
    ("chunks", include_str!("../../corpus/chunks.toml")),
    ("connection", include_str!("../../corpus/connection.toml")),
    ("expect-and-methods", include_str!("../../corpus/expect-and-methods.toml")),
    ("pipelining", include_str!("../../corpus/pipelining.toml")),
    ("limits", include_str!("../../corpus/limits.toml")),
];

/// Why a corpus file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// It is no TOML, or has keys that are not known.
    #[error("the corpus file `{theme}` cannot be read")]
    Toml {
        /// The file.
        theme: &'static str,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A case contradicts itself.
    #[error("the case `{case}` in the corpus file `{theme}` is wrong: {mistake}")]
    Case {
        /// The file.
        theme: &'static str,
        /// The case's name.
        case: String,
        /// What is wrong.
        mistake: Mistake,
    },
    /// A report could not tell which of the two it speaks of.
    #[error("two cases have the name `{case}`")]
    Twice {
        /// The name.
        case: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<TypedCase>,
}

/// All cases, in the order of the files.
///
/// # Errors
///
/// [`CorpusError`] if a file has a mistake.
pub fn corpus() -> Result<Vec<Case>, CorpusError> {
    let mut cases = Vec::new();
    for (theme, text) in FILES {
        cases.extend(read_cases(theme, text)?);
    }
    let mut names = BTreeSet::new();
    match cases.iter().find(|case| !names.insert(&case.name)) {
        Some(case) => Err(CorpusError::Twice { case: case.name.clone() }),
        None => Ok(cases),
    }
}

/// The cases of one file; `theme` is its name in errors.
///
/// # Errors
///
/// [`CorpusError`] if it has a mistake.
pub fn read_cases(theme: &'static str, text: &str) -> Result<Vec<Case>, CorpusError> {
    let parsed: File = toml::from_str(text).map_err(|source| CorpusError::Toml { theme, source })?;
    let case = |typed: TypedCase| {
        let name = typed.name.clone();
        typed.mean(theme).map_err(|mistake| CorpusError::Case { theme, case: name, mistake })
    };
    parsed.case.into_iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::{Fate, Step};

    fn check(case: &str, expected: Result<(&[Step], Fate), &str>) {
        let text = format!("[[case]]\nname = \"a case\"\nrule = \"cutover\"\n{case}");
        let got =
            read_cases("test", &text).map(|mut cases| cases.remove(0)).map_err(|error| error.to_string());
        match expected {
            Ok((send, fate)) => {
                let got = got.unwrap();
                assert_eq!((got.send.as_slice(), got.fate), (send, fate), "{case}");
            }
            Err(words) => {
                let words = format!("the case `a case` in the corpus file `test` is wrong: {words}");
                assert_eq!(got.unwrap_err(), words, "{case}");
            }
        }
    }

    #[test]
    fn the_corpus_can_be_read_and_no_name_is_there_twice() {
        let cases = corpus().unwrap();
        assert!(cases.len() >= 300, "{}", cases.len());
    }

    #[test]
    fn bytes_are_typed_as_text_or_in_parts() {
        let refused = Fate::Refused { status: 400, before: vec![] };
        let send = |bytes: &[u8]| Step::Send(bytes.to_vec());
        check("send = \"a\\r\\n\"\nrefused = 400", Ok((&[send(b"a\r\n")], refused.clone())));
        check(
            "send = [\"a\", { text = \"bc\", times = 2 }, { hex = \"00fF\" }]\nrefused = 400",
            Ok((&[send(b"abcbc\x00\xff")], refused.clone())),
        );
        check(
            "send = [\"a\", { await = 100 }, \"b\", { end = true }]\nrefused = 400",
            Ok((&[send(b"a"), Step::Await(100), send(b"b"), Step::End], refused)),
        );
    }

    #[test]
    fn a_case_that_contradicts_itself_is_told() {
        check("send = \"a\"", Err("a case needs one of `refused`, `refused_in_body` and `forwarded`"));
        check(
            "send = \"a\"\nrefused = 400\nrefused_in_body = true",
            Err("a case needs one of `refused`, `refused_in_body` and `forwarded`"),
        );
        check("send = \"a\"\nrefused = 400\nclosed = true", Err("`closed` does not go with this fate"));
        check("send = \"a\"\nforwarded = []\nbefore = []", Err("`before` does not go with this fate"));
        check(
            "send = [{ hex = \"abc\" }]\nrefused = 400",
            Err("`abc` is not an even number of hexadecimal digits"),
        );
        check(
            "send = [{ text = \"a\", hex = \"00\" }]\nrefused = 400",
            Err("a part needs one of `text`, `hex`, `await` and `end = true`"),
        );
        check(
            "send = \"a\"\nforwarded = [[{ await = 100 }]]",
            Err("`await` and `end` belong into `send` alone"),
        );
    }

    #[test]
    fn a_key_that_nobody_knows_is_told() {
        let typo = "[[case]]\nname = \"a\"\nrule = \"b\"\nsend = \"c\"\nrefuse = 400";
        assert!(matches!(read_cases("test", typo), Err(CorpusError::Toml { theme: "test", .. })));
    }
}
