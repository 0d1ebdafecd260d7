//! What stays of instances that have ended, and the removal of the rest.
//!
//! A stop removes an instance's directory and keeps its log. A directory stays behind where no stop came: after a
//! start that failed, after a restart of the host, after a crash of the controller. Both are kept for a while,
//! for they tell what went wrong.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cutover_controller::ports::PortError;
use cutover_core::InstanceId;

use super::census::{Census, Snapshot};
use super::directory::{self, InstanceDirectory};
use super::record::InstanceRecord;
use super::{Instances, failed, kept_log, refused};

/// What is left of an instance.
#[derive(Debug)]
struct Remains {
    id: InstanceId,
    /// When anything of it was written last.
    modified: SystemTime,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// It ended without a stop.
    Directory(InstanceDirectory),
    /// It was stopped.
    Log(PathBuf),
}

impl Instances {
    /// Removes what is left of ended instances that are not known, except of the newest of each service, and says
    /// of how many. Does nothing while an instance is being started.
    pub(super) fn prune(&self, known: &[InstanceId], keep: usize) -> Result<usize, PortError> {
        self.check_mandate()?;
        let Ok(_no_start) = self.starting.try_write() else {
            return Ok(0);
        };
        self.remove_stopped();
        let remains = self.remains(known).map_err(|error| failed("list the ended instances", error))?;
        let (mut removed, mut first_failure) = (0, None);
        for mut of_service in remains.into_values() {
            of_service.sort_by_key(|remains| Reverse(remains.modified));
            for remains in of_service.into_iter().skip(keep) {
                match self.remove_remains(&remains) {
                    Ok(is_removed) => removed += usize::from(is_removed),
                    Err(error) => first_failure = first_failure.or(Some(error)),
                }
            }
        }
        first_failure.map_or(Ok(removed), Err)
    }

    /// By service; what says nothing of its service has one of its own, without a name.
    fn remains(&self, known: &[InstanceId]) -> io::Result<BTreeMap<String, Vec<Remains>>> {
        let mut found = BTreeMap::<String, Vec<Remains>>::new();
        let table = Snapshot::take(Some(self.state.clone()))?;
        for directory in directory::all(&self.root())? {
            let id = directory.path().file_name().and_then(|name| name.to_str()?.parse().ok());
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            // Whether it lives is asked again with its lock held; here it only must not count as one that ended.
            if Census::of(&directory, &table).is_ok_and(|census| census.is_running()) {
                continue;
            }
            let record = directory.read::<InstanceRecord>().ok().flatten();
            let service = record.map_or_else(String::new, |record| record.service.to_string());
            let Some(modified) = modified(directory.path()) else { continue };
            let modified = modified.max(self::modified(&directory.output_log()).unwrap_or(modified));
            found.entry(service).or_default().push(Remains {
                id,
                modified,
                place: Place::Directory(directory),
            });
        }
        for service in directory::all(&self.settings.state_directory.join("logs"))? {
            for log in fs::read_dir(service.path()).into_iter().flatten().flatten() {
                let name = log.file_name();
                let id = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
                let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
                let Some(modified) = modified(&log.path()) else { continue };
                let service = service.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.entry(service).or_default().push(Remains {
                    id,
                    modified,
                    place: Place::Log(log.path()),
                });
            }
        }
        Ok(found)
    }

    /// `false` if it is none of ours to remove: something of it lives, or somebody has its lock.
    fn remove_remains(&self, remains: &Remains) -> Result<bool, PortError> {
        let id = &remains.id;
        let failed = |error: io::Error| failed(&format!("remove what is left of instance `{id}`"), error);
        match &remains.place {
            Place::Log(log) => match kept_log::remove(log) {
                // A stop removes the oldest logs too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                result => result.map(|()| true).map_err(failed),
            },
            Place::Directory(directory) => {
                // One without a lock file was left by a crash at its making.
                directory.create().map_err(refused)?;
                let Some(_lock) = directory.try_lock().map_err(refused)? else {
                    return Ok(false);
                };
                // By its records, which may be unreadable, and by what its processes carry.
                let table = Snapshot::take(Some(self.state.clone())).map_err(failed)?;
                let is_running = Census::of(directory, &table).is_ok_and(|census| census.is_running());
                if is_running || !table.carriers(id).is_empty() || !table.supervisors(directory).is_empty() {
                    return Ok(false);
                }
                directory.remove().map(|()| true).map_err(failed)
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
