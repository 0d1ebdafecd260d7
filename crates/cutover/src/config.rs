//! The configuration room: from the text of `cutover.toml` to a checked `DeploymentSpec`.
//!
//! What was typed (`raw`) and what is meant (`cutover_core::release::DeploymentSpec`) are two types, and only the
//! second leaves the command line. A text goes through three gates, and every mistake is an error that names its
//! line: `shape` (which keys there are and what each holds), serde, and `resolve` (what the values mean, against
//! the files they speak of). This room has never heard of the controller or of HTTP.

mod error;
mod exclude;
mod source;

mod keys;
mod raw;
mod shape;

mod artifact;
mod asserted;
pub(crate) mod clients;
mod command;
mod deploy;
mod gates;
mod health;
mod hooks;
mod migrate;
mod notify;
mod origin;
mod passage;
mod program;
mod request;
mod resolve;
mod rollout;
mod route;
mod run;
mod secrets;
mod shared;
mod smoke;
mod suite_file;
mod tls;
mod upstream;
mod value;
mod variables;
mod version;
mod windows;
mod worker;

pub(crate) mod first_suite;
mod guess;
mod sample;

#[cfg(test)]
mod fixture;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cutover_core::names::ServiceName;
use toml::de::DeTable;

pub(crate) use deploy::{AcrossHosts, OnPartial};
pub(crate) use error::ConfigError;
pub(crate) use resolve::{Overrides, resolve};
pub(crate) use sample::sample;
pub(crate) use windows::near_zone;

use raw::RawFile;
use source::Source;

/// A `cutover.toml` that was read: its keys are known and hold values of the right kind, and it names a service.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The absolute directory of the file, which its relative paths start from.
    pub(crate) directory: PathBuf,
    /// The service it is about.
    pub(crate) service: ServiceName,
    raw: RawFile,
    source: Source,
}

impl Loaded {
    fn from_text(path: &Path, text: String) -> Result<Self, ConfigError> {
        let source = Source::new(path, text);
        let raw = parse(&source)?;
        let service = value::service_name(&source, raw.name.as_ref())?;
        let absolute = std::path::absolute(path).map_err(|cause| unreadable(path, &cause, WRITE_ONE))?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { directory, service, raw, source })
    }
}

/// Reads a file and checks its shape; [`resolve()`] checks what it means.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConfigError> {
    Loaded::from_text(path, read(path, WRITE_ONE)?)
}

/// The name of the service that a file is about, whatever else is wrong with that file: the verbs of rescue are
/// not to fail for half an edit.
pub(crate) fn service_name(path: &Path) -> Result<ServiceName, ConfigError> {
    let source = Source::new(path, read(path, "name the service, or go where its `cutover.toml` lies")?);
    let (table, _errors) = DeTable::parse_recoverable(source.text());
    let typed = table.get_ref().iter().find(|(key, _)| key.get_ref() == "name").map(|(_, value)| value);
    let name =
        typed.and_then(|value| Some(toml::Spanned::new(value.span(), value.get_ref().as_str()?.to_owned())));
    value::service_name(&source, name.as_ref())
}

/// The hosts that a file deploys to, whatever else is wrong with that file; none if it names none.
pub(crate) fn deploy_hosts(path: &Path) -> Result<Vec<String>, ConfigError> {
    let source = Source::new(path, read(path, "go where a `cutover.toml` lies")?);
    let (table, _errors) = DeTable::parse_recoverable(source.text());
    let section = table.get_ref().iter().find(|(key, _)| key.get_ref() == "deploy");
    let section = section.and_then(|(_, value)| value.get_ref().as_table());
    let hosts = section.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == "hosts"));
    let Some((_, hosts)) = hosts else { return Ok(Vec::new()) };
    let one = hosts.get_ref().as_str();
    let listed = hosts.get_ref().as_array().into_iter().flatten().filter_map(|host| host.get_ref().as_str());
    Ok(one.into_iter().chain(listed).map(str::to_owned).collect())
}

const WRITE_ONE: &str = "`cutover init` writes one, and `-f FILE` names another";

fn read(path: &Path, hint: &str) -> Result<String, ConfigError> {
    let bytes = fs::read(path).map_err(|cause| unreadable(path, &cause, hint))?;
    String::from_utf8(bytes).map_err(|cause| {
        let valid = cause.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&cause.as_bytes()[..valid]).into_owned();
        let source = Source::new(path, text);
        source.error(&(valid..valid), "the text is not UTF-8").with_hint("save the file as UTF-8")
    })
}

fn unreadable(path: &Path, cause: &io::Error, hint: &str) -> ConfigError {
    let shown = path.display();
    match cause.kind() {
        io::ErrorKind::NotFound => ConfigError::new(format!("there is no `{shown}`")).with_hint(hint),
        io::ErrorKind::IsADirectory => ConfigError::new(format!("`{shown}` is a directory"))
            .with_hint(format!("did you mean `{}`?", path.join("cutover.toml").display())),
        _ => ConfigError::new(format!("cannot read `{shown}`: {cause}")),
    }
}

fn parse(source: &Source) -> Result<RawFile, ConfigError> {
    let table = DeTable::parse(source.text()).map_err(|error| source.syntax_error(&error))?;
    shape::check(source, table.get_ref())?;
    // The shape is right, so that serde has nothing left to say; if it has, say it with its place.
    toml::from_str(source.text()).map_err(|error| source.syntax_error(&error))
}

#[cfg(test)]
mod tests {
    use super::fixture::Fixture;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_missing_file_is_an_error_that_says_how_to_get_one() {
        let fixture = Fixture::empty();
        let error = load(&fixture.path("cutover.toml")).unwrap_err();
        assert_eq!(
            fixture.shown(&error),
            "there is no `/cutover.toml`\n  `cutover init` writes one, and `-f FILE` names another"
        );
    }

    #[test]
    fn a_directory_in_place_of_the_file_is_answered_with_the_file_in_it() {
        let fixture = Fixture::empty();
        let error = load(&fixture.path("")).unwrap_err();
        assert_eq!(fixture.shown(&error), "`/` is a directory\n  did you mean `/cutover.toml`?");
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_refused_with_its_line() {
        let fixture = Fixture::empty();
        fs::write(fixture.path("cutover.toml"), b"name = \"shop\"\n# caf\xe9\n").unwrap();
        let error = load(&fixture.path("cutover.toml")).unwrap_err();
        assert_eq!(fixture.shown(&error), "cutover.toml:2: the text is not UTF-8\n  save the file as UTF-8");
    }

    #[test]
    fn the_directory_is_absolute_whatever_was_typed() {
        let loaded = Loaded::from_text(Path::new("cutover.toml"), "name = \"shop\"".to_owned()).unwrap();
        assert_eq!(loaded.directory, std::env::current_dir().unwrap());
    }

    #[test]
    fn the_service_name_is_found_in_a_file_that_is_wrong_elsewhere() {
        for rest in ["", "hots = [", "comand = 3", "[run]\ninstances = \"x\"", "command = ./shop"] {
            let fixture = Fixture::with("cutover.toml", &format!("name = \"shop\"\n{rest}\n"));
            assert_eq!(service_name(&fixture.path("cutover.toml")).unwrap().as_str(), "shop", "{rest}");
        }
        let fixture = Fixture::with("cutover.toml", "[run]\nname = \"other\"\n");
        assert!(service_name(&fixture.path("cutover.toml")).is_err());
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_are_no_mistake() {
        let text = "\u{feff}name = \"shop\"\r\ncommand = \"./shop\"\r\n";
        assert!(Loaded::from_text(Path::new("cutover.toml"), text.to_owned()).is_ok());
    }

    #[test]
    fn nesting_without_end_is_a_mistake_and_no_stack_overflow() {
        for text in ["a = ".to_owned() + &"[".repeat(50_000), "a = ".to_owned() + &"{ a = ".repeat(50_000)] {
            assert!(Fixture::empty().resolve(&text).is_err());
        }
        let dotted = "a.".repeat(50_000);
        assert!(Fixture::empty().resolve(&format!("{dotted}a = 1")).is_err());
        assert!(Fixture::empty().resolve(&format!("[{dotted}a]")).is_err());
    }

    #[test]
    fn every_example_can_be_deployed_as_it_is() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let mut names = Vec::new();
        for example in fs::read_dir(examples).unwrap() {
            let file = example.unwrap().path().join("cutover.toml");
            if !file.is_file() {
                continue;
            }
            let loaded = load(&file).unwrap();
            assert_eq!(resolve(&loaded, "v1").unwrap().warnings, Vec::<String>::new());
            names.push(loaded.service.to_string());
        }
        assert!(names.contains(&"site".to_owned()));
    }

    #[test]
    fn every_key_and_assertion_on_the_page_about_gates_works() {
        let page = include_str!("../../../docs/gates.md");
        let fixture = Fixture::service();
        fixture.write("smoke/account.toml", "[[step]]\npath = \"/account\"\n");
        fixture.write("smoke/api.hurl", "GET {{target}}/health\n");
        let blocks = |kind: &str| {
            let fence = format!("```{kind}\n");
            let pieces =
                page.split(&fence).skip(1).map(|piece| piece.split("```").next().unwrap().to_owned());
            pieces.collect::<Vec<_>>()
        };
        let examples = blocks("toml");
        assert_eq!(examples.len(), 9);
        for example in examples {
            let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{example}");
            let resolved = fixture.resolve(&text).unwrap_or_else(|error| panic!("{error:#}\n{example}"));
            let asks_nothing = example.starts_with("[health]") || example.starts_with("[rollout]");
            assert_eq!(resolved.spec.configuration.gates.is_empty(), asks_nothing, "{example}");
        }
        for line in blocks("assert").concat().lines() {
            let told = cutover_smoke::Assertion::parse(line).map_err(|mistake| format!("{line}: {mistake}"));
            assert_eq!(told.map(|assertion| assertion.to_string()), Ok(line.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            let _ = Loaded::from_text(Path::new("cutover.toml"), text);
        }

        #[test]
        fn no_text_made_of_our_own_words_makes_it_panic(lines in proptest::collection::vec(line(), 0..8)) {
            let fixture = Fixture::service();
            let _ = fixture.resolve(&format!("name = \"shop\"\ncommand = \"./shop\"\n{}", lines.join("\n")));
            let _ = fixture.resolve(&lines.join("\n"));
        }
    }

    fn line() -> impl Strategy<Value = String> {
        let all = keys::every_name();
        let key = proptest::sample::select(all);
        let value = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<bool>().prop_map(|flag| flag.to_string()),
            "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
            "[\"'\\[\\]{}=a-z0-9 ./*:é-]{0,12}",
            "[0-9]{1,20}(ms|s|m|h|y|M)".prop_map(|text| format!("\"{text}\"")),
            "(\\PC){0,6}".prop_map(|text| format!("[{text:?}]")),
        ];
        prop_oneof![
            4 => (key.clone(), value.clone()).prop_map(|(key, value)| format!("{key} = {value}")),
            1 => key.clone().prop_map(|key| format!("[{key}]")),
            1 => key.prop_map(|key| format!("[[{key}]]")),
            1 => "\\[\\[smoke\\]\\]\nname = \"[a-c]\"\n(path = \"/[a-z]{0,3}\"|step = \\[\\]|command = \"a\")",
            1 => ("[a-zA-Z_]{1,6}", value).prop_map(|(key, value)| format!("env.{key} = {value}")),
        ]
    }
}
