//! One file of a release: written once, hashed on the way, read-only and dated afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cutover_core::artifact::Checksum;
use sha2::{Digest, Sha256};

use super::room::Watch;
use super::tree::checksum;

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What is read from.
    Source(io::Error),
    /// The disk of the state directory.
    Disk(io::Error),
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Source(error) | Trouble::Disk(error) => error,
        }
    }
}

/// How a file of a release looks besides its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) executable: bool,
    /// Web servers make entity tags of it.
    pub(super) modified: SystemTime,
}

/// Milliseconds since 1970; what is older counts as that.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// The time of these milliseconds; nonsense counts as 1970.
pub(super) fn time(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Writes what can be read into a new file.
pub(super) fn write(
    from: &mut dyn Read,
    to: &Path,
    look: Look,
    watch: &mut Watch,
) -> Result<(u64, Checksum), Trouble> {
    let mut copy = create(to).map_err(Trouble::Disk)?;
    let relayed = relay(from, &mut copy, watch)?;
    finish(&copy, look).map_err(Trouble::Disk)?;
    Ok(relayed)
}

/// Copies a file, without its blocks where the file system can share them, and hashes the copy.
pub(super) fn copy(source: &mut File, to: &Path, look: Look) -> Result<(u64, Checksum), Trouble> {
    let mut copy = create(to).map_err(Trouble::Disk)?;
    let mut watch = Watch::new(to.parent().unwrap_or(to));
    let relayed = if rustix::fs::ioctl_ficlone(&copy, &*source).is_ok() {
        copy.rewind().map_err(Trouble::Disk)?;
        relay(&mut copy, &mut io::sink(), &mut watch)?
    } else {
        relay(source, &mut copy, &mut watch)?
    };
    finish(&copy, look).map_err(Trouble::Disk)?;
    Ok(relayed)
}

/// Size and hash of what can be read.
///
/// # Errors
/// If it cannot be read to its end.
pub fn hash(from: &mut dyn Read) -> io::Result<(u64, Checksum)> {
    let mut digest = Sha256::new();
    let mut size = 0;
    each_piece(from, |piece| {
        digest.update(piece);
        size += piece.len() as u64;
        Ok(())
    })?;
    Ok((size, checksum(digest)))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn finish(copy: &File, look: Look) -> io::Result<()> {
    copy.set_modified(look.modified)?;
    copy.set_permissions(PermissionsExt::from_mode(if look.executable { 0o555 } else { 0o444 }))
}

fn relay(from: &mut dyn Read, to: &mut dyn Write, watch: &mut Watch) -> Result<(u64, Checksum), Trouble> {
    let mut digest = Sha256::new();
    let mut size = 0;
    each_piece(from, |piece| {
        digest.update(piece);
        size += piece.len() as u64;
        watch.about_to_write(piece.len() as u64)?;
        to.write_all(piece)
    })?;
    Ok((size, checksum(digest)))
}

/// Calls for each piece that is read; its error is one of the disk.
fn each_piece(from: &mut dyn Read, mut deed: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Trouble> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => deed(&buffer[..count]).map_err(Trouble::Disk)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Trouble::Source(error)),
        }
    }
}
