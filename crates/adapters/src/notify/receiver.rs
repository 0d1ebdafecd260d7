//! The kinds of receivers and how each is told.
//!
//! A webhook's `Cutover-Signature` is `t=SECONDS,v1=HEX`: HMAC-SHA-256 under the secret over `SECONDS.BODY`, as
//! Stripe signs. The moment is inside, so that a receiver can refuse what somebody recorded and sends again.

use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use cutover_controller::ports::NotifySettings;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use ureq::Agent;

use crate::http_client;

/// A receiver that has not answered by then is asked again later.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// A command may take longer, and is killed after this.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A kind of receiver; a service has at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Receiver {
    Webhook,
    Slack,
    Command,
}

impl Receiver {
    pub(super) const ALL: [Self; 3] = [Self::Webhook, Self::Slack, Self::Command];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Command => "command",
        }
    }

    pub(super) fn is_set(self, settings: &NotifySettings) -> bool {
        match self {
            Self::Webhook => settings.webhook.is_some(),
            Self::Slack => settings.slack.is_some(),
            Self::Command => settings.command.is_some(),
        }
    }
}

/// One try. `Ok` if the receiver has taken it; else why not, without a secret.
pub(super) async fn send(
    receiver: Receiver,
    settings: &NotifySettings,
    id: &str,
    event: &str,
    body: &str,
) -> Result<(), String> {
    match receiver {
        Receiver::Webhook => {
            let Some((url, secret)) = &settings.webhook else { return Ok(()) };
            let mut headers = vec![("Cutover-Event", event.to_owned()), ("Cutover-Delivery", id.to_owned())];
            if let Some(secret) = secret {
                headers.push(("Cutover-Signature", signature(secret.expose(), now_seconds(), body)));
            }
            post(url, headers, body).await
        }
        Receiver::Slack => {
            let Some(url) = &settings.slack else { return Ok(()) };
            post(url.expose(), Vec::new(), body).await
        }
        Receiver::Command => {
            let Some(words) = &settings.command else { return Ok(()) };
            run(words, body).await
        }
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn signature(secret: &str, seconds: u64, body: &str) -> String {
    // HMAC (RFC 2104) takes keys of every length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mac) => mac,
        Err(error) => unreachable!("{error}"),
    };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

async fn post(url: &str, headers: Vec<(&'static str, String)>, body: &str) -> Result<(), String> {
    let (url, body) = (url.to_owned(), body.to_owned());
    let (answer, answered) = oneshot::channel();
    // A thread of its own: the end of the controller does not wait for a receiver that is slow.
    let thread = std::thread::Builder::new().name("notify".to_owned());
    let started = thread.spawn(move || {
        let _ = answer.send(post_now(&url, &headers, &body));
    });
    started.map_err(|error| format!("no thread could be started: {error}"))?;
    answered.await.unwrap_or_else(|_| Err("the try has ended by a bug".to_owned()))
}

fn post_now(url: &str, headers: &[(&'static str, String)], body: &str) -> Result<(), String> {
    let mut request = agent().post(url).header("Content-Type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    match request.send(body) {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status())),
        Err(ureq::Error::Io(error)) => Err(error.to_string()),
        Err(ureq::Error::Timeout(_)) => Err(format!("it did not answer within {} s", HTTP_TIMEOUT.as_secs())),
        // The address may be a secret, and some errors quote it.
        Err(error) => Err(error.to_string().replace(url, "…")),
    }
}

/// One client for all, that follows nobody elsewhere.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = http_client::builder()
            .timeout_global(Some(HTTP_TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false);
        Agent::new_with_config(config.build())
    })
}

/// Runs a command as the controller's user, with the body on its standard input and a clean environment. What it
/// writes goes nowhere.
async fn run(words: &[String], body: &str) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let told = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read it has its reasons; how it ends is what counts.
            let _ = stdin.write_all(body.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, told).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("`{program}` ended with {status}")),
        Ok(Err(error)) => Err(format!("`{program}` cannot be waited for: {error}")),
        Err(_) => Err(format!("`{program}` did not end within {} s", COMMAND_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute_too() {
        // printf '1700000000.{"v":1}' | openssl dgst -sha256 -hmac secret
        let expected = "t=1700000000,v1=8a547bfd2adcd07f78c08448d60b727dd145789fe26971db4ead66af709bb87e";
        let signed = signature("secret", 1_700_000_000, "{\"v\":1}");
        assert_eq!(signed, expected);
    }
}
