//! Whether the journal is still the file that was opened.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::journal::sqlite::fault::StoreFault;

/// The file behind a path, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The file that has this path now.
    ///
    /// # Errors
    /// If there is none, or it cannot be looked at.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }

    /// Refuses if the path has another file now, or none: what is written to a deleted file is lost with the process.
    ///
    /// # Errors
    /// That, with what to do.
    pub(super) fn is_still_at(self, path: &Path) -> Result<(), StoreFault> {
        match Self::of(path) {
            Ok(found) if found == self => Ok(()),
            Ok(_) => Err(lost("replaced by another")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(lost("deleted")),
            Err(error) => Err(error.into()),
        }
    }
}

fn lost(how: &str) -> StoreFault {
    StoreFault::Database(format!(
        "its file was {how} while it was in use, so nothing can be recorded; restore it and start the controller \
         again; until then `cutover rollback --break-glass` moves traffic"
    ))
}
