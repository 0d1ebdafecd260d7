//! Running a command of a person's with what a release is run with.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cutover_core::release::Release;
use cutover_core::{CommandId, Environment, ServiceName};
use tokio::sync::{mpsc, oneshot};

use super::PortError;

/// What shall be run, and with what.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Its id.
    pub id: CommandId,
    /// The service.
    pub service: ServiceName,
    /// The slot.
    pub environment: Environment,
    /// The release whose environment variables, secrets, user and directory it gets.
    pub release: Release,
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// The terminal it gets; pipes without one. No gate has one.
    pub terminal: Option<Terminal>,
    /// The gate that has it run, if it is no person's.
    ///
    /// Then `{version}` and `{environment}` are filled into its words, as into those of the release's own command;
    /// whatever it starts and leaves is ended with it; and it is ended itself when nobody is on the line, or when the
    /// controller is gone.
    pub gate: Option<CommandId>,
    /// Variables beside those of the release; they hide what has the same name.
    pub variables: BTreeMap<String, String>,
}

/// The terminal of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// What it understands, as `TERM` says.
    pub kind: Option<String>,
    /// How large it is.
    pub size: WindowSize,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// What a command has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// To standard output, or to its terminal.
    Out(Vec<u8>),
    /// To standard error.
    Err(Vec<u8>),
}

/// What is told to a command beside its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Its terminal has another size now.
    Resize(WindowSize),
    /// A signal for it and what it has started, such as `SIGINT`.
    Signal(String),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Such as `exit status 1` or `killed by SIGKILL`.
    pub how: String,
    /// What a shell would answer: the exit status, or 128 and the number of the signal.
    pub status: u8,
    /// What is known of it.
    pub kind: EndingKind,
}

/// What is known of the end of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingKind {
    /// It has ended by itself, with this status.
    Exited,
    /// A signal has ended it.
    Killed,
    /// It was not started.
    NotStarted,
    /// Nobody can tell, such as when what had started it was killed.
    Unknown,
}

/// A command that runs.
#[derive(Debug)]
pub struct Session {
    /// What it reads; dropping it ends its input.
    pub input: mpsc::Sender<Vec<u8>>,
    /// Dropping it hangs up: the command of a person gets SIGHUP, and goes on only if it ignores that. That of a gate
    /// gets SIGTERM with everything that it has started, and a moment later SIGKILL.
    pub control: mpsc::UnboundedSender<Control>,
    /// What it writes. It waits for its reader; once nobody reads, it is thrown away.
    pub output: mpsc::Receiver<Written>,
    /// Answered when it has ended and everything it wrote has been told.
    pub ended: oneshot::Receiver<Ending>,
}

/// A program that is not there, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrunnable {
    /// One sentence.
    pub reason: String,
    /// What a shell ends with then: 127 if it is not there, 126 if it cannot be executed.
    pub status: u8,
}

/// Runs commands of people and gates. They are not instances: nothing watches them, restarts them, or sends them
/// requests, and they have no limit of time. They end with the controller that runs them.
#[async_trait]
pub trait Console: Send + Sync {
    /// Looks whether its program could be run: the way a shell would answer if not.
    ///
    /// # Errors
    /// One sentence that says why nothing could be run there, such as a user that cannot be switched to.
    async fn check(&self, wanted: &Invocation) -> Result<Option<Unrunnable>, PortError>;

    /// Starts it.
    ///
    /// # Errors
    /// If that did not work; nothing runs then.
    async fn open(&self, wanted: Invocation) -> Result<Session, PortError>;

    /// Ends whatever runs of the commands of a gate, also those that a controller before this one had started. Once it
    /// has returned nothing of them runs.
    ///
    /// # Errors
    /// If something cannot be ended, or it cannot be found out.
    async fn end(&self, gate: &CommandId) -> Result<(), PortError>;
}
