//! The driver of the HTTP/2 figures: nghttp2's `h2load`, with prior knowledge and without TLS, or with TLS 1.3.
//!
//! It tells what it has done only at its end, so the requests within a window are counted by the origin, and it says
//! whether any of them failed.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::request::HOST;

/// Longer than any answer takes that is worth a figure.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// After its time `h2load` still waits for open streams.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Where HTTP/2 is spoken, and how.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Without TLS, by prior knowledge.
    H2c(SocketAddr),
    /// With TLS 1.3, by ALPN.
    H2(SocketAddr),
}

/// With TLS it says what was agreed on; a server that knows no better would be compared by an older version.
const AGREED: [&str; 2] = ["TLS Protocol: TLSv1.3", "Application protocol: h2"];

/// A running `h2load`, on the CPUs of this process; killed when it is dropped.
#[derive(Debug)]
pub struct H2load {
    process: Child,
    pid: u32,
    target: Target,
    /// It drops what is in flight when its time is over, and counts that as failed.
    in_flight: u64,
}

/// Why its requests make no figure.
#[derive(Debug, thiserror::Error)]
pub enum H2loadError {
    /// It could not be run.
    #[error("`h2load` could not be run; Debian's package is nghttp2-client")]
    NotRun(#[from] io::Error),
    /// It did not end.
    #[error("`h2load` did not end")]
    Endless,
    /// Not every request was answered with 200.
    #[error("`h2load` says: {0}")]
    Failed(String),
}

impl H2load {
    /// Asks over `connections` with `streams` requests in flight on each, for `time`.
    ///
    /// # Errors
    ///
    /// If there is no `h2load`.
    pub fn start(
        target: Target,
        connections: usize,
        streams: usize,
        time: Duration,
    ) -> Result<Self, H2loadError> {
        let mut command = command(target);
        command.args(["-c", &connections.to_string(), "-m", &streams.to_string()]);
        command.args(["-D", &format!("{}ms", time.as_millis())]);
        let process = command.spawn()?;
        let pid = process.id().ok_or_else(|| io::Error::other("it has no pid"))?;
        Ok(Self { process, pid, target, in_flight: (connections * streams) as u64 })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// [`H2loadError`] if not every request was answered as it should be.
    pub async fn finish(self) -> Result<(), H2loadError> {
        let (target, in_flight) = (self.target, self.in_flight);
        let output = tokio::time::timeout(ENDS_WITHIN, self.process.wait_with_output())
            .await
            .map_err(|_| H2loadError::Endless)??;
        judge(&String::from_utf8_lossy(&output.stdout), target, in_flight)
    }
}

/// Whether one request over HTTP/2 is answered with 200.
///
/// # Errors
///
/// If there is no `h2load`.
pub async fn answers(target: Target) -> Result<bool, H2loadError> {
    let mut command = command(target);
    command.args(["-n", "1", "-c", "1"]);
    match tokio::time::timeout(PROBE_WITHIN, command.output()).await {
        Ok(output) => Ok(judge(&String::from_utf8_lossy(&output?.stdout), target, 0).is_ok()),
        Err(_) => Ok(false),
    }
}

fn command(target: Target) -> Command {
    let mut command = Command::new("h2load");
    match target {
        Target::H2c(address) => command.arg(format!("http://{address}/")),
        // The name is for the certificate. One cipher and one group, so that no server's taste makes its work another.
        Target::H2(address) => command.args([
            &format!("https://{HOST}:{}/", address.port()),
            &format!("--connect-to={address}"),
            "--tls13-ciphers=TLS_AES_128_GCM_SHA256",
            "--groups=X25519",
        ]),
    };
    command.args(["-H", &format!(":authority: {HOST}")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// Reads the two lines that count:
///
/// ```text
/// requests: 20 total, 20 started, 20 done, 20 succeeded, 0 failed, 0 errored, 0 timeout
/// status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx
/// ```
///
/// and what was agreed on in the handshakes, if there were any.
fn judge(said: &str, target: Target, may_fail: u64) -> Result<(), H2loadError> {
    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    let (requests, codes) = (line("requests: "), line("status codes: "));
    let count = |line: &str, what: &str| {
        let mut counts = line.split_once(": ")?.1.split(", ").filter_map(|count| count.split_once(' '));
        counts.find(|(_, word)| *word == what)?.0.parse::<u64>().ok()
    };
    let disagreed = AGREED.iter().find(|agreed| !said.lines().any(|line| line == **agreed));
    if let (Target::H2(_), Some(disagreed)) = (target, disagreed) {
        return Err(H2loadError::Failed(format!("{requests}; without `{disagreed}`")));
    }
    let good = count(codes, "2xx").is_some_and(|good| good > 0);
    let failed = count(requests, "failed").is_some_and(|failed| failed <= may_fail);
    let other = ["3xx", "4xx", "5xx"].map(|what| count(codes, what));
    if good && failed && other == [Some(0); 3] {
        Ok(())
    } else {
        Err(H2loadError::Failed(format!("{requests}; {codes}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H2C: Target = Target::H2c(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80));

    #[test]
    fn with_tls_the_version_and_the_protocol_must_be_those_that_are_compared() {
        let Target::H2c(address) = H2C else { return };
        let check = |agreed: &str, expected: bool| {
            let answered = "requests: 1 total, 0 failed\nstatus codes: 1 2xx, 0 3xx, 0 4xx, 0 5xx\n";
            let said = format!("{agreed}\n{answered}");
            assert_eq!(judge(&said, Target::H2(address), 0).is_ok(), expected, "{said}");
        };
        check("TLS Protocol: TLSv1.3\nApplication protocol: h2", true);
        check("TLS Protocol: TLSv1.2\nApplication protocol: h2", false);
        check("TLS Protocol: TLSv1.3\nNo protocol negotiated. Fallback behaviour may be activated", false);
    }

    #[test]
    fn only_answers_with_200_to_everything_make_a_figure() {
        let check = |requests: &str, codes: &str, expected: bool| {
            let said = format!("finished in 1s\nrequests: {requests}\nstatus codes: {codes}\n");
            assert_eq!(judge(&said, H2C, 0).is_ok(), expected, "{said}");
        };
        let clean = "9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout";
        check(clean, "9 2xx, 0 3xx, 0 4xx, 0 5xx", true);
        check(clean, "8 2xx, 0 3xx, 0 4xx, 1 5xx", false);
        check(
            "9 total, 9 started, 8 done, 8 succeeded, 1 failed, 1 errored, 0 timeout",
            "8 2xx, 0 3xx, 0 4xx, 0 5xx",
            false,
        );
        check("0 total", "0 2xx, 0 3xx, 0 4xx, 0 5xx", false);
    }
}
