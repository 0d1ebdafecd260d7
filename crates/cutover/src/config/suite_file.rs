//! A suite in a file beside `cutover.toml`: requests in TOML, or a file for `hurl`.

use std::fs;
use std::io::Read;
use std::path::{Component, Path};

use toml::de::DeTable;

use super::error::ConfigError;
use super::keys::SUITE_FILE;
use super::raw::{RawSuiteFile, Text};
use super::shape;
use super::source::Source;

/// Bigger ones are no smoke suites.
const MOST_BYTES: u64 = 64 * 1024;

/// What stands in a file.
pub(super) enum SuiteFile {
    /// Requests in our own form; its mistakes are in the file.
    Requests(Source, Box<RawSuiteFile>),
    /// A text for `hurl`.
    Hurl(String),
}

/// Reads the file that a suite names.
pub(super) fn read(source: &Source, typed: &Text, directory: &Path) -> Result<SuiteFile, ConfigError> {
    let named = typed.get_ref().as_str();
    let error = |message: String| source.error(&typed.span(), message);
    if named.is_empty() {
        return Err(error("`file` is empty".to_owned()).with_hint("give the path of a file"));
    }
    let text = text_of(&directory.join(named)).map_err(|why| {
        let error = error(format!("`{named}` {why}"));
        let inside = Path::new(named)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside && why == "is not there" {
            error.with_hint("it lies beside `cutover.toml`; `cutover init --smoke` writes a first one")
        } else {
            error
        }
    })?;
    let own = Source::new(&source.beside(named), text);
    match Path::new(named).extension().and_then(|extension| extension.to_str()) {
        Some("toml") => requests(own),
        Some("hurl") => hurl(&own),
        _ => Err(error(format!("`{named}` is neither a `.toml` nor a `.hurl` file"))
            .with_hint("what runs other files is a `command`")),
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("has more than {MOST_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Err("is empty, so that it tests nothing".to_owned());
    }
    Ok(text)
}

fn requests(source: Source) -> Result<SuiteFile, ConfigError> {
    let table = DeTable::parse(source.text()).map_err(|error| source.syntax_error(&error))?;
    shape::check_by(&source, table.get_ref(), SUITE_FILE)?;
    let raw: RawSuiteFile = toml::from_str(source.text()).map_err(|error| source.syntax_error(&error))?;
    if raw.step.as_ref().is_none_or(|steps| steps.get_ref().is_empty()) {
        return Err(source
            .missing("there is no `[[step]]`, so that it tests nothing")
            .with_hint("add one, with a line such as `path = \"/\"`"));
    }
    Ok(SuiteFile::Requests(source, Box::new(raw)))
}

/// What else is wrong with it is for `hurl` to say, which need not be installed here.
fn hurl(source: &Source) -> Result<SuiteFile, ConfigError> {
    let is_request = |line: &str| {
        let (method, rest) = line.split_once(' ').unwrap_or_default();
        !method.is_empty()
            && method.bytes().all(|byte| byte.is_ascii_uppercase())
            && method != "HTTP"
            && !rest.trim().is_empty()
    };
    if !source.text().lines().any(is_request) {
        return Err(source
            .missing("there is no request in it, so that it tests nothing")
            .with_hint("a request of hurl is a line such as `GET {{target}}/health`"));
    }
    Ok(SuiteFile::Hurl(source.text().to_owned()))
}
