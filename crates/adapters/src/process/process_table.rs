//! What the kernel says about processes: who they are, which session they belong to, when they are gone.
//!
//! A pid alone names nobody, for it is used again; a pid with its start time does. Signals go through a pidfd
//! that was opened before the start time was compared, so that they can never reach a successor.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cutover_core::InstanceId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::state_id::{self, StateId};

/// A process, for as long as the host is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ProcessIdentity {
    pub(super) pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after the start of the host.
    pub(super) start_time: u64,
}

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) identity: ProcessIdentity,
    /// Who is told when it ends.
    pub(super) parent: i32,
    pub(super) group: i32,
    /// 0 if its leader is outside of our PID namespace, as with `docker exec`.
    pub(super) session: i32,
    /// It has ended and waits for its parent.
    pub(super) is_zombie: bool,
}

impl ProcessIdentity {
    /// The process with this pid now, ended or not.
    pub(super) fn of(pid: i32) -> Option<Self> {
        read(pid).map(|process| process.identity)
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(self) -> bool {
        read(self.pid).is_some_and(|process| process.identity == self && !process.is_zombie)
    }

    /// A descriptor that means this process and no later one; `None` if it has ended and was reaped.
    pub(super) fn open(self) -> Option<Handle> {
        let descriptor = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (Self::of(self.pid) == Some(self)).then_some(Handle(descriptor))
    }
}

/// A process that is held by a pidfd.
#[derive(Debug)]
pub(super) struct Handle(OwnedFd);

impl Handle {
    /// Sends a signal; a process that has ended meanwhile counts as reached.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Becomes readable when the process has ended.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Waits until the process has ended; `false` if the time was too short.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.poll(Timespec::try_from(left).ok().as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                answer => return answer.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// Waits until the process has ended, however long that takes.
    pub(super) fn wait_for_end(&self) {
        while self.poll(None) == Err(rustix::io::Errno::INTR) {}
    }

    fn poll(&self, timeout: Option<&Timespec>) -> rustix::io::Result<usize> {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout)
    }
}

/// Every process of the host.
pub(super) fn all() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(process) = name.to_str().and_then(|name| name.parse().ok()).and_then(read) {
            processes.push(process);
        }
    }
    Ok(processes)
}

/// Identifies this start of the host; pids and start times mean nothing in another.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Whether this process leads its session.
pub(super) fn leads_session() -> bool {
    let pid = std::process::id().cast_signed();
    read(pid).is_some_and(|process| process.session == pid)
}

/// The session of this process.
pub(super) fn own_session() -> Option<i32> {
    read(std::process::id().cast_signed()).map(|process| process.session)
}

/// The words that the process was started with.
pub(super) fn command_line(pid: i32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    line.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// Whether the process was started as part of this instance of this state directory: its first environment says
/// so. Without a state directory, only what names none itself was: an older executor's.
pub(super) fn was_started_for(pid: i32, instance: &InstanceId, state: Option<&StateId>) -> bool {
    let environment = environment(pid);
    variable(&environment, "CUTOVER_INSTANCE") == Some(instance.as_str().as_bytes())
        && variable(&environment, state_id::VARIABLE) == state.map(|state| state.as_str().as_bytes())
}

/// Whether the process says that it was started for a state directory other than this one.
pub(super) fn names_another(pid: i32, state: Option<&StateId>) -> bool {
    let environment = environment(pid);
    let named = variable(&environment, state_id::VARIABLE);
    named.is_some() && named != state.map(|state| state.as_str().as_bytes())
}

/// Whether the process was started with these values of these variables.
pub(super) fn was_started_with(pid: i32, variables: &[(&str, &str)]) -> bool {
    let environment = environment(pid);
    variables.iter().all(|(name, value)| variable(&environment, name) == Some(value.as_bytes()))
}

/// This process and those that it comes from.
pub(super) fn ancestors(table: &[Process]) -> Vec<i32> {
    let mut line = vec![std::process::id().cast_signed()];
    while let Some(process) = line.last().and_then(|pid| table.iter().find(|it| it.identity.pid == *pid)) {
        // A table that is read while it changes may go round in a circle.
        if line.contains(&process.parent) {
            break;
        }
        line.push(process.parent);
    }
    line
}

/// What comes from one of these, they themselves not included, as far as everything in between is still there.
pub(super) fn descendants(table: &[Process], of: &[i32]) -> Vec<Process> {
    let mut line = of.to_vec();
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(&parent) = line.get(next) {
        next += 1;
        for process in table.iter().filter(|it| it.parent == parent) {
            if !line.contains(&process.identity.pid) {
                line.push(process.identity.pid);
                found.push(*process);
            }
        }
    }
    found
}

/// What the process was started with; nothing if we may not look.
fn environment(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut entries = environment.split(|&byte| byte == 0);
    entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn read(pid: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `proc_pid_stat(5)`. The second field is the name in parentheses, which may itself hold spaces and
/// parentheses.
fn parse_stat(line: &str) -> Option<Process> {
    let pid = line.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = line.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    Some(Process {
        identity: ProcessIdentity { pid, start_time: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) R (b) Z 1 40 39 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 777 1000 10 184467";
        let expected = Process {
            identity: ProcessIdentity { pid: 42, start_time: 777 },
            parent: 1,
            group: 40,
            session: 39,
            is_zombie: true,
        };
        assert_eq!(parse_stat(line), Some(expected));
    }

    #[test]
    fn descendants_are_found_over_several_generations_and_never_those_of_others() {
        let process = |pid, parent| Process {
            identity: ProcessIdentity { pid, start_time: 1 },
            parent,
            group: pid,
            session: pid,
            is_zombie: false,
        };
        let table = [process(5, 4), process(2, 1), process(3, 2), process(4, 3), process(9, 1)];
        let found: Vec<i32> = descendants(&table, &[3]).iter().map(|it| it.identity.pid).collect();
        assert_eq!(found, [4, 5]);
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = ProcessIdentity::of(pid).unwrap();
        let stranger = ProcessIdentity { pid, start_time: me.start_time + 1 };
        assert!(me.is_alive() && me.open().is_some());
        assert!(!stranger.is_alive() && stranger.open().is_none());
    }
}
