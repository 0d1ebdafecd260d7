//! The hidden command `cutover console`: prepares itself as the release demands and becomes a command.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::ioctl_tiocsctty;

use super::super::command::{self, StartError};
use super::super::{priority, process_table, state_id};
use super::guard::{self, Guarded};
use super::{Plan, mark};

/// Why a process did not become the command.
#[derive(Debug, thiserror::Error)]
pub enum BecomeError {
    /// There is no plan.
    #[error("cannot read what shall be run: {0}")]
    NoPlan(io::Error),
    /// The terminal cannot be had.
    #[error("cannot take the terminal: {0}")]
    Terminal(io::Error),
    /// The command cannot be started.
    #[error("{0}")]
    Command(String),
}

impl From<StartError> for BecomeError {
    fn from(error: StartError) -> Self {
        Self::Command(error.to_string())
    }
}

/// Becomes the command of this plan, which is removed first; then it does not return. A command of a gate it starts and
/// guards, and returns its status.
///
/// # Errors
/// [`BecomeError`], if it could not.
pub fn become_command(plan: &Path) -> Result<u8, BecomeError> {
    let read = take_plan(plan)?;
    if let Some(gate) = &read.gate {
        let Some(controller) = gate.controller.open() else {
            return Err(BecomeError::Command("the controller that wanted it is gone".to_owned()));
        };
        return guard_command(&read, plan, None, controller.descriptor());
    }
    let (mut command, file) = prepare(&read)?;
    let cause = command.exec();
    Err(StartError::Refused { program: file, cause }.into())
}

/// The plan of a file, which is removed.
pub(super) fn take_plan(file: &Path) -> Result<Plan, BecomeError> {
    let text = fs::read(file).map_err(BecomeError::NoPlan)?;
    fs::remove_file(file).map_err(BecomeError::NoPlan)?;
    serde_json::from_slice(&text).map_err(|error| BecomeError::NoPlan(error.into()))
}

/// Starts the command of a gate with these streams, by default with those of this process, and guards it.
pub(super) fn guard_command(
    plan: &Plan,
    file: &Path,
    streams: Option<[OwnedFd; 3]>,
    lifeline: &OwnedFd,
) -> Result<u8, BecomeError> {
    let guarded = prepare(plan).and_then(|(mut command, file)| {
        if let Some([stdin, stdout, stderr]) = streams {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        guard::guard(command, lifeline).map_err(|cause| StartError::Refused { program: file, cause }.into())
    });
    let told = match &guarded {
        Ok(how) => how.clone(),
        Err(error) => Guarded::NotStarted(error.to_string()),
    };
    // Whoever finds nothing there does not know how it ended, and says so.
    let _ = guard::tell(file, &told);
    guarded.map(|how| how.status())
}

/// The command of a plan, made ready in this process, and its file.
fn prepare(plan: &Plan) -> Result<(Command, PathBuf), BecomeError> {
    let Plan { record, terminal, has_terminal, gate, variables } = plan;
    lead_session().map_err(BecomeError::Terminal)?;
    // What a person tries out is not protected as the controller is.
    let _ = priority::set(i32::try_from(std::process::id()).unwrap_or_default(), priority::IDLE);
    let identity = command::identity(record.user.as_deref())?;
    if *has_terminal {
        let stdin = io::stdin();
        ioctl_tiocsctty(&stdin).map_err(|error| BecomeError::Terminal(error.into()))?;
        if let Some(identity) = &identity {
            // Whoever opens its terminal anew by name must be allowed to.
            let _ = std::os::unix::fs::fchown(&stdin, Some(identity.uid), None);
        }
    }
    let path = record.env.get("PATH").map_or("", String::as_str);
    let file = command::resolve(&record.command, &record.workdir, path)?;
    let mut environment = command::environment(record)?;
    // It is no instance: nothing that ends those may end it.
    environment.remove(OsStr::new("CUTOVER_INSTANCE"));
    environment.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
    match gate {
        Some(gate) => {
            let marks = mark::variables(&gate.gate, &gate.command);
            environment.extend(marks.map(|(name, value)| (name.into(), value.into())));
        }
        None => {
            environment.remove(OsStr::new(state_id::VARIABLE));
            environment.insert("CUTOVER_EXEC".into(), "1".into());
        }
    }
    if let Some(kind) = terminal {
        environment.insert("TERM".into(), kind.into());
    }
    let mut command = Command::new(&file);
    command.arg0(&record.command[0]).args(&record.command[1..]);
    command.env_clear().envs(environment).current_dir(&record.workdir);
    if let Some(identity) = identity {
        command.uid(identity.uid).gid(identity.gid);
    }
    Ok((command, file))
}

/// So that a signal for its group means it and what it starts, and nothing else.
fn lead_session() -> io::Result<()> {
    match rustix::process::setsid() {
        Err(_) if process_table::leads_session() => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}
