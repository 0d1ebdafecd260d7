//! Another host, by the system's own `ssh`: whatever its configuration says of keys, agents, known hosts and jump hosts
//! holds. This room starts `ssh` and understands why it failed; it neither reads nor keeps any key.
//!
//! Over there `cutover ssh-entry` is started, which greets with a line and copies between its standard streams and
//! the controller's socket. The greeting tells what belongs to us from what a shell's start-up files print.

mod destination;
mod trouble;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::{HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Join};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::unix_http::{Duplex, Tunnel, TunnelError};
pub use destination::{Destination, InvalidDestination};

/// Begins the first line of `cutover ssh-entry`; the version of cutover stands behind it.
pub const GREETING: &str = "cutover-ssh-entry 1 ";

/// What a login may print before the greeting, in bytes.
const MOST_NOISE: usize = 64 * 1024;
/// What is kept of ssh's own words, in bytes.
const MOST_WORDS: usize = 8 * 1024;
/// How long a host may take to greet where nobody can be asked for anything.
const GREETED_WITHIN: Duration = Duration::from_secs(60);
/// What has closed its output is expected to end by then.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// A host behind ssh, and the cutover on it.
#[derive(Debug)]
pub struct Ssh {
    settings: SshSettings,
    peer_version: OnceLock<String>,
}

/// How a host is reached.
#[derive(Debug, Clone)]
pub struct SshSettings {
    /// The words of the command in place of `ssh`; not empty.
    pub program: Vec<String>,
    /// The host.
    pub destination: Destination,
    /// The words of the command `cutover` over there; not empty.
    pub remote_program: Vec<String>,
    /// The state directory over there, if it is not the usual one of the user.
    pub state_directory: Option<PathBuf>,
    /// Whether a person is there whom ssh may ask for a passphrase or about a host's key.
    pub can_ask: bool,
    /// A header that tells the other side who asks.
    pub told: Option<(HeaderName, HeaderValue)>,
}

impl Ssh {
    /// A host that has not been asked yet.
    #[must_use]
    pub fn new(settings: SshSettings) -> Self {
        Self { settings, peer_version: OnceLock::new() }
    }

    /// The host.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.settings.destination
    }

    /// Runs a verb of the cutover over there with this process's own standard streams, and waits for its end.
    /// `terminal` asks for a terminal over there.
    ///
    /// # Errors
    /// [`TunnelError`] if ssh cannot be started or does not get there.
    pub async fn run(&self, words: &[OsString], terminal: bool) -> Result<ExitStatus, TunnelError> {
        let mut command = self.command(if terminal { "-t" } else { "-T" }, words)?;
        let status = command.status().await.map_err(|error| self.cannot_start(&error))?;
        if status.code() == Some(trouble::SSH_FAILED) {
            // What it said has been seen already.
            return Err(trouble::explain(&self.settings, Some(status), "", ""));
        }
        Ok(status)
    }

    /// The same with a file as standard input.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with_input(&self, words: &[OsString], input: File) -> Result<ExitStatus, TunnelError> {
        let mut command = self.command("-T", words)?;
        let status = command.stdin(input).status().await.map_err(|error| self.cannot_start(&error))?;
        if status.code() == Some(trouble::SSH_FAILED) {
            return Err(trouble::explain(&self.settings, Some(status), "", ""));
        }
        Ok(status)
    }

    fn command(&self, terminal: &str, words: &[OsString]) -> Result<Command, TunnelError> {
        let SshSettings { program, destination, remote_program, state_directory, can_ask, .. } =
            &self.settings;
        let (first, rest) =
            program.split_first().map_or(("ssh", [].as_slice()), |(first, rest)| (first, rest));
        let mut command = Command::new(first);
        // What was given in place of `ssh` comes first and thereby wins: ssh takes the first value of each option.
        command.args(rest).arg(terminal);
        command.args(["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]);
        if !can_ask {
            command.args(["-o", "BatchMode=yes"]);
        }
        if let Some(port) = destination.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &destination.login()]);
        // Behind the verb: in front of it nobody knows the option, and behind `--` it would be a command's.
        let verb =
            words.iter().position(|word| !word.to_string_lossy().starts_with('-')).map_or(0, |at| at + 1);
        let (front, rest) = words.split_at(verb);
        let state = state_directory.iter().flat_map(|path| [OsString::from("--state-dir"), path.into()]);
        let front = remote_program.iter().map(OsString::from).chain(front.iter().cloned());
        let said = front.chain(state).chain(rest.iter().cloned());
        for word in said {
            // A shell over there splits it again.
            let quoted = word.to_str().and_then(|word| shlex::try_quote(word).ok()).ok_or_else(|| {
                self.error(format!("`{}` cannot be said to another host", word.to_string_lossy()))
            })?;
            command.arg(&*quoted);
        }
        Ok(command)
    }

    fn error(&self, message: String) -> TunnelError {
        TunnelError { message, hint: None, refused: false }
    }

    fn cannot_start(&self, error: &std::io::Error) -> TunnelError {
        let program = self.settings.program.first().map_or("ssh", String::as_str);
        TunnelError {
            hint: Some(
                "install it (Debian: `openssh-client`), or name another command in `CUTOVER_SSH`".to_owned(),
            ),
            ..self.error(format!("`{program}` cannot be started: {error}"))
        }
    }
}

#[async_trait]
impl Tunnel for Ssh {
    fn name(&self) -> String {
        self.settings.destination.to_string()
    }

    fn peer_version(&self) -> Option<String> {
        self.peer_version.get().cloned()
    }

    fn told(&self) -> Option<(HeaderName, HeaderValue)> {
        self.settings.told.clone()
    }

    fn may_ask(&self) -> bool {
        self.settings.can_ask
    }

    async fn open(&self) -> Result<Box<dyn Duplex>, TunnelError> {
        let mut command = self.command("-T", &["ssh-entry".into()])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| self.cannot_start(&error))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(self.error("the streams of ssh are missing".to_owned()));
        };
        let words = Words::listen(stderr);
        let mut stdout = BufReader::new(stdout);
        let mut noise = String::new();
        let greeting = self.greeting(&mut stdout, &mut noise);
        let greeted = if self.settings.can_ask {
            Ok(greeting.await)
        } else {
            tokio::time::timeout(GREETED_WITHIN, greeting).await
        };
        match greeted {
            Ok(Some(version)) => {
                let _ = self.peer_version.set(version);
                let stream = tokio::io::join(stdout, stdin);
                Ok(Box::new(Stream { stream, _child: child }))
            }
            Ok(None) => {
                drop((stdin, stdout));
                let status = tokio::time::timeout(ENDED_WITHIN, child.wait()).await;
                let status = status.ok().and_then(Result::ok);
                Err(trouble::explain(&self.settings, status, &words.all().await, &noise))
            }
            Err(_) => Err(TunnelError {
                hint: Some(format!(
                    "see whether `ssh {} true` gets an answer",
                    self.settings.destination.by_hand()
                )),
                ..self.error(format!(
                    "`{}` has not answered within {} s",
                    self.settings.destination,
                    GREETED_WITHIN.as_secs()
                ))
            }),
        }
    }
}

impl Ssh {
    /// The version behind the greeting; `None` if the other side ends before it, with what it said instead in `noise`.
    async fn greeting(&self, stdout: &mut BufReader<ChildStdout>, noise: &mut String) -> Option<String> {
        let mut line = Vec::new();
        while noise.len() < MOST_NOISE {
            line.clear();
            let room = (MOST_NOISE - noise.len()) as u64;
            let read = (&mut *stdout).take(room).read_until(b'\n', &mut line).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(version) = text.strip_prefix(GREETING) {
                return Some(version.trim().to_owned());
            }
            noise.push_str(&text);
        }
        None
    }
}

/// What ssh says on its standard error, kept for the case that it fails.
struct Words {
    said: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
}

impl Words {
    fn listen(mut stderr: ChildStderr) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&said);
        let listening = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..read]);
                let excess = kept.len().saturating_sub(MOST_WORDS);
                kept.drain(..excess);
            }
        });
        Self { said, listening }
    }

    /// All of it, once ssh has ended. A child of ssh (a `ControlPersist` master) may hold the stream open.
    async fn all(self) -> String {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.listening).await;
        String::from_utf8_lossy(&self.said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// The pipe through ssh; ssh ends with it.
struct Stream {
    stream: Join<BufReader<ChildStdout>, ChildStdin>,
    _child: Child,
}

mod stream {
    //! A stream is what it is joined of.

    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Stream;

    impl AsyncRead for Stream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Stream {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_over_there_is_quoted_and_the_state_directory_stands_behind_the_verb() {
        let ssh = Ssh::new(SshSettings {
            program: vec!["ssh".to_owned(), "-F".to_owned(), "config".to_owned()],
            destination: "deploy@box:2222".parse().unwrap(),
            remote_program: vec!["cutover".to_owned()],
            state_directory: Some("/srv/a b".into()),
            can_ask: false,
            told: None,
        });
        let words = ["--json", "exec", "shop", "--", "echo", "$HOME; id"].map(OsString::from);
        let command = ssh.command("-T", &words).unwrap();
        let said: Vec<_> =
            command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let expected = "-F config -T -o ConnectTimeout=20 -o ServerAliveInterval=15 -o BatchMode=yes -p 2222 -- \
                        deploy@box cutover --json exec --state-dir '/srv/a b' shop -- echo '$HOME; id'";
        assert_eq!(said.join(" "), expected);
    }
}
