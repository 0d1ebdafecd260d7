//! `[secrets]`: where each secret comes from. Only what comes from this process's environment is read here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use cutover_core::release::{SecretSource, SecretValue};

use super::command::Command;
use super::error::ConfigError;
use super::raw::{RawFile, RawSecret, Text};
use super::resolve::Lookup;
use super::source::Source;
use super::variables;

/// Relative paths start from `directory`, or from nothing if the secrets are read on another host.
pub(super) fn resolve(
    source: &Source,
    raw: &RawFile,
    directory: Option<&Path>,
    variable: Lookup<'_>,
) -> Result<BTreeMap<String, SecretSource>, ConfigError> {
    let mut secrets = BTreeMap::new();
    for (name, typed) in &raw.secrets {
        variables::check_name(source, name)?;
        if raw.env.contains_key(name) {
            let message = format!("`{}` is in `[env]` too", name.get_ref());
            return Err(source.error(&name.span(), message).with_hint("keep one of the two"));
        }
        let secret = source_of(source, name.get_ref(), &name.span(), typed.get_ref(), directory, variable)?;
        secrets.insert(name.get_ref().clone(), secret);
    }
    Ok(secrets)
}

/// Where one secret comes from; `span` is where it is named.
pub(super) fn source_of(
    source: &Source,
    name: &str,
    span: &Range<usize>,
    typed: &RawSecret,
    directory: Option<&Path>,
    variable: Lookup<'_>,
) -> Result<SecretSource, ConfigError> {
    match typed {
        RawSecret { file: Some(file), env: None, command: None } => from_file(source, file, directory),
        RawSecret { file: None, env: Some(env), command: None } => from_variable(source, name, env, variable),
        RawSecret { file: None, env: None, command: Some(typed) } => {
            let words = Command::of(source, "command", typed)?.words;
            command_there(source, typed.span(), words, directory).map(SecretSource::Command)
        }
        _ => {
            let message = format!("the secret `{name}` must have one of `file`, `env` and `command`");
            let hint = format!("write it like `{name} = {{ file = \"/etc/…\" }}`");
            Err(source.error(span, message).with_hint(hint))
        }
    }
}

/// The words of a command that is run where the controller is.
pub(super) fn command_there(
    source: &Source,
    span: Range<usize>,
    words: Vec<String>,
    directory: Option<&Path>,
) -> Result<Vec<String>, ConfigError> {
    let program = words.first().map_or("", String::as_str);
    if directory.is_none() && program.contains('/') && !program.starts_with('/') {
        return Err(relative_elsewhere(source, span, program));
    }
    Ok(in_directory(words, directory))
}

/// Whether the file is there is the controller's to say: it may be readable to the controller's user only.
fn from_file(source: &Source, typed: &Text, directory: Option<&Path>) -> Result<SecretSource, ConfigError> {
    match typed.get_ref().as_str() {
        "" => Err(source.error(&typed.span(), "`file` is empty").with_hint("give the path of a file")),
        path if Path::new(path).is_absolute() => {
            Ok(SecretSource::File(Path::new(path).components().collect()))
        }
        path => match directory {
            Some(directory) => Ok(SecretSource::File(directory.join(path).components().collect())),
            None => Err(relative_elsewhere(source, typed.span(), path)),
        },
    }
}

fn relative_elsewhere(source: &Source, span: Range<usize>, path: &str) -> ConfigError {
    source
        .error(&span, format!("`{path}` is looked for on another host, where it is relative to nothing"))
        .with_hint("give its absolute path there, or take the value from here with { env = \"NAME\" }")
}

fn from_variable(
    source: &Source,
    name: &str,
    typed: &Text,
    variable: Lookup<'_>,
) -> Result<SecretSource, ConfigError> {
    let from = typed.get_ref();
    let error = |message: String| source.error(&typed.span(), message);
    // The operating system has no other names, and std panics at some of them.
    let value = if from.is_empty() || from.contains(['=', '\0']) { None } else { variable(from) };
    let value = value.ok_or_else(|| {
        error(format!(
            "the secret `{name}` comes from the environment variable `{from}`, which is not set here"
        ))
        .with_hint(format!("set it: `{from}=… cutover deploy`"))
    })?;
    let value = value.into_string().map_err(|_| {
        error(format!("the secret `{name}` comes from the environment variable `{from}`, which is not UTF-8"))
            .with_hint("put it into a file and use { file = \"…\" }")
    })?;
    Ok(SecretSource::Value(SecretValue::new(value)))
}

/// A program with a slash starts from the directory of the file, as every relative path in it does.
fn in_directory(mut words: Vec<String>, directory: Option<&Path>) -> Vec<String> {
    if let Some(directory) = directory
        && let Some(program) = words.first_mut()
        && program.contains('/')
        && let Some(absolute) =
            directory.join(&*program).components().collect::<std::path::PathBuf>().to_str()
    {
        *program = absolute.to_owned();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(&format!("[secrets]\n{lines}")), expected, "{lines}");
    }

    #[test]
    fn a_secret_has_exactly_one_source() {
        for lines in ["KEY = {}", "KEY = { file = \"/k\", env = \"K\" }"] {
            check(
                lines,
                "cutover.toml:4: the secret `KEY` must have one of `file`, `env` and `command`\n  write it like `KEY = { file = \"/etc/…\" }`",
            );
        }
        check("KEY = { file = \"\" }", "cutover.toml:4: `file` is empty\n  give the path of a file");
    }

    #[test]
    fn a_secret_that_is_not_in_the_environment_is_named() {
        check(
            "KEY = { env = \"SHOP_KEY\" }",
            "cutover.toml:4: the secret `KEY` comes from the environment variable `SHOP_KEY`, which is not set here\n  set it: `SHOP_KEY=… cutover deploy`",
        );
        check(
            "KEY = { env = \"BROKEN\" }",
            "cutover.toml:4: the secret `KEY` comes from the environment variable `BROKEN`, which is not UTF-8\n  put it into a file and use { file = \"…\" }",
        );
        for odd in ["", "a=b", "\\u0000"] {
            let error = Fixture::service().error_of_line_3(&format!("secrets.KEY = {{ env = \"{odd}\" }}"));
            assert!(error.contains("which is not set here"), "{error}");
        }
    }

    #[test]
    fn a_name_is_a_variable_or_a_secret_but_not_both() {
        check(
            "KEY = { file = \"/k\" }\n[env]\nKEY = \"x\"",
            "cutover.toml:4: `KEY` is in `[env]` too\n  keep one of the two",
        );
    }

    #[test]
    fn sources_are_absolute_and_values_of_the_environment_are_read_at_once() {
        let text = r#"
            name = "shop"
            command = "./shop"
            [secrets]
            A = { file = "../keys/a" }
            B = { env = "TOKEN" }
            C = { command = "./get-secret 'c d'" }
            D = { command = ["pass", "show", "d"] }
        "#;
        let fixture = Fixture::service();
        let secrets = fixture.resolve(text).unwrap().spec.secrets;
        assert_eq!(secrets["A"], SecretSource::File(fixture.path("../keys/a")));
        assert_eq!(secrets["B"], SecretSource::Value(SecretValue::new("hunter2".to_owned())));
        let program = fixture.path("get-secret").display().to_string();
        assert_eq!(secrets["C"], SecretSource::Command(vec![program, "c d".to_owned()]));
        assert_eq!(secrets["D"], SecretSource::Command(["pass", "show", "d"].map(str::to_owned).to_vec()));
    }
}
