//! The driver of the HTTP/2 figures: nghttp2's `h2load`, with prior knowledge and without TLS.
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

/// A running `h2load`, on the CPUs of this process; killed when it is dropped.
#[derive(Debug)]
pub struct H2load {
    process: Child,
    pid: u32,
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
        target: SocketAddr,
        connections: usize,
        streams: usize,
        time: Duration,
    ) -> Result<Self, H2loadError> {
        let mut command = command(target);
        command.args(["-c", &connections.to_string(), "-m", &streams.to_string()]);
        command.args(["-D", &format!("{}ms", time.as_millis())]);
        let process = command.spawn()?;
        let pid = process.id().ok_or_else(|| io::Error::other("it has no pid"))?;
        Ok(Self { process, pid, in_flight: (connections * streams) as u64 })
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
        let in_flight = self.in_flight;
        let output = tokio::time::timeout(ENDS_WITHIN, self.process.wait_with_output())
            .await
            .map_err(|_| H2loadError::Endless)??;
        judge(&String::from_utf8_lossy(&output.stdout), in_flight)
    }
}

/// Whether one request over HTTP/2 without TLS is answered with 200.
///
/// # Errors
///
/// If there is no `h2load`.
pub async fn answers(target: SocketAddr) -> Result<bool, H2loadError> {
    let mut command = command(target);
    command.args(["-n", "1", "-c", "1"]);
    match tokio::time::timeout(PROBE_WITHIN, command.output()).await {
        Ok(output) => Ok(judge(&String::from_utf8_lossy(&output?.stdout), 0).is_ok()),
        Err(_) => Ok(false),
    }
}

fn command(target: SocketAddr) -> Command {
    let mut command = Command::new("h2load");
    command.arg(format!("http://{target}/")).args(["-H", &format!(":authority: {HOST}")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// Reads the two lines that count:
///
/// ```text
/// requests: 20 total, 20 started, 20 done, 20 succeeded, 0 failed, 0 errored, 0 timeout
/// status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx
/// ```
fn judge(said: &str, may_fail: u64) -> Result<(), H2loadError> {
    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    let (requests, codes) = (line("requests: "), line("status codes: "));
    let count = |line: &str, what: &str| {
        let mut counts = line.split_once(": ")?.1.split(", ").filter_map(|count| count.split_once(' '));
        counts.find(|(_, word)| *word == what)?.0.parse::<u64>().ok()
    };
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

    #[test]
    fn only_answers_with_200_to_everything_make_a_figure() {
        let check = |requests: &str, codes: &str, expected: bool| {
            let said = format!("finished in 1s\nrequests: {requests}\nstatus codes: {codes}\n");
            assert_eq!(judge(&said, 0).is_ok(), expected, "{said}");
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
