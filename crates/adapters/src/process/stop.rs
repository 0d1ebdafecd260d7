//! Stopping an instance and removing what was written down about it, except what it said.
//!
//! Its records say who belongs to it. Beside them there is what its processes carry: the program and all that it
//! starts have the ids of instance and state directory in their environment, and its supervisor has the directory
//! among its words. So an instance can be stopped whose records were deleted, and with it a daemon that has left
//! its session; and never an instance of the same id in another state directory.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cutover_controller::ports::PortError;
use cutover_core::{InstanceId, ServiceName};
use rustix::process::Signal;

use super::census::{Census, Snapshot};
use super::directory::{InstanceDirectory, Lock, STOPPED};
use super::process_table::{Handle, Process, ProcessIdentity};
use super::record::InstanceRecord;
use super::{Instances, failed, kept_log, refused, signals};

/// What a supervisor gets beyond the program's own time before it is killed.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(6);
/// What a program gets whose plan, with its stop timeout, cannot be read any more.
const UNKNOWN_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What does not vanish within this time after a kill hangs in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Instances {
    /// Stops an instance; one that is unknown counts as stopped.
    pub(super) fn stop(&self, id: &InstanceId) -> Result<(), PortError> {
        let Some(directory) = self.directory(id) else {
            return Ok(());
        };
        self.check_mandate()?;
        // An unreadable plan must not keep an instance from being stopped.
        let record = directory.read::<InstanceRecord>().ok().flatten();
        let patience = record.as_ref().map_or(UNKNOWN_STOP_TIMEOUT, |record| record.stop_timeout);
        let signal = record.as_ref().and_then(|record| signals::parse(&record.stop_signal));
        let _lock = self.end_supervision(&directory, patience + SUPERVISOR_MARGIN)?;
        let left = || Ok(members_and_carriers(id, &directory, &self.snapshot()?));
        self.end_all(id, left, signal.unwrap_or(Signal::TERM), patience)?;
        if !directory.path().exists() {
            return Ok(());
        }
        self.check_mandate()?;
        if let Some(record) = &record {
            self.keep_log(&directory, record);
        }
        directory.remove().map_err(|error| failed(&format!("remove instance `{id}`"), error))
    }

    /// Ends what runs of an instance of which nothing is written down any more, so that it never runs twice. The
    /// caller has the lock.
    pub(super) fn end_unrecorded(&self, id: &InstanceId) -> Result<(), PortError> {
        let carriers = || Ok(self.snapshot()?.carriers(id));
        let table = self.snapshot()?;
        let found = table.carriers(id);
        if found.is_empty() {
            return Ok(());
        }
        tracing::warn!(instance = %id, processes = found.len(), "it runs without records, and is stopped first");
        // A supervisor would start its program again. One that was just started has no program yet, finds the
        // lock taken and leaves by itself.
        for supervisor in found.iter().filter_map(|it| ProcessIdentity::of(it.session)) {
            if self.directory(id).is_some_and(|directory| table.supervises(supervisor.pid, &directory)) {
                self.end_supervisor(supervisor, Instant::now() + UNKNOWN_STOP_TIMEOUT)?;
            }
        }
        self.end_all(id, carriers, Signal::TERM, UNKNOWN_STOP_TIMEOUT)
    }

    /// Ends the supervisor, and with it normally the program. Whoever has the lock afterwards is alone: a
    /// supervisor that was just being started finds it taken and leaves.
    fn end_supervision(
        &self,
        directory: &InstanceDirectory,
        patience: Duration,
    ) -> Result<Option<Lock>, PortError> {
        let deadline = Instant::now() + patience.min(super::LONGEST_STOP);
        loop {
            for supervisor in self.supervisors(directory)? {
                self.end_supervisor(supervisor, deadline)?;
            }
            let lock = directory.try_lock().map_err(refused)?;
            if lock.is_some() || !directory.path().exists() {
                return Ok(lock);
            }
            if Instant::now() >= deadline + KILL_TIMEOUT {
                let path = directory.path().display();
                return Err(PortError::new(format!("somebody keeps the lock of `{path}`")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The supervisor that the records tell; without one, any that was started for the directory.
    fn supervisors(&self, directory: &InstanceDirectory) -> Result<Vec<ProcessIdentity>, PortError> {
        let snapshot = self.snapshot()?;
        match readable_census(directory, &snapshot).supervisor {
            Some(supervisor) => Ok(vec![supervisor]),
            None => Ok(snapshot.supervisors(directory)),
        }
    }

    fn end_supervisor(&self, supervisor: ProcessIdentity, deadline: Instant) -> Result<(), PortError> {
        let Some(supervisor) = supervisor.open() else {
            return Ok(());
        };
        self.signal(&supervisor, Signal::TERM).map_err(|error| failed("stop a supervisor", error))?;
        if !supervisor.wait(deadline.saturating_duration_since(Instant::now())) {
            self.signal(&supervisor, Signal::KILL).map_err(|error| failed("kill a supervisor", error))?;
            supervisor.wait(KILL_TIMEOUT);
        }
        Ok(())
    }

    /// Ends what no supervisor ends: normally nothing; the program, if its supervisor had been killed; whatever has
    /// left the session.
    fn end_all(
        &self,
        id: &InstanceId,
        left: impl Fn() -> Result<Vec<Process>, PortError>,
        signal: Signal,
        patience: Duration,
    ) -> Result<(), PortError> {
        let members = left()?;
        if members.is_empty() {
            return Ok(());
        }
        self.signal_all(&members, signal)?;
        let stop_deadline = Instant::now() + patience.min(super::LONGEST_STOP);
        let kill_deadline = stop_deadline + KILL_TIMEOUT;
        loop {
            self.check_mandate()?;
            let members = left()?;
            let Some(first) = members.first() else {
                return Ok(());
            };
            let now = Instant::now();
            if now >= kill_deadline {
                let pid = first.identity.pid;
                return Err(PortError::new(format!(
                    "process {pid} of instance `{id}` still runs after SIGKILL"
                )));
            }
            if now >= stop_deadline {
                self.signal_all(&members, Signal::KILL)?;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn signal_all(&self, members: &[Process], signal: Signal) -> Result<(), PortError> {
        self.check_mandate()?;
        for handle in members.iter().filter_map(|member| member.identity.open()) {
            if let Err(error) = handle.signal(signal) {
                tracing::warn!(%error, "a process of an instance cannot be signalled");
            }
        }
        Ok(())
    }

    fn signal(&self, process: &Handle, signal: Signal) -> Result<(), PortError> {
        self.check_mandate()?;
        process.signal(signal).map_err(refused)
    }

    /// Moves the log to where it can be read after the instance; best effort, for a stop needs no disk.
    fn keep_log(&self, directory: &InstanceDirectory, record: &InstanceRecord) {
        let logs = self.logs(&record.service);
        match kept_log::keep(&logs, directory, record) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(instance = %record.id, %error, "the log of a stopped instance is lost");
            }
            _ => {}
        }
    }

    /// Where the logs of stopped instances of a service are.
    pub(super) fn logs(&self, service: &ServiceName) -> PathBuf {
        self.settings.state_directory.join("logs").join(service.as_str())
    }

    /// The log of an instance that was stopped.
    pub(super) fn stopped_log(&self, id: &InstanceId) -> Option<PathBuf> {
        let services = fs::read_dir(self.settings.state_directory.join("logs")).ok()?;
        let logs = services.flatten().map(|service| service.path().join(format!("{id}.log")));
        logs.into_iter().find(|log| log.is_file())
    }

    /// Removes what a crash left of instances that were stopped already.
    pub(super) fn remove_stopped(&self) {
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        for entry in
            entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(STOPPED.as_bytes()))
        {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "a stopped instance cannot be removed");
            }
        }
    }
}

/// What runs of an instance by its records, and by what its processes carry.
fn members_and_carriers(id: &InstanceId, directory: &InstanceDirectory, snapshot: &Snapshot) -> Vec<Process> {
    let mut members = readable_census(directory, snapshot).members;
    for carrier in snapshot.carriers(id) {
        if !members.contains(&carrier) {
            members.push(carrier);
        }
    }
    members
}

/// Records that cannot be read say nothing, and must not keep an instance from being stopped.
fn readable_census(directory: &InstanceDirectory, snapshot: &Snapshot) -> Census {
    Census::of(directory, snapshot).unwrap_or_else(|error| {
        tracing::warn!(%error, "an instance is stopped by what its processes carry alone");
        Census::default()
    })
}
