//! Which processes belong to an instance, told from its records and the process table.
//!
//! A supervisor leads a session of its own, and everything it starts stays in it. A session number is not given
//! away while one member lives, so one member that is surely ours makes all of them ours. Other state directories
//! of the host may have instances of the same ids; theirs are never ours.

use std::io;

use cutover_core::InstanceId;

use super::directory::{InstanceDirectory, RecordError};
use super::process_table::{self, Process, ProcessIdentity};
use super::record::{InstanceRecord, ProgramRecord, SupervisorRecord};
use super::state_id::{Home, StateId};

/// The process table at one moment, for the questions about many instances.
#[derive(Debug)]
pub(super) struct Snapshot {
    processes: Vec<Process>,
    boot_id: String,
    /// Whose instances are asked about; absent in the supervisor of an older executor's plan.
    state: Option<StateId>,
}

impl Snapshot {
    pub(super) fn take(state: Option<StateId>) -> io::Result<Self> {
        Ok(Self { processes: process_table::all()?, boot_id: process_table::boot_id()?, state })
    }

    /// Every process whose environment names this instance and its state directory, wherever it has gone: also a
    /// daemon that has made a session of its own, and the program of an instance whose records were deleted.
    /// Others' environments cannot be read, except by root. Whoever runs in our own session is spared: a
    /// supervisor leads another one. What an older executor started names no state directory and could be
    /// anybody's; its records alone tell of it.
    pub(super) fn carriers(&self, instance: &InstanceId) -> Vec<Process> {
        let Some(state) = &self.state else {
            return Vec::new();
        };
        let own_session = process_table::own_session();
        let others = self.processes.iter().filter(|it| !it.is_zombie && Some(it.session) != own_session);
        others
            .filter(|it| process_table::was_started_for(it.identity.pid, instance, Some(state)))
            .copied()
            .collect()
    }

    /// The supervisors that were started for this directory, also if it was deleted under them.
    pub(super) fn supervisors(&self, directory: &InstanceDirectory) -> Vec<ProcessIdentity> {
        let alive = self.processes.iter().filter(|process| !process.is_zombie);
        let supervisors = alive.filter(|process| self.supervises(process.identity.pid, directory));
        supervisors.map(|process| process.identity).collect()
    }

    /// Whether the process was started as the supervisor of this directory, and not of one that was in its place
    /// before and has another name now.
    pub(super) fn supervises(&self, pid: i32, directory: &InstanceDirectory) -> bool {
        let directory = directory.path().as_os_str().as_encoded_bytes();
        let wanted = [b"instance".as_slice(), b"--directory", directory];
        process_table::command_line(pid).get(1..).is_some_and(|words| words == wanted)
            && !process_table::names_another(pid, self.state.as_ref())
    }
}

/// The living processes of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Census {
    /// Its supervisor.
    pub(super) supervisor: Option<ProcessIdentity>,
    /// Everything else of its sessions: the program and what that started.
    pub(super) members: Vec<Process>,
}

impl Census {
    pub(super) fn of(directory: &InstanceDirectory, snapshot: &Snapshot) -> Result<Self, RecordError> {
        let Some(instance) = directory.read::<InstanceRecord>()? else {
            return Ok(Self::default());
        };
        let is_elsewhere = |home: &Home| snapshot.state.as_ref().is_some_and(|own| home.is_elsewhere(own));
        if instance.home.as_ref().is_some_and(is_elsewhere) {
            return Ok(Self::default());
        }
        let Some(supervisor) = directory.read::<SupervisorRecord>()? else {
            return Ok(Self::default());
        };
        if supervisor.boot_id != snapshot.boot_id {
            return Ok(Self::default());
        }
        let program = directory.read::<ProgramRecord>()?;
        let is_known = |process: &Process| {
            process.identity == supervisor.identity
                || program.is_some_and(|program| process.identity == program.identity)
        };
        let mut sessions = vec![supervisor.identity.pid];
        sessions.extend(program.map(|program| program.session).filter(|&it| it != supervisor.identity.pid));
        let state = instance.home.as_ref().map(|home| &home.id);
        let mut census = Self::default();
        for session in sessions {
            let of_session = || snapshot.processes.iter().filter(move |process| process.session == session);
            let is_ours = of_session().any(is_known)
                || of_session()
                    .any(|it| process_table::was_started_for(it.identity.pid, &instance.id, state));
            for process in of_session().filter(|process| is_ours && !process.is_zombie) {
                if process.identity == supervisor.identity {
                    census.supervisor = Some(process.identity);
                } else {
                    census.members.push(*process);
                }
            }
        }
        Ok(census)
    }

    /// Whether anything of the instance lives.
    pub(super) fn is_running(&self) -> bool {
        self.supervisor.is_some() || !self.members.is_empty()
    }

    /// Supervisor and members.
    pub(super) fn everyone(&self) -> impl Iterator<Item = ProcessIdentity> {
        self.supervisor.into_iter().chain(self.members.iter().map(|member| member.identity))
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::Timestamp;

    use super::*;

    fn process(pid: i32, session: i32) -> Process {
        let identity = ProcessIdentity { pid, start_time: 10 };
        Process { identity, parent: 1, group: pid, session, is_zombie: false }
    }

    fn check(boot_id: &str, processes: Vec<Process>, expected: (bool, &[i32])) {
        let state = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::at(state.path().join("i"));
        directory.create().unwrap();
        directory.write(&crate::process::tests::instance_record()).unwrap();
        let identity = ProcessIdentity { pid: 2_000_000_100, start_time: 10 };
        directory.write(&SupervisorRecord { identity, boot_id: "this".to_owned() }).unwrap();
        let identity = ProcessIdentity { pid: 2_000_000_101, start_time: 10 };
        let started_at = Timestamp::default();
        directory
            .write(&ProgramRecord { identity, session: 2_000_000_100, started_at, restarts: 0 })
            .unwrap();
        let snapshot = Snapshot { processes, boot_id: boot_id.to_owned(), state: None };
        let census = Census::of(&directory, &snapshot).unwrap();
        let members: Vec<i32> = census.members.iter().map(|member| member.identity.pid).collect();
        assert_eq!((census.supervisor.is_some(), members.as_slice()), expected);
    }

    #[test]
    fn the_members_of_a_session_belong_to_the_instance_if_one_of_them_surely_does() {
        let supervisor = process(2_000_000_100, 2_000_000_100);
        let program = process(2_000_000_101, 2_000_000_100);
        let child = process(2_000_000_102, 2_000_000_100);
        let stranger = process(2_000_000_103, 7);
        check("this", vec![supervisor, program, stranger], (true, &[2_000_000_101]));
        check("this", vec![program, child], (false, &[2_000_000_101, 2_000_000_102]));
        check("this", vec![child, stranger], (false, &[]));
    }

    #[test]
    fn pids_of_another_start_of_the_host_mean_nothing() {
        check("other", vec![process(2_000_000_100, 2_000_000_100)], (false, &[]));
    }

    #[test]
    fn a_supervisor_that_waits_to_be_reaped_is_not_alive_but_its_program_is() {
        let mut supervisor = process(2_000_000_100, 2_000_000_100);
        supervisor.is_zombie = true;
        let child = process(2_000_000_102, 2_000_000_100);
        check("this", vec![supervisor, child], (false, &[2_000_000_102]));
    }
}
