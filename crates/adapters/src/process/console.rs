//! Commands of people and gates with what a release is run with: its environment, secrets, user and directory.
//!
//! The controller starts this binary once more, as the hidden `cutover console`, with a terminal's end or pipes as its
//! standard streams. That makes a session, takes the terminal, becomes the release's user and then the command
//! itself: so it needs no code between fork and exec, and secrets reach the command without passing through anybody's
//! arguments. The plan is a file that it removes before anything else. Where systemd starts instances it starts commands
//! too, each in a unit of its own.
//!
//! For a gate it does not become the command but stays beside it as its guard, and nothing of it outlives that.

mod become_command;
mod guard;
mod mark;
mod own_unit;
mod streams;

use std::collections::BTreeMap;
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
    Console, Control, Ending, EndingKind, Invocation, PortError, Session, Unrunnable, WindowSize, Written,
};
use cutover_core::CommandId;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use self::guard::Guarded;
use self::mark::Mark;
use self::streams::{Carriers, Streams};
use super::command::StartError;
use super::process_table::ProcessIdentity;
use super::record::InstanceRecord;
use super::start::{Wanted, workdir};
use super::{
    Instances, Parent, ProcessExecutor, command, failed, refused, signals, state_id, transient_unit,
};
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
    /// What it is of, if it is no person's.
    gate: Option<OfGate>,
    /// Beside those of the release.
    variables: BTreeMap<String, String>,
}

/// What a command of a gate is told by.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OfGate {
    gate: CommandId,
    command: CommandId,
    /// Without it, nobody waits for the answer.
    controller: ProcessIdentity,
}

/// What is written down of a command until it has ended.
struct Planned {
    file: PathBuf,
}

impl Drop for Planned {
    fn drop(&mut self) {
        // The command has removed its plan itself, if it got as far as that.
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(guard::told_at(&self.file));
    }
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
        let begun = instances.begin_command(&planned.file, &wanted, ends).await;
        let begun = begun.map_err(|error| failed("start the command", error))?;
        let process = begun.process.filter(|_| wanted.gate.is_none());
        let line = Line { process, gates: wanted.gate.map(|_| (instances, wanted.id)) };
        let (input, to_write) = mpsc::channel(UNDER_WAY);
        let (control, controls) = mpsc::unbounded_channel();
        let (written, output) = mpsc::channel(UNDER_WAY);
        let (tell, ended) = oneshot::channel();
        tokio::spawn(async move {
            let gates = line.gates.clone();
            let status = carry(line, begun, streams, to_write, controls, written).await;
            let ending = match (gates, guard::told(&planned.file)) {
                (None, _) => ending(status),
                (Some(_), Some(told)) => ending_of_guarded(&told),
                (Some(_), None) => Ending {
                    how: "its guard was killed".to_owned(),
                    kind: EndingKind::Unknown,
                    ..ending(status)
                },
            };
            // Whoever asked may be gone.
            let _ = tell.send(ending);
        });
        Ok(Session { input, control, output, ended })
    }

    async fn end(&self, gate: &CommandId) -> Result<(), PortError> {
        let mark = Mark::Gate(gate.clone());
        self.blocking(move |instances| instances.end_marked(&mark)).await
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
        let release = match &wanted.gate {
            None => self.open_place(&wanted.service, &wanted.release)?,
            // A gate may be asked before anything of the release was started.
            Some(_) => self.made_ready(&wanted.service, &wanted.release)?,
        };
        let instance = Wanted {
            id: wanted.id.as_str().parse().map_err(refused)?,
            service: wanted.service.clone(),
            environment: wanted.environment,
            release: Arc::new(release),
            worker: None,
        };
        // No instance's port: whoever listens on port 0 gets a free one from the kernel.
        let record = self.plan(&instance, 0);
        let fill = |word: &String| {
            let filled = word.replace("{version}", wanted.release.version.as_str());
            filled.replace("{environment}", wanted.environment.label())
        };
        let command = match &wanted.gate {
            None => wanted.command.clone(),
            Some(_) => wanted.command.iter().map(fill).collect(),
        };
        Ok(InstanceRecord { command, workdir: workdir(&instance.release), ..record })
    }

    fn write_command(&self, wanted: &Invocation) -> Result<Planned, PortError> {
        let terminal = wanted.terminal.as_ref();
        let own = ProcessIdentity::of(std::process::id().cast_signed());
        let own = own.ok_or_else(|| PortError::new("the process table cannot be read"))?;
        let of_gate =
            |gate: &CommandId| OfGate { gate: gate.clone(), command: wanted.id.clone(), controller: own };
        let plan = Plan {
            record: self.command_record(wanted)?,
            terminal: terminal.and_then(|terminal| terminal.kind.clone()),
            has_terminal: terminal.is_some(),
            gate: wanted.gate.as_ref().map(of_gate),
            variables: wanted.variables.clone(),
        };
        let planned = Planned { file: self.commands().join(wanted.id.as_str()) };
        let written = durable_file::create_directories(&self.commands(), 0o700)
            .and_then(|()| durable_file::write(&planned.file, &serde_json::to_vec(&plan)?, 0o600));
        written.map(|()| planned).map_err(|error| failed("write down what shall be run", error))
    }

    async fn begin_command(
        &self,
        plan: &Path,
        wanted: &Invocation,
        streams: [OwnedFd; 3],
    ) -> io::Result<Begun> {
        self.mandate.holds().map_err(io::Error::other)?;
        // What becomes the command carries the marks from the moment it exists.
        let mut marks = Vec::new();
        if let Some(gate) = &wanted.gate {
            marks.extend(mark::variables(gate, &wanted.id));
            marks.push((state_id::VARIABLE, self.state.as_str().to_owned()));
        }
        match self.settings.parent {
            Parent::Controller => self.spawn_command(plan, marks, streams),
            Parent::Systemd => {
                let program = &self.settings.program;
                marks.push(("PATH", self.settings.path.clone()));
                let systemd_run =
                    |arguments: &[&Path]| transient_unit::of_command(program, wanted, &marks, arguments);
                own_unit::start(plan, streams, systemd_run).await
            }
        }
    }

    fn spawn_command(
        &self,
        plan: &Path,
        marks: Vec<(&str, String)>,
        [stdin, stdout, stderr]: [OwnedFd; 3],
    ) -> io::Result<Begun> {
        let mut child = Command::new(&self.settings.program)
            .args(["console", "--plan"])
            .arg(plan)
            .env_clear()
            .envs(marks)
            .current_dir("/")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .spawn()?;
        let process = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Begun { process, ended: Box::pin(async move { child.wait().await }) })
    }
}

/// Hangs up when it is dropped while the command runs: with the controller, or with whoever asked. The command of a
/// gate has a guard for that.
struct Line {
    process: Option<Pid>,
    /// The command, if it is a gate's.
    gates: Option<(Arc<Instances>, CommandId)>,
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

/// Carries everything until the command has ended, and says how it did.
async fn carry(
    mut line: Line,
    begun: Begun,
    streams: Streams,
    mut input: mpsc::Receiver<Vec<u8>>,
    mut controls: mpsc::UnboundedReceiver<Control>,
    written: mpsc::Sender<Written>,
) -> io::Result<ExitStatus> {
    let Begun { mut ended, .. } = begun;
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
    if let Some((instances, id)) = &line.gates {
        // First: what nobody looks after any more may write on for ever.
        end_command(instances, id).await;
    }
    // What it has started may hold its streams for ever; what it wrote itself is there.
    carriers.finish().await;
    status
}

/// What is left once nobody is on the line: it may ignore that.
async fn hang_up(line: &Line, ended: impl Future<Output = io::Result<ExitStatus>>) -> io::Result<ExitStatus> {
    if let Some((instances, id)) = &line.gates {
        end_command(instances, id).await;
        return ended.await;
    }
    line.signal(Signal::HUP);
    // One that was stopped has to go on to hear it.
    line.signal(Signal::CONT);
    ended.await
}

/// Ends the command of a gate with everything that it has started.
async fn end_command(instances: &Arc<Instances>, id: &CommandId) {
    let (instances, mark) = (Arc::clone(instances), Mark::Command(id.clone()));
    let ended = spawn_blocking(move || instances.end_marked(&mark)).await;
    if let Err(error) = ended.unwrap_or_else(|error| Err(refused(error))) {
        tracing::warn!(command = %id, %error, "a command of a gate cannot be ended");
    }
}

fn ending(status: io::Result<ExitStatus>) -> Ending {
    let unknown = |how: String| Ending { how, status: u8::MAX, kind: EndingKind::Unknown };
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => ending_of_guarded(&Guarded::Exited(code)),
        Ok((None, Some(signal))) => ending_of_guarded(&Guarded::Killed(signal)),
        Ok((None, None)) => unknown("ended".to_owned()),
        Err(error) => unknown(format!("its end cannot be told: {error}")),
    }
}

fn ending_of_guarded(guarded: &Guarded) -> Ending {
    let kind = match guarded {
        Guarded::Exited(_) => EndingKind::Exited,
        Guarded::Killed(_) => EndingKind::Killed,
        Guarded::NotStarted(_) => EndingKind::NotStarted,
        Guarded::Lost => EndingKind::Unknown,
    };
    Ending { how: guarded.how(), status: guarded.status(), kind }
}

fn in_characters(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}
