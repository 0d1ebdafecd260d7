//! The layout of a state directory, and who may use it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

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
    pub(crate) fn lock(&self) -> Result<File, StateError> {
        let unusable = |source| StateError::Unusable { path: self.0.clone(), source };
        let path = self.0.join("controller.lock");
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Taken(self.0.clone())),
            Err(error) => Err(unusable(error.into())),
        }
    }
}
