//! Secrets: taken from where the request says, once, when the release is made; told about without their value.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cutover_controller::ports::PrepareError;
use cutover_core::release::SecretSource;
use tokio::process::Command;

use super::{host, wrong};
use crate::durable_file;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A secret with its value, on the way from its source to its file.
#[derive(Clone)]
pub(super) struct ResolvedSecret {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

/// Asks every source.
pub(super) async fn resolve(
    sources: &BTreeMap<String, SecretSource>,
) -> Result<Vec<ResolvedSecret>, PrepareError> {
    let mut resolved = Vec::with_capacity(sources.len());
    for (name, source) in sources {
        if !is_variable_name(name) {
            let hint = "use letters, digits and `_`, beginning with a letter or `_`";
            return Err(wrong(format!("the secret `{name}` cannot be an environment variable"), hint));
        }
        let value = match source {
            SecretSource::Value(value) => value.expose().as_bytes().to_vec(),
            SecretSource::File(path) => from_file(name, path)?,
            SecretSource::Command(words) => from_command(name, words).await?,
        };
        if value.contains(&0) {
            let hint = "encode it, for example with base64";
            return Err(wrong(format!("the secret `{name}` holds a zero byte"), hint));
        }
        resolved.push(ResolvedSecret { name: name.clone(), value });
    }
    Ok(resolved)
}

fn is_variable_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn from_file(name: &str, path: &Path) -> Result<Vec<u8>, PrepareError> {
    let read = fs::read(path).map_err(|error| {
        let reason = format!("cannot read the secret `{name}` from `{}`: {error}", path.display());
        wrong(reason, "the file has to be readable on the controller's host, by the controller's user")
    });
    read.map(without_newline)
}

/// Runs the command as the controller's user. What it writes is never shown: it may be, or quote, the value.
async fn from_command(name: &str, words: &[String]) -> Result<Vec<u8>, PrepareError> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(wrong(format!("the secret `{name}` has an empty command"), "give the command as a list"));
    };
    let source = |what: &str| format!("cannot get the secret `{name}` from the command `{program}`: {what}");
    let hint = "run the command on the controller's host, as the controller's user";
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(COMMAND_TIMEOUT, command.output()).await {
        Err(_) => {
            let what = format!("it did not end within {} s", COMMAND_TIMEOUT.as_secs());
            return Err(wrong(source(&what), hint));
        }
        Ok(Err(error)) => return Err(wrong(source(&error.to_string()), hint)),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        return Err(wrong(source(&format!("it ended with {}", output.status)), hint));
    }
    Ok(without_newline(output.stdout))
}

/// Takes away one newline at the end, as files and commands have it.
fn without_newline(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}

/// Writes each value into a file of its name that only the controller's user can read.
pub(super) fn write(secrets: &[ResolvedSecret], directory: &Path) -> Result<(), PrepareError> {
    fs::DirBuilder::new().mode(0o700).create(directory).map_err(host(directory))?;
    for secret in secrets {
        let file = directory.join(&secret.name);
        durable_file::write(&file, &secret.value, 0o600).map_err(host(&file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cutover_core::release::SecretValue;

    use super::*;

    async fn check(source: SecretSource, expected: Result<&str, &str>) {
        let sources = BTreeMap::from([("KEY".to_owned(), source)]);
        match (resolve(&sources).await, expected) {
            (Ok(resolved), Ok(value)) => assert_eq!(resolved[0].value, value.as_bytes()),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (Ok(_), Err(part)) => panic!("should fail with {part}"),
            (Err(error), Ok(_)) => panic!("{error}"),
        }
    }

    fn shell(script: &str) -> SecretSource {
        SecretSource::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn a_value_is_taken_as_it_is_and_files_and_commands_lose_one_newline() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        fs::write(&file, "one\n\n").unwrap();
        check(SecretSource::Value(SecretValue::new("one\n".to_owned())), Ok("one\n")).await;
        check(SecretSource::File(file), Ok("one\n")).await;
        check(shell("echo one"), Ok("one")).await;
    }

    #[tokio::test]
    async fn a_source_that_fails_is_named_without_what_it_wrote() {
        check(SecretSource::File("/nowhere/key".into()), Err("secret `KEY` from `/nowhere/key`")).await;
        check(shell("echo hunter2; exit 3"), Err("`sh`: it ended with exit status: 3")).await;
        check(SecretSource::Command(vec!["no-such-program".to_owned()]), Err("`no-such-program`")).await;
        check(shell("printf 'a\\000b'"), Err("holds a zero byte")).await;
        let sources = BTreeMap::from([("KEY".to_owned(), shell("echo hunter2; exit 3"))]);
        let error = resolve(&sources).await.err().unwrap();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[tokio::test]
    async fn a_name_that_could_lead_elsewhere_is_refused() {
        for name in ["", "../x", "A-B", "1A"] {
            let value = SecretSource::Value(SecretValue::new("x".to_owned()));
            assert!(resolve(&BTreeMap::from([(name.to_owned(), value)])).await.is_err(), "{name}");
        }
    }
}
