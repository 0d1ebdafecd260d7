//! The hidden command `cutover console`: prepares itself as the release demands and becomes a command.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::ioctl_tiocsctty;

use super::super::command::{self, StartError};
use super::super::{priority, process_table, state_id};
use super::Plan;

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

/// Becomes the command of this plan, which is removed first. Returns only if that does not work.
///
/// # Errors
/// [`BecomeError`], always.
pub fn become_command(plan: &Path) -> Result<Infallible, BecomeError> {
    let text = fs::read(plan).map_err(BecomeError::NoPlan)?;
    fs::remove_file(plan).map_err(BecomeError::NoPlan)?;
    let Plan { record, terminal, has_terminal } =
        serde_json::from_slice(&text).map_err(|error| BecomeError::NoPlan(error.into()))?;
    lead_session().map_err(BecomeError::Terminal)?;
    // What a person tries out is not protected as the controller is.
    let _ = priority::set(i32::try_from(std::process::id()).unwrap_or_default(), priority::IDLE);
    let identity = command::identity(record.user.as_deref())?;
    if has_terminal {
        let stdin = io::stdin();
        ioctl_tiocsctty(&stdin).map_err(|error| BecomeError::Terminal(error.into()))?;
        if let Some(identity) = &identity {
            // Whoever opens its terminal anew by name must be allowed to.
            let _ = std::os::unix::fs::fchown(&stdin, Some(identity.uid), None);
        }
    }
    let path = record.env.get("PATH").map_or("", String::as_str);
    let file = command::resolve(&record.command, &record.workdir, path)?;
    let mut environment = command::environment(&record)?;
    // It is no instance: nothing that ends those may end it.
    environment.remove(std::ffi::OsStr::new("CUTOVER_INSTANCE"));
    environment.remove(std::ffi::OsStr::new(state_id::VARIABLE));
    environment.insert("CUTOVER_EXEC".into(), "1".into());
    if let Some(kind) = terminal {
        environment.insert("TERM".into(), kind.into());
    }
    let mut command = Command::new(&file);
    command.arg0(&record.command[0]).args(&record.command[1..]);
    command.env_clear().envs(environment).current_dir(&record.workdir);
    if let Some(identity) = identity {
        command.uid(identity.uid).gid(identity.gid);
    }
    let cause = command.exec();
    Err(StartError::Refused { program: file, cause }.into())
}

/// So that a signal for its group means it and what it starts, and nothing else.
fn lead_session() -> io::Result<()> {
    match rustix::process::setsid() {
        Err(_) if process_table::leads_session() => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}
