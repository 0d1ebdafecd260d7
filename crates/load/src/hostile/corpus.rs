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
