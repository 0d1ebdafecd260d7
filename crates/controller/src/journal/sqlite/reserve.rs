//! What a full disk leaves for rescue (I9): chunks of disk space that are freed one by one, so that a rollback or an
//! abort can be recorded whatever else has filled the disk.
//!
//! Only rescue takes from it. Once something was taken, nothing ordinary is recorded before it is whole again: else
//! ordinary decisions would eat what was freed for rescue.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::journal::sqlite::fault::StoreFault;

/// So many chunks are kept.
const CHUNKS: usize = 8;
/// Bytes of each: more than the pages of a few records, the log's index and a new log together.
const CHUNK: u64 = 512 * 1024;
/// What a file system must take for it not to be full, in bytes.
const PROBE: usize = 64 * 1024;

/// The reserve of one journal.
#[derive(Debug)]
pub(super) struct Reserve {
    /// The directory of the journal.
    beside: PathBuf,
    /// Whether every chunk is known to be there.
    whole: bool,
}

impl Reserve {
    /// The reserve of the journal `path`: files in `reserve/` beside it.
    pub(super) fn beside(path: &Path) -> Self {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self { beside: parent.map_or_else(|| PathBuf::from("."), Path::to_owned), whole: false }
    }

    fn directory(&self) -> PathBuf {
        self.beside.join("reserve")
    }

    fn chunks(&self) -> impl Iterator<Item = PathBuf> {
        let directory = self.directory();
        (1..=CHUNKS).map(move |number| directory.join(number.to_string()))
    }

    /// Does what must not fail for want of disk: while it fails because the disk is full, a chunk is freed and it is
    /// done again. It is done once more often than there are chunks, at most. What is told in the end has advice.
    pub(super) fn at_any_cost<T>(
        &mut self,
        mut deed: impl FnMut() -> Result<T, StoreFault>,
    ) -> Result<T, StoreFault> {
        for _ in 0..CHUNKS {
            match deed() {
                Err(fault) if self.explains(&fault) => {
                    if !self.free_one() {
                        return Err(self.advised(&fault));
                    }
                    tracing::warn!(%fault, "the disk is full: space that is kept for rescue was used");
                }
                done => return done,
            }
        }
        deed().map_err(|fault| if self.explains(&fault) { self.advised(&fault) } else { fault })
    }

    /// Whether a fault comes of a full disk. Where SQLite does not say so, it is tried out.
    pub(super) fn explains(&self, fault: &StoreFault) -> bool {
        match fault {
            StoreFault::Full(_) => true,
            StoreFault::Suspect(_) => self.disk_is_full(),
            StoreFault::Refused(_) | StoreFault::Database(_) => false,
        }
    }

    fn disk_is_full(&self) -> bool {
        let probe = self.beside.join(".space-probe");
        let written = File::create(&probe).and_then(|mut file| {
            file.write_all(&noise(PROBE))?;
            file.sync_all()
        });
        let _ = fs::remove_file(&probe);
        written.is_err_and(|error| matches!(StoreFault::from(error), StoreFault::Full(_)))
    }

    /// Frees a chunk; answers whether there was one.
    fn free_one(&mut self) -> bool {
        self.whole = false;
        let freed = self.chunks().any(|chunk| fs::remove_file(chunk).is_ok());
        // A journalling file system gives the space to others once the removal is durable.
        let _ = File::open(self.directory()).and_then(|directory| directory.sync_all());
        freed
    }

    /// Makes what is missing. A chunk is there only once it is whole and durable.
    ///
    /// # Errors
    /// If there is no room for it; what could be made stays.
    pub(super) fn make_whole(&mut self) -> io::Result<()> {
        if self.whole {
            return Ok(());
        }
        let directory = self.directory();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        for chunk in self.chunks() {
            if fs::metadata(&chunk).is_ok_and(|chunk| chunk.len() == CHUNK) {
                continue;
            }
            let new = directory.join("new");
            let made = allocate(&new).and_then(|()| fs::rename(&new, &chunk));
            if let Err(error) = made {
                let _ = fs::remove_file(&new);
                return Err(error);
            }
        }
        File::open(&directory)?.sync_all()?;
        self.whole = true;
        Ok(())
    }

    /// A fault that comes of a full disk, as a person is told it.
    pub(super) fn advised(&self, fault: &StoreFault) -> StoreFault {
        let free = statvfs(&self.beside).map(|disk| disk.f_bavail * disk.f_frsize);
        let free = free.map_or_else(|_| String::new(), |free| format!(", {free} bytes are free"));
        let left = self.chunks().filter(|chunk| chunk.exists()).count();
        let rescue = if left > 0 { "; rollback and abort still work meanwhile" } else { "" };
        StoreFault::Full(format!(
            "the disk of `{}` is full ({fault}{free}; {left} of {CHUNKS} pieces of {} KiB are left for rescue); \
             free some space there, {} KiB at least, and ask again{rescue}",
            self.beside.display(),
            CHUNK / 1024,
            CHUNK * (CHUNKS - left) as u64 / 1024 + CHUNK / 1024,
        ))
    }
}

/// Makes a file whose blocks are its own, whatever the file system does with what is written.
fn allocate(path: &Path) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, CHUNK) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            file.write_all(&noise(usize::try_from(CHUNK).unwrap_or(usize::MAX)))?;
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

/// Bytes that no file system makes smaller (xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}
