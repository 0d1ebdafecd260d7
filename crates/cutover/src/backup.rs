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

pub(crate) use archive::{BackupError, Header};
pub(crate) use restore::{Checked, Marker};
pub(crate) use save::{Saved, Wanted, save};
pub(crate) use sealed::Passphrase;
