//! The layout of a state directory, and who may use it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cutover_controller::ports::Mandate;
use rustix::fs::{FlockOperation, flock};

/// How often the lock file may be deleted under the one who locks it.
const LOCK_ATTEMPTS: usize = 5;

/// Where a controller keeps everything.
#[derive(Debug, Clone)]
pub(crate) struct StateDirectory(PathBuf);

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the state directory `{path}` cannot be used: {source}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("another controller uses the state directory `{0}`")]
    Taken(PathBuf),
}

impl StateDirectory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn api_socket(&self) -> PathBuf {
        self.0.join("cutover.sock")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal.sqlite")
    }

    pub(crate) fn proxy_directory(&self) -> PathBuf {
        self.0.join("proxy")
    }

    pub(crate) fn proxy_socket(&self) -> PathBuf {
        self.proxy_directory().join("admin.sock")
    }

    pub(crate) fn proxy_seed(&self) -> PathBuf {
        self.proxy_directory().join("listen.toml")
    }

    /// Where the proxy listens, if it is a unit of systemd: not in its own directory, for root writes it and shall
    /// follow no link that another user has put there.
    pub(crate) fn unit_seed(&self) -> PathBuf {
        self.0.join("listen.toml")
    }

    /// What that unit's proxy is started with beyond its own files.
    pub(crate) fn unit_arguments(&self) -> PathBuf {
        self.0.join("proxy.env")
    }

    /// Where the proxy says to instances which environment is live.
    pub(crate) fn live_directory(&self) -> PathBuf {
        self.0.join("live")
    }

    /// What tokens of previews are signed with.
    pub(crate) fn preview_key(&self) -> PathBuf {
        self.0.join("preview.key")
    }

    /// The certificates that the proxy shows.
    pub(crate) fn served_certificates(&self) -> PathBuf {
        self.0.join("certificates/served")
    }

    pub(crate) fn proxy_log(&self) -> PathBuf {
        self.proxy_directory().join("proxy.log")
    }

    /// Makes what is missing, readable for its owner alone, and checks that it can be written.
    ///
    /// That others may pass through, which releases of another user need, is kept if it was so.
    pub(crate) fn prepare(&self) -> Result<(), StateError> {
        let unusable = |source| StateError::Unusable { path: self.0.clone(), source };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.0).map_err(unusable)?;
        let passing = fs::metadata(&self.0).map_err(unusable)?.permissions().mode() & 0o011;
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700 | passing)).map_err(unusable)?;
        builder.create(self.proxy_directory()).map_err(unusable)?;
        let probe = self.0.join(".writable");
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(unusable)
    }

    /// Locks it for one controller; the lock dies with its process.
    pub(crate) fn lock(&self) -> Result<ControllerLock, StateError> {
        let unusable = |source| StateError::Unusable { path: self.0.clone(), source };
        let path = self.0.join("controller.lock");
        for _ in 0..LOCK_ATTEMPTS {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let lock = ControllerLock { file: file.map_err(unusable)?, path: path.clone() };
            match flock(&lock.file, FlockOperation::NonBlockingLockExclusive) {
                // Deleted between the two calls: what was locked is nobody's any more.
                Ok(()) if lock.holds().is_err() => {}
                Ok(()) => return Ok(lock),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Taken(self.0.clone())),
                Err(error) => return Err(unusable(error.into())),
            }
        }
        Err(StateError::Taken(self.0.clone()))
    }
}

/// The lock of a state directory, until it is dropped or its process ends.
///
/// It means the file that was locked, not its name. Whoever deletes that file, or moves the directory away, lets
/// another controller lock a new one; so before each deed the two are compared.
#[derive(Debug)]
pub(crate) struct ControllerLock {
    file: File,
    path: PathBuf,
}

impl Mandate for ControllerLock {
    fn holds(&self) -> Result<(), String> {
        let path = self.path.display();
        let locked = self.file.metadata().map_err(|error| format!("cannot look at `{path}`: {error}"))?;
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => Ok(()),
            Ok(_) => {
                Err(format!("another controller has taken over: `{path}` is not the file it has locked"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("another controller may have taken over: the lock file `{path}` is gone"))
            }
            Err(error) => Err(format!("cannot look at `{path}`: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_file_was_deleted_and_made_anew_by_another_controller_gives_no_mandate() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(directory.path().join("state"));
        state.prepare().unwrap();
        let first = state.lock().unwrap();
        assert_eq!(first.holds(), Ok(()));
        assert!(matches!(state.lock(), Err(StateError::Taken(_))));

        fs::remove_file(state.path().join("controller.lock")).unwrap();
        assert!(first.holds().unwrap_err().contains("controller.lock` is gone"));
        let second = state.lock().unwrap();
        assert_eq!(second.holds(), Ok(()));
        assert!(first.holds().unwrap_err().starts_with("another controller has taken over"));
        drop(first);
        assert!(matches!(state.lock(), Err(StateError::Taken(_))));
        drop(second);
        assert_eq!(state.lock().unwrap().holds(), Ok(()));
    }
}
