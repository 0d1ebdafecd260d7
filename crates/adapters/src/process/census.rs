//! Which processes belong to an instance, told from its records and the process table.
//!
//! A supervisor leads a session of its own, and everything it starts stays in it. A session number is not given
//! away while one member lives, so one member that is surely ours makes all of them ours.

use std::io;

use super::directory::{InstanceDirectory, RecordError};
use super::process_table::{self, Process, ProcessIdentity};
use super::record::{InstanceRecord, ProgramRecord, SupervisorRecord};

/// The process table at one moment, for the questions about many instances.
#[derive(Debug)]
pub(super) struct Snapshot {
    processes: Vec<Process>,
    boot_id: String,
}

impl Snapshot {
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self { processes: process_table::all()?, boot_id: process_table::boot_id()? })
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
        let mut census = Self::default();
        for session in sessions {
            let of_session = || snapshot.processes.iter().filter(move |process| process.session == session);
            let is_ours = of_session().any(is_known)
                || of_session().any(|it| process_table::was_started_for(it.identity.pid, &instance.id));
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
        Process { identity, group: pid, session, is_zombie: false }
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
        let snapshot = Snapshot { processes, boot_id: boot_id.to_owned() };
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
