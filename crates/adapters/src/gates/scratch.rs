//! Directories for the files of a suite, each for the user that it runs as alone, and gone with the suite.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::{User, chown, geteuid};

use crate::durable_file;
use crate::release_place::PASSABLE;

/// Where they are made.
#[derive(Debug)]
pub(super) struct Scratch {
    root: PathBuf,
    made: AtomicU32,
}

impl Scratch {
    /// All that a former controller has left there is removed.
    pub(super) fn at(root: PathBuf) -> Self {
        let _ = fs::remove_dir_all(&root);
        Self { root, made: AtomicU32::new(0) }
    }

    /// A directory for this user, or for this process's own.
    pub(super) fn directory(&self, user: Option<&str>) -> io::Result<Directory> {
        durable_file::create_directory_with_mode(&self.root, PASSABLE)?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let directory = Directory(self.root.join(number.to_string()));
        fs::DirBuilder::new().mode(0o700).create(&directory.0)?;
        directory.give(&directory.0, user)?;
        Ok(directory)
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that this user can read.
    pub(super) fn write(&self, name: &str, content: &[u8], user: Option<&str>) -> io::Result<PathBuf> {
        let file = self.0.join(name);
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        self.give(&file, user)?;
        Ok(file)
    }

    fn give(&self, path: &Path, user: Option<&str>) -> io::Result<()> {
        let user = user.and_then(|name| User::from_name(name).ok().flatten());
        match user.filter(|user| user.uid != geteuid()) {
            Some(user) => Ok(chown(path, Some(user.uid), Some(user.gid))?),
            None => Ok(()),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
