//! Commands of people with what a release is run with: its environment, secrets, user and directory.
//!
//! The controller starts this binary once more, as the hidden `cutover console`, with a terminal's end or pipes as its
//! standard streams. That makes a session, takes the terminal, becomes the release's user and then the command
//! itself: so it needs no code between fork and exec, and secrets reach the command without passing through anybody's
//! arguments. The plan is a file that it removes before anything else. Where systemd starts instances it starts commands
//! too, each in a unit of its own.

mod become_command;
mod own_unit;
mod streams;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use cutover_controller::ports::{
    Console, Control, Ending, Invocation, PortError, Session, Unrunnable, WindowSize, Written,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use self::streams::{Carriers, Streams};
use super::command::StartError;
use super::record::InstanceRecord;
use super::start::{Wanted, workdir};
use super::{Instances, Parent, ProcessExecutor, command, failed, refused, signals, transient_unit};
use crate::durable_file;

pub use become_command::{BecomeError, become_command};
pub use own_unit::stand_in;

/// Pieces of input or output on their way.
const UNDER_WAY: usize = 16;

/// What the hidden command becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    /// As an instance would be run, but for its command, and with port 0.
    record: InstanceRecord,
    /// `TERM`, if it has a terminal that says what it is.
    terminal: Option<String>,
    /// Whether its standard streams are a terminal's end.
    has_terminal: bool,
}

/// A command that runs.
struct Begun {
    /// Leads its session and group, once it has made them.
    process: Option<Pid>,
    /// How it ended, once it has.
    ended: Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>>,
}

#[async_trait]
impl Console for ProcessExecutor {
    async fn check(&self, wanted: &Invocation) -> Result<Option<Unrunnable>, PortError> {
        let wanted = wanted.clone();
        self.blocking(move |instances| instances.check_command(&wanted)).await
    }

    async fn open(&self, wanted: Invocation) -> Result<Session, PortError> {
        let instances = Arc::clone(&self.instances);
        instances.check_mandate()?;
        let planned = {
            let (instances, wanted) = (Arc::clone(&instances), wanted.clone());
            spawn_blocking(move || instances.write_command(&wanted)).await.map_err(refused)??
        };
        let size = wanted.terminal.as_ref().map(|terminal| terminal.size);
        let (streams, ends) = Streams::open(size).map_err(|error| failed("open a terminal", error))?;
        let begun = instances.begin_command(&planned, &wanted, ends).await;
        let begun = begun.map_err(|error| {
            let _ = fs::remove_file(&planned);
            failed("start the command", error)
        })?;
        let (input, to_write) = mpsc::channel(UNDER_WAY);
        let (control, controls) = mpsc::unbounded_channel();
        let (written, output) = mpsc::channel(UNDER_WAY);
        let (tell, ended) = oneshot::channel();
        tokio::spawn(carry(begun, streams, to_write, controls, written, tell));
        Ok(Session { input, control, output, ended })
    }
}

impl Instances {
    fn commands(&self) -> PathBuf {
        self.settings.state_directory.join("commands")
    }

    /// What a crash left of commands that did not become what they should.
    pub(super) fn forget_planned_commands(&self) {
        let _ = fs::remove_dir_all(self.commands());
    }

    fn check_command(&self, wanted: &Invocation) -> Result<Option<Unrunnable>, PortError> {
        let record = self.command_record(wanted)?;
        command::identity(record.user.as_deref()).map_err(refused)?;
        let path = record.env.get("PATH").map_or("", String::as_str);
        let Err(error) = command::resolve(&record.command, &record.workdir, path) else { return Ok(None) };
        let status = match &error {
            StartError::NoSuchFile(_) | StartError::NotInPath { .. } => 127,
            StartError::NotAFile(_) | StartError::NotExecutable(_) => 126,
            _ => return Err(refused(error)),
        };
        Ok(Some(Unrunnable { reason: error.to_string(), status }))
    }

    fn command_record(&self, wanted: &Invocation) -> Result<InstanceRecord, PortError> {
        let instance = Wanted {
            id: wanted.id.as_str().parse().map_err(refused)?,
            service: wanted.service.clone(),
            environment: wanted.environment,
            release: Arc::new(self.open_place(&wanted.service, &wanted.release)?),
            worker: None,
        };
        // No instance's port: whoever listens on port 0 gets a free one from the kernel.
        let record = self.plan(&instance, 0);
        Ok(InstanceRecord { command: wanted.command.clone(), workdir: workdir(&instance.release), ..record })
    }

    fn write_command(&self, wanted: &Invocation) -> Result<PathBuf, PortError> {
        let terminal = wanted.terminal.as_ref();
        let plan = Plan {
            record: self.command_record(wanted)?,
            terminal: terminal.and_then(|terminal| terminal.kind.clone()),
            has_terminal: terminal.is_some(),
        };
        let file = self.commands().join(wanted.id.as_str());
        let written = durable_file::create_directories(&self.commands(), 0o700)
            .and_then(|()| durable_file::write(&file, &serde_json::to_vec(&plan)?, 0o600));
        written.map(|()| file).map_err(|error| failed("write down what shall be run", error))
    }

    async fn begin_command(
        &self,
        plan: &Path,
        wanted: &Invocation,
        streams: [OwnedFd; 3],
    ) -> io::Result<Begun> {
        self.mandate.holds().map_err(io::Error::other)?;
        match self.settings.parent {
            Parent::Controller => self.spawn_command(plan, streams),
            Parent::Systemd => {
                let program = &self.settings.program;
                let systemd_run = |arguments: &[&Path]| {
                    transient_unit::of_command(program, wanted, &self.settings.path, arguments)
                };
                own_unit::start(plan, streams, systemd_run).await
            }
        }
    }

    fn spawn_command(&self, plan: &Path, [stdin, stdout, stderr]: [OwnedFd; 3]) -> io::Result<Begun> {
        let mut child = Command::new(&self.settings.program)
            .args(["console", "--plan"])
            .arg(plan)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .spawn()?;
        let process = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Begun { process, ended: Box::pin(async move { child.wait().await }) })
    }
}

/// Hangs up when it is dropped while the command runs: with the controller, or with whoever asked.
struct Line {
    process: Option<Pid>,
}

impl Line {
    /// To the command and what stayed in its group; to the command alone before it has a group of its own.
    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process
            && kill_process_group(process, signal).is_err()
        {
            let _ = kill_process(process, signal);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.signal(Signal::HUP);
    }
}

/// Carries everything until the command has ended.
async fn carry(
    begun: Begun,
    streams: Streams,
    mut input: mpsc::Receiver<Vec<u8>>,
    mut controls: mpsc::UnboundedReceiver<Control>,
    written: mpsc::Sender<Written>,
    tell: oneshot::Sender<Ending>,
) {
    let Begun { process, mut ended } = begun;
    let mut line = Line { process };
    let Streams { mut writer, out, err, terminal } = streams;
    let feeding = tokio::spawn(async move {
        while let Some(bytes) = input.recv().await {
            // Who does not read any more may write on.
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    let carriers = Carriers::start(out, err, &written);
    drop(written);
    let status = loop {
        tokio::select! {
            biased;
            status = &mut ended => break status,
            control = controls.recv() => match control {
                Some(Control::Resize(size)) => {
                    if let Some(terminal) = &terminal {
                        let _ = rustix::termios::tcsetwinsize(terminal, in_characters(size));
                    }
                }
                Some(Control::Signal(name)) => {
                    if let Some(signal) = signals::parse(&name) {
                        line.signal(signal);
                    }
                }
                None => {
                    if terminal.is_some() {
                        // The kernel hangs up once nobody has our end.
                        feeding.abort();
                        carriers.abort();
                    }
                    drop(terminal);
                    break hang_up(&line, ended).await;
                }
            },
        }
    };
    line.process = None;
    feeding.abort();
    // What it has started may hold its streams for ever; what it wrote itself is there.
    carriers.finish().await;
    // Whoever asked may be gone.
    let _ = tell.send(ending(status));
}

/// What is left once nobody is on the line: it may ignore that.
async fn hang_up(line: &Line, ended: impl Future<Output = io::Result<ExitStatus>>) -> io::Result<ExitStatus> {
    line.signal(Signal::HUP);
    // One that was stopped has to go on to hear it.
    line.signal(Signal::CONT);
    ended.await
}

fn ending(status: io::Result<ExitStatus>) -> Ending {
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => {
            Ending { how: format!("exit status {code}"), status: u8::try_from(code).unwrap_or(u8::MAX) }
        }
        Ok((None, Some(signal))) => Ending {
            how: format!("killed by {}", signals::name(signal)),
            status: 128u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        },
        Ok((None, None)) => Ending { how: "ended".to_owned(), status: u8::MAX },
        Err(error) => Ending { how: format!("its end cannot be told: {error}"), status: u8::MAX },
    }
}

fn in_characters(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}
