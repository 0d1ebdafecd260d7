//! A controller's state in one file, and back.
//!
//! A backup is a tar archive: a header, the journal as it was at one moment, what each kept release consists of, and
//! a list of checksums at its end. Secrets, certificates and the key of secret fingerprints are in one entry of it
//! that is encrypted with a passphrase; without one they are not in it. Reading order: `archive` is the format,
//! `sealed` the encrypted entry, `save` makes one, `restore` checks one and brings it back. Nothing here prints.

mod archive;
mod restore;
mod save;
mod sealed;

use std::path::Path;

pub(crate) use archive::{BackupError, Header};
pub(crate) use restore::{Checked, Marker};
pub(crate) use save::{Saved, Wanted, save};
pub(crate) use sealed::Passphrase;

/// Whether there is any file below a directory: a controller makes directories before it has anything to put there.
fn holds_files(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        if path.is_dir() { holds_files(&path) } else { true }
    })
}
