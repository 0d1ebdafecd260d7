//! Stopping an instance and removing what was written down about it, except what it said.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use cutover_controller::ports::PortError;
use cutover_core::{InstanceId, ServiceName};
use rustix::process::Signal;

use super::census::Census;
use super::directory::{InstanceDirectory, Lock};
use super::process_table::{Process, ProcessIdentity};
use super::record::InstanceRecord;
use super::{Instances, failed, refused, signals};
use crate::durable_file;

/// What a supervisor gets beyond the program's own time before it is killed.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(6);
/// What does not vanish within this time after a kill hangs in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Logs of stopped instances that are kept for each service.
const KEPT_LOGS: usize = 20;

impl Instances {
    /// Stops an instance; one that is unknown counts as stopped.
    pub(super) fn stop(&self, id: &InstanceId) -> Result<(), PortError> {
        let Some(directory) = self.directory(id).filter(|directory| directory.path().exists()) else {
            return Ok(());
        };
        // An unreadable plan must not keep an instance from being stopped.
        let record = directory.read::<InstanceRecord>().ok().flatten();
        let patience = record.as_ref().map_or(Duration::ZERO, |record| record.stop_timeout);
        let _lock = self.end_supervision(&directory, patience + SUPERVISOR_MARGIN)?;
        self.end_members(&directory, record.as_ref(), patience)?;
        if let Some(record) = &record {
            self.keep_log(&directory, record);
        }
        remove(&directory).map_err(|error| failed(&format!("remove instance `{id}`"), error))
    }

    /// Ends the supervisor, and with it normally the program. Whoever has the lock afterwards is alone: a
    /// supervisor that was just being started finds it taken and leaves.
    fn end_supervision(
        &self,
        directory: &InstanceDirectory,
        patience: Duration,
    ) -> Result<Option<Lock>, PortError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(supervisor) = self.census(directory)?.supervisor.and_then(ProcessIdentity::open) {
                supervisor.signal(Signal::TERM).map_err(|error| failed("stop a supervisor", error))?;
                if !supervisor.wait(deadline.saturating_duration_since(Instant::now())) {
                    supervisor.signal(Signal::KILL).map_err(|error| failed("kill a supervisor", error))?;
                    supervisor.wait(KILL_TIMEOUT);
                }
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

    /// Ends what a supervisor left behind: normally nothing; the program, if the supervisor had been killed.
    fn end_members(
        &self,
        directory: &InstanceDirectory,
        record: Option<&InstanceRecord>,
        patience: Duration,
    ) -> Result<(), PortError> {
        let members = self.census(directory)?.members;
        if members.is_empty() {
            return Ok(());
        }
        let signal = record.and_then(|record| signals::parse(&record.stop_signal)).unwrap_or(Signal::TERM);
        signal_all(&members, signal);
        let stop_deadline = Instant::now() + patience;
        let kill_deadline = stop_deadline + KILL_TIMEOUT;
        loop {
            let Census { members, .. } = self.census(directory)?;
            let Some(first) = members.first() else {
                return Ok(());
            };
            let now = Instant::now();
            if now >= kill_deadline {
                let (path, pid) = (directory.path().display(), first.identity.pid);
                return Err(PortError::new(format!("process {pid} of `{path}` still runs after SIGKILL")));
            }
            if now >= stop_deadline {
                signal_all(&members, Signal::KILL);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Moves the log to where it can be read after the instance; best effort, for a stop needs no disk.
    fn keep_log(&self, directory: &InstanceDirectory, record: &InstanceRecord) {
        let logs = self.logs(&record.service);
        let kept = durable_file::create_directories(&logs, 0o700)
            .and_then(|()| fs::rename(directory.output_log(), logs.join(format!("{}.log", record.id))));
        match kept {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(instance = %record.id, %error, "the log of a stopped instance is lost");
            }
            _ => forget_old_logs(&logs),
        }
    }

    fn logs(&self, service: &ServiceName) -> PathBuf {
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
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".stopped-")) {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "a stopped instance cannot be removed");
            }
        }
    }
}

fn signal_all(members: &[Process], signal: Signal) {
    for handle in members.iter().filter_map(|member| member.identity.open()) {
        if let Err(error) = handle.signal(signal) {
            tracing::warn!(%error, "a process of an instance cannot be signalled");
        }
    }
}

/// Removes the directory; at no moment is there half of it under its name.
fn remove(directory: &InstanceDirectory) -> std::io::Result<()> {
    let Some(name) = directory.path().file_name() else {
        return Ok(());
    };
    let aside = directory.path().with_file_name(format!(".stopped-{}", name.display()));
    // A crash may have left an earlier instance of this id there.
    let _ = fs::remove_dir_all(&aside);
    let removed = fs::rename(directory.path(), &aside).and_then(|()| fs::remove_dir_all(&aside));
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn forget_old_logs(logs: &std::path::Path) {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    let modified = |entry: &fs::DirEntry| entry.metadata().and_then(|metadata| metadata.modified());
    let mut found: Vec<(SystemTime, PathBuf)> =
        entries.filter_map(|entry| Some((modified(&entry).ok()?, entry.path()))).collect();
    found.sort();
    for (_, path) in &found[..found.len().saturating_sub(KEPT_LOGS)] {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_logs_of_stopped_instances_are_kept() {
        let logs = tempfile::tempdir().unwrap();
        for number in 0..KEPT_LOGS + 3 {
            let file = fs::File::create(logs.path().join(format!("{number}.log"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
        }
        forget_old_logs(logs.path());
        assert_eq!(fs::read_dir(logs.path()).unwrap().count(), KEPT_LOGS);
        assert!(!logs.path().join("2.log").exists() && logs.path().join("3.log").exists());
    }
}
