//! What stays beside a command of a gate: nothing that it starts outlives it.
//!
//! It is the parent of last resort of everything that the command starts (`PR_SET_CHILD_SUBREAPER`), so that also what
//! has made a session of its own, closed its streams and emptied its environment is found among its descendants. It ends
//! them when the command has ended, and the command too when whoever wanted it is gone: it holds a descriptor that tells
//! so. A death signal (`PR_SET_PDEATHSIG`) would not do: it comes when the *thread* ends that has started the process,
//! and those of the controller come and go.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use serde::{Deserialize, Serialize};

use super::super::process_table::{self, Process, ProcessIdentity};
use super::super::signals;
use super::mark::{GRACE, KILL_TIMEOUT};
use crate::durable_file;

/// How often those are buried whom their own parents have left.
const BURY: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Guarded {
    /// It ended with this status.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It could not be started, and why.
    NotStarted(String),
    /// It was told to end, and nobody has seen how it did.
    Lost,
}

impl Guarded {
    /// What a shell would answer.
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(*code).unwrap_or(u8::MAX),
            Self::Killed(signal) => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(127)),
            Self::NotStarted(_) => 126,
            Self::Lost => u8::MAX,
        }
    }

    /// In words.
    pub(super) fn how(&self) -> String {
        match self {
            Self::Exited(code) => format!("exit status {code}"),
            Self::Killed(signal) => format!("killed by {}", signals::name(*signal)),
            Self::NotStarted(reason) => reason.clone(),
            Self::Lost => "nobody has seen its end".to_owned(),
        }
    }

    fn of(status: WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Lost,
        }
    }
}

/// Where it is told what became of the command of a plan.
pub(super) fn told_at(plan: &Path) -> PathBuf {
    plan.with_extension("ended")
}

/// Tells it.
pub(super) fn tell(plan: &Path, how: &Guarded) -> io::Result<()> {
    durable_file::write(&told_at(plan), &serde_json::to_vec(how)?, 0o600)
}

/// What was told.
pub(super) fn told(plan: &Path) -> Option<Guarded> {
    serde_json::from_slice(&fs::read(told_at(plan)).ok()?).ok()
}

/// Starts a command, and returns once it and everything that it has started have ended. The lifeline becomes readable,
/// or is hung up, when the command shall end.
pub(super) fn guard(mut command: Command, lifeline: impl AsFd) -> io::Result<Guarded> {
    set_child_subreaper(Some(getpid()))?;
    // A signal that the command sends to its own group must not reach its guard.
    let child = command.process_group(0).spawn()?;
    // The streams are the command's alone.
    drop(command);
    let mut dead = Dead { main: child.id().cast_signed(), how: None };
    let main = ProcessIdentity::of(dead.main).and_then(ProcessIdentity::open);
    loop {
        dead.bury();
        if dead.how.is_some() {
            break;
        }
        let lost = wait_for(main.as_ref().map(|main| main.descriptor().as_fd()), lifeline.as_fd());
        if lost {
            break;
        }
    }
    end_descendants(&mut dead);
    Ok(dead.how.unwrap_or(Guarded::Lost))
}

/// Waits a moment for the end of the command; whether the lifeline is gone.
fn wait_for(main: Option<std::os::fd::BorrowedFd<'_>>, lifeline: std::os::fd::BorrowedFd<'_>) -> bool {
    let mut fds = vec![PollFd::from_borrowed_fd(lifeline, PollFlags::IN)];
    fds.extend(main.map(|main| PollFd::from_borrowed_fd(main, PollFlags::IN)));
    let timeout = Timespec::try_from(BURY).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => !fds[0].revents().is_empty(),
        Err(_) => false,
    }
}

/// Those whose end this process is told.
struct Dead {
    main: i32,
    how: Option<Guarded>,
}

impl Dead {
    fn bury(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid.as_raw_pid() == self.main {
                self.how = Some(Guarded::of(status));
            }
        }
    }
}

fn end_descendants(dead: &mut Dead) {
    let own = std::process::id().cast_signed();
    let started = Instant::now();
    let mut asked = HashSet::new();
    loop {
        dead.bury();
        let table = process_table::all().unwrap_or_default();
        let mut left = process_table::descendants(&table, &[own]);
        left.retain(|process| !process.is_zombie);
        let waited = started.elapsed();
        if left.is_empty() || waited > GRACE + KILL_TIMEOUT {
            return dead.bury();
        }
        ask_to_end(&left, &mut asked, waited > GRACE);
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Asks each once, and kills them when their time is over.
pub(super) fn ask_to_end(processes: &[Process], asked: &mut HashSet<ProcessIdentity>, kill: bool) {
    for process in processes {
        let is_new = asked.insert(process.identity);
        if let Some(handle) = process.identity.open().filter(|_| kill || is_new) {
            let signals: &[Signal] =
                // One that was stopped has to go on to hear it.
                if kill { &[Signal::KILL] } else { &[Signal::TERM, Signal::CONT] };
            for signal in signals {
                if let Err(error) = handle.signal(*signal) {
                    tracing::warn!(pid = process.identity.pid, %error, "it cannot be signalled");
                }
            }
        }
    }
}
