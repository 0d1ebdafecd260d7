//! Secrets: taken from where the request says, once, when the release is made; told about without their value.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use cutover_controller::ports::PrepareError;
use cutover_core::release::SecretSource;

use super::{host, wrong};
use crate::{durable_file, secret_source};

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
        let value = secret_source::value(name, source).await?;
        resolved.push(ResolvedSecret { name: name.clone(), value });
    }
    Ok(resolved)
}

fn is_variable_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit())
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
