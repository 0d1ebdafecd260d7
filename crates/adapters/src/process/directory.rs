//! The directory of one instance: its records, its lock, its output.
//!
//! Whoever holds the lock is the supervisor, or the executor while it prepares or removes the directory. So an
//! instance never has two supervisors, also when two controllers or a slow and a fast start race.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cutover_core::InstanceId;
use rustix::fs::{CWD, Mode, mkfifoat};

use super::record::Record;
use crate::durable_file;

/// Directories on their way out, beside the others.
pub(super) const STOPPED: &str = ".stopped-";

/// Where an instance is written down.
#[derive(Debug, Clone)]
pub(super) struct InstanceDirectory {
    path: PathBuf,
}

/// A record that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {deed} `{path}`: {cause}")]
pub struct RecordError {
    deed: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// The lock, until it is dropped or its process ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Unlocks by word, not by closing: a child that is being forked for another instance holds a copy of the
    /// descriptor until its exec, and the supervisor that is started next would find the lock taken.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl InstanceDirectory {
    /// The directory at this path, existing or not.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The directory of an instance; `None` if the id cannot be the name of one, so that it never was.
    pub(super) fn of(instances: &Path, id: &InstanceId) -> Option<Self> {
        let name = id.as_str();
        (!name.contains('/') && !name.starts_with('.')).then(|| Self::at(instances.join(name)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory with its lock and its output pipes; what is there already stays.
    pub(super) fn create(&self) -> Result<(), RecordError> {
        let made = durable_file::create_directories(&self.path, 0o700).and_then(|()| {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.lock_file())?;
            self.make_pipes()?;
            durable_file::sync_directory(self.path.parent().unwrap_or(&self.path))
        });
        made.map_err(|cause| RecordError { deed: "make", path: self.path.clone(), cause })
    }

    /// Makes the two pipes; those that are there already stay.
    pub(super) fn make_pipes(&self) -> io::Result<()> {
        for pipe in [self.output_pipe(), self.errors_pipe()] {
            // Others may write, for a program of another user may open `/dev/stdout` anew; they cannot get here
            // except through a descriptor that they were given.
            match mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o622)) {
                Ok(()) => rustix::fs::chmod(&pipe, Mode::from_raw_mode(0o622))?,
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes the lock; `None` if somebody has it or the directory is gone.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, RecordError> {
        let error = |cause| RecordError { deed: "lock", path: self.lock_file(), cause };
        let file = match OpenOptions::new().write(true).open(self.lock_file()) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(error(cause)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(error(cause)),
        }
    }

    /// Reads a record; `None` if it was never written.
    pub(super) fn read<R: Record>(&self) -> Result<Option<R>, RecordError> {
        let path = self.path.join(R::FILE);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                return Err(RecordError { deed: "read", path, cause });
            }
        };
        match serde_json::from_slice(&content) {
            Ok(record) => Ok(Some(record)),
            Err(cause) => Err(RecordError { deed: "read", path, cause: cause.into() }),
        }
    }

    /// Writes a record; durable once this has returned.
    pub(super) fn write<R: Record>(&self, record: &R) -> Result<(), RecordError> {
        let path = self.path.join(R::FILE);
        let written = serde_json::to_vec_pretty(record)
            .map_err(io::Error::from)
            .and_then(|content| durable_file::write(&path, &content, 0o600));
        written.map_err(|cause| RecordError { deed: "write", path, cause })
    }

    /// Removes a record that is no longer true.
    pub(super) fn forget<R: Record>(&self) -> Result<(), RecordError> {
        let path = self.path.join(R::FILE);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(RecordError { deed: "remove", path, cause })
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory; at no moment is there half of it under its name. The caller has the lock.
    pub(super) fn remove(&self) -> io::Result<()> {
        let Some(name) = self.path.file_name() else {
            return Ok(());
        };
        let aside = self.path.with_file_name(format!("{STOPPED}{}", name.display()));
        // A crash may have left an earlier instance of this id there.
        let _ = fs::remove_dir_all(&aside);
        match fs::rename(&self.path, &aside).and_then(|()| fs::remove_dir_all(&aside)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// What the program has written.
    pub(super) fn output_log(&self) -> PathBuf {
        self.path.join("output.log")
    }

    /// What the supervisor itself had to say, normally nothing.
    pub(super) fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// The pipe between program and supervisor for standard output; in what older supervisors started, for standard
    /// error too.
    pub(super) fn output_pipe(&self) -> PathBuf {
        self.path.join("output.pipe")
    }

    /// The same for standard error.
    pub(super) fn errors_pipe(&self) -> PathBuf {
        self.path.join("errors.pipe")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }
}

/// Every instance directory there is.
pub(super) fn all(instances: &Path) -> io::Result<Vec<InstanceDirectory>> {
    let entries = match fs::read_dir(instances) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            directories.push(InstanceDirectory::at(entry.path()));
        }
    }
    directories.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leads_out_of_the_instances_directory() {
        for id in ["../x", "..", "a/b", ".hidden"] {
            assert!(InstanceDirectory::of(Path::new("/s"), &id.parse().unwrap()).is_none(), "{id}");
        }
    }

    #[test]
    fn the_lock_has_one_holder_and_needs_the_directory() {
        let state = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::at(state.path().join("i"));
        assert!(directory.try_lock().unwrap().is_none());
        directory.create().unwrap();
        let lock = directory.try_lock().unwrap().unwrap();
        assert!(directory.try_lock().unwrap().is_none());
        let copy_of_a_forked_child = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(directory.try_lock().unwrap().is_some());
        drop(copy_of_a_forked_child);
    }
}
