//! Room on the disk of the state directory: asked for before something is written, and looked at while it is.

use std::io;
use std::path::{Path, PathBuf};

/// What stays free on the disk for journal and logs, whatever an artifact needs.
pub(super) const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// So much may be written between two looks.
const STRIDE: u64 = 4 * 1024 * 1024;

/// Bytes that could be written to the disk of a directory.
pub(super) fn free(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Refuses what would fill the disk that the journal is on.
pub(super) fn check(directory: &Path, bytes: u64) -> io::Result<()> {
    let free = free(directory)?;
    let needed = bytes.saturating_add(RESERVE_BYTES);
    if needed <= free {
        return Ok(());
    }
    let figures = format!("it needs {} MiB with the reserve, {} MiB are free", mib(needed), free / MIB);
    Err(io::Error::new(io::ErrorKind::StorageFull, figures))
}

/// Looks at the disk while something of unknown size is written to it.
#[derive(Debug)]
pub(super) struct Watch {
    directory: PathBuf,
    written: u64,
    unseen: u64,
}

impl Watch {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), written: 0, unseen: STRIDE }
    }

    /// To be told before so much is written; an empty file counts too.
    pub(super) fn about_to_write(&mut self, bytes: u64) -> io::Result<()> {
        self.written += bytes;
        self.unseen += bytes.max(512);
        if self.unseen < STRIDE {
            return Ok(());
        }
        self.unseen = 0;
        let free = free(&self.directory)?;
        if free >= RESERVE_BYTES.saturating_add(STRIDE) {
            return Ok(());
        }
        let figures = format!(
            "{} MiB were written, {} MiB are free, and {} MiB stay free for journal and logs",
            self.written / MIB,
            free / MIB,
            RESERVE_BYTES / MIB
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, figures))
    }
}

const MIB: u64 = 1024 * 1024;

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}
