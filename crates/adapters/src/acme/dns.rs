//! Records of DNS by a program that knows where a zone is kept.
//!
//! It gets `set` or `remove`, the name of a TXT record and its value. There may be several values of one name at once (for a
//! host and for all of its sub-domains), so it adds and removes values, and replaces none. It runs as the controller's
//! user, with a clean environment and no standard input.

use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{User, geteuid};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// After this time it is killed with all that it has started.
const LIMIT: Duration = Duration::from_secs(120);
/// What it has started may hold its output open; nobody waits longer for that.
const GRACE: Duration = Duration::from_secs(1);
const LAST_LINES: usize = 5;
/// So many bytes of each stream are kept, the last ones.
const KEPT: usize = 1024;

/// A TXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) value: String,
}

/// The program with what stands before its arguments.
#[derive(Debug)]
pub(super) struct DnsCommand {
    words: Vec<String>,
    limit: Duration,
}

impl DnsCommand {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self { words, limit: LIMIT }
    }

    /// Has a record set. An error is one sentence with the program's last words.
    pub(super) async fn set(&self, record: &Record) -> Result<(), String> {
        self.run("set", record).await
    }

    /// Has a record removed, which may not be there.
    pub(super) async fn remove(&self, record: &Record) -> Result<(), String> {
        self.run("remove", record).await
    }

    async fn run(&self, verb: &str, record: &Record) -> Result<(), String> {
        let Some((program, arguments)) = self.words.split_first() else {
            return Err("`dns_command` is empty".to_owned());
        };
        let home = User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args([verb, &record.name, &record.value])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home.unwrap_or_else(|| "/".into()))
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
        let (mut output, mut errors) = (Tail::of(child.stdout.take()), Tail::of(child.stderr.take()));
        let told = |what: String| format!("`{program} {verb} {}` {what}", record.name);
        let ended = tokio::time::timeout(self.limit, async {
            let mut read = pin!(async { tokio::join!(output.read(), errors.read()) });
            tokio::select! {
                ended = child.wait() => {
                    let _ = tokio::time::timeout(GRACE, read).await;
                    ended
                }
                _ = &mut read => child.wait().await,
            }
        });
        let Ok(ended) = ended.await else {
            return Err(told(format!("did not end within {} s", self.limit.as_secs())));
        };
        // It has ended by itself, and its number may be another's soon.
        group.0 = None;
        let status = ended.map_err(|error| told(format!("cannot be waited for: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let mut lines = output.lines();
        lines.extend(errors.lines());
        let last = lines.split_off(lines.len().saturating_sub(LAST_LINES));
        let last = if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) };
        Err(told(format!("ended with {status}{last}")))
    }
}

/// Ends what a program has started, also if nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The end of what comes out of a stream.
struct Tail<S> {
    stream: Option<S>,
    bytes: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Tail<S> {
    fn of(stream: Option<S>) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// Reads all, so that the program never waits for a reader.
    async fn read(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            self.bytes.extend_from_slice(&piece[..read]);
            self.bytes.drain(..self.bytes.len().saturating_sub(KEPT));
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines =
            text.lines().map(|line| line.chars().filter(|letter| !letter.is_control()).collect::<String>());
        lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::test_kill_process;

    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_all_that_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let started = directory.path().join("started");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", started.display());
        let words = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let record = Record { name: "_acme-challenge.a.dev".to_owned(), value: "x".to_owned() };
        let slow = DnsCommand { words, limit: Duration::from_secs(1) };
        let error = loop {
            let error = slow.set(&record).await.unwrap_err();
            // On a host that has much to do it may not even have begun.
            if started.exists() {
                break error;
            }
        };
        assert!(error.ends_with("did not end within 1 s"), "{error}");
        let id = std::fs::read_to_string(started).unwrap().trim().parse().unwrap();
        let left = Pid::from_raw(id).unwrap();
        // Whoever inherits it has to notice that it has ended.
        let gone = async {
            while test_kill_process(left).is_ok() && !is_zombie(id) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    fn is_zombie(id: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    }
}
