//! The log of an instance that was stopped: `logs/SERVICE/ID.log`, with the rotated log before it, and `ID.json` that
//! says what the instance was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cutover_core::{Environment, ReleaseId, Version};
use serde::{Deserialize, Serialize};

use super::directory::InstanceDirectory;
use super::log_file::{self, rotated};
use super::record::InstanceRecord;
use crate::durable_file;

/// Logs of stopped instances that are kept for each service.
const KEPT: usize = 20;

/// What an instance was, for those who read its log after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) environment: Environment,
    pub(super) release: ReleaseId,
    pub(super) version: Version,
}

impl Label {
    pub(super) fn of(record: &InstanceRecord) -> Self {
        Self {
            environment: record.environment,
            release: record.release.clone(),
            version: record.version.clone(),
        }
    }

    /// What was written beside a kept log; older executors wrote nothing.
    pub(super) fn beside(log: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(log.with_extension("json")).ok()?).ok()
    }
}

/// Moves the log to where it can be read after the instance, and forgets the oldest of the service.
pub(super) fn keep(logs: &Path, directory: &InstanceDirectory, record: &InstanceRecord) -> io::Result<()> {
    durable_file::create_directories(logs, 0o700)?;
    let (from, to) = (directory.output_log(), logs.join(format!("{}.log", record.id)));
    // One that was rotated just before says more than the newest. Neither it nor the label is worth a failure.
    let _ = fs::rename(rotated(&from, 1), rotated(&to, 1));
    if let Ok(label) = serde_json::to_vec(&Label::of(record)) {
        let _ = fs::write(to.with_extension("json"), label);
    }
    let kept = fs::rename(from, to);
    forget_old(logs);
    kept
}

/// The kept logs of a service.
pub(super) fn all(logs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "log")).collect()
}

/// Removes a kept log with what lies beside it.
pub(super) fn remove(log: &Path) -> io::Result<()> {
    let _ = fs::remove_file(log.with_extension("json"));
    for number in 1..=log_file::KEPT_LOGS {
        let _ = fs::remove_file(rotated(log, number));
    }
    fs::remove_file(log)
}

fn forget_old(logs: &Path) {
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let mut found: Vec<(SystemTime, PathBuf)> =
        all(logs).into_iter().filter_map(|path| Some((modified(&path)?, path))).collect();
    found.sort();
    for (_, path) in &found[..found.len().saturating_sub(KEPT)] {
        let _ = remove(path);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_newest_logs_of_stopped_instances_are_kept() {
        let logs = tempfile::tempdir().unwrap();
        for number in 0..KEPT + 3 {
            let file = fs::File::create(logs.path().join(format!("{number}.log"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
            fs::write(logs.path().join(format!("{number}.json")), "{}").unwrap();
        }
        forget_old(logs.path());
        assert_eq!(all(logs.path()).len(), KEPT);
        assert_eq!(fs::read_dir(logs.path()).unwrap().count(), 2 * KEPT);
        assert!(!logs.path().join("2.log").exists() && logs.path().join("3.log").exists());
    }
}
