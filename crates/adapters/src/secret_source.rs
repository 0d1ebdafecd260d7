//! Values from where a request says they are, on this host; not an adapter, only what several of them ask.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cutover_controller::ports::PrepareError;
use cutover_core::release::SecretSource;
use tokio::process::Command;

use crate::bounded_file;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the source of the secret with this name, which is only told.
pub(crate) async fn value(name: &str, source: &SecretSource) -> Result<Vec<u8>, PrepareError> {
    let value = match source {
        SecretSource::Value(value) => value.expose().as_bytes().to_vec(),
        SecretSource::File(path) => from_file(name, path)?,
        SecretSource::Command(words) => from_command(name, words).await?,
    };
    if value.contains(&0) {
        let hint = "encode it, for example with base64";
        return Err(wrong(format!("the secret `{name}` holds a zero byte"), hint));
    }
    Ok(value)
}

fn from_file(name: &str, path: &Path) -> Result<Vec<u8>, PrepareError> {
    let read = bounded_file::content(path).map_err(|error| {
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

/// Says what the user has to change; the reason is about the secret.
fn wrong(reason: String, hint: &str) -> PrepareError {
    PrepareError::Wrong { reason, hint: Some(hint.to_owned()) }
}
