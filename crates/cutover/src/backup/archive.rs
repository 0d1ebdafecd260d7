//! The format: entries of a tar archive, each with a checksum in the last one.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use cutover_controller::journal::TransferError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first entry.
pub(super) const HEADER: &str = "backup.json";
/// The journal, as `cutover journal export` writes it.
pub(super) const JOURNAL: &str = "journal.jsonl";
/// What is encrypted: an archive within the archive.
pub(super) const SEALED: &str = "sealed";
/// The last entry.
pub(super) const CHECKSUMS: &str = "checksums.json";
/// What the header calls the format.
pub(super) const FORMAT: &str = "cutover backup";
/// Its version.
pub(super) const VERSION: u32 = 1;

/// What a backup says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) format: String,
    pub(crate) version: u32,
    pub(crate) written_by: String,
    /// The host it was made on.
    pub(crate) host: String,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) state_directory: PathBuf,
    /// Whether the files of releases are in it.
    pub(crate) artifacts: bool,
    /// Whether secrets and certificates are in it.
    pub(crate) secrets: bool,
}

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("cannot {deed} `{}`: {source}", path.display())]
    File { deed: &'static str, path: PathBuf, source: io::Error },
    #[error("the journal: {0}")]
    Journal(#[from] TransferError),
    #[error("it is no backup of cutover: {0}")]
    Foreign(String),
    #[error(
        "it was written by a newer cutover ({written_by}): format {found}, this one reads up to {VERSION}"
    )]
    Newer { found: u32, written_by: String },
    #[error("it is not whole: {0}")]
    Damaged(String),
    #[error("the passphrase is wrong, or what it protects was changed")]
    WrongPassphrase,
    #[error("secrets, certificates and settings of `[notify]` are in it, and need the passphrase")]
    NoPassphrase,
    #[error(
        "nothing in it needs a passphrase, so the one that was given says nothing of whether it was changed"
    )]
    NothingSealed,
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    #[error("`{}` is in use already: it has {what}", path.display())]
    Occupied { path: PathBuf, what: String },
}

impl BackupError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } | Self::Newer { .. } => None,
            Self::Journal(_) | Self::Foreign(_) | Self::Damaged(_) => {
                Some("nothing was restored; take another copy, or an older backup")
            }
            Self::WrongPassphrase => Some("nothing was restored; `--without-secrets` restores the rest"),
            Self::NoPassphrase => {
                Some("`--passphrase-file FILE` gives it, `--without-secrets` restores the rest")
            }
            Self::NothingSealed => Some(
                "nothing was restored; take another copy, or `--without-secrets` if it was made without a passphrase",
            ),
            Self::EmptyPassphrase => Some("the first line of its file is the passphrase"),
            Self::Occupied { .. } => {
                Some("restore into another directory with `--state-dir`, or move that one away first")
            }
        }
    }
}

pub(super) fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { deed, path, source }
}

/// What is known of each entry, by its path.
pub(super) type Checksums = BTreeMap<String, String>;

/// A reader or writer that hashes what passes.
pub(super) struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    pub(super) fn checksum(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// The checksum of something that is in memory, such as a link's target.
pub(super) fn checksum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Writes entries and notes their checksums.
pub(super) struct Writer<W: Write> {
    tar: tar::Builder<W>,
    pub(super) checksums: Checksums,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { tar: tar::Builder::new(to), checksums: Checksums::new() }
    }

    /// Something that is in memory.
    pub(super) fn bytes(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = file_header(bytes.len() as u64, 0o600);
        self.checksums.insert(path.to_owned(), checksum(bytes));
        self.tar.append_data(&mut header, path, bytes)
    }

    /// A file, link or directory of the disk; a file must not change while it is read.
    pub(super) fn copy(&mut self, from: &Path, path: &str) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let found = from.symlink_metadata()?;
        let mode = found.permissions().mode() & 0o777;
        if found.is_symlink() {
            let target = std::fs::read_link(from)?;
            self.checksums.insert(path.to_owned(), checksum(target.as_os_str().as_encoded_bytes()));
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            return self.tar.append_link(&mut header, path, target);
        }
        if found.is_dir() {
            let mut header = file_header(0, mode);
            header.set_entry_type(tar::EntryType::Directory);
            return self.tar.append_data(&mut header, format!("{path}/"), io::empty());
        }
        let file = std::fs::File::open(from)?;
        let mut header = file_header(found.len(), mode);
        // A file that has grown is cut, one that has shrunk makes the archive unreadable at once.
        let mut file = Hashing::new(file.take(found.len()));
        self.tar.append_data(&mut header, path, &mut file)?;
        self.checksums.insert(path.to_owned(), file.checksum());
        Ok(())
    }

    /// Everything below a directory, in order.
    pub(super) fn tree(&mut self, from: &Path, path: &str) -> io::Result<()> {
        self.copy(from, path)?;
        let mut names: Vec<_> =
            std::fs::read_dir(from)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let Some(text) = name.to_str() else {
                return Err(io::Error::other(format!("the name {name:?} is not UTF-8")));
            };
            let (from, path) = (from.join(&name), format!("{path}/{text}"));
            if from.symlink_metadata()?.is_dir() {
                self.tree(&from, &path)?;
            } else {
                self.copy(&from, &path)?;
            }
        }
        Ok(())
    }

    /// Ends it with the checksums of everything before.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let checksums = serde_json::to_vec_pretty(&self.checksums)?;
        let mut header = file_header(checksums.len() as u64, 0o600);
        self.tar.append_data(&mut header, CHECKSUMS, checksums.as_slice())?;
        self.tar.into_inner()
    }
}

fn file_header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

/// Reads an entry that belongs into memory. As large as whoever saved it could hold, it has no bound here: a backup
/// that was made has to be restored.
pub(super) fn read_all(entry: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| BackupError::Damaged(error.to_string()))?;
    Ok(bytes)
}

/// The path of an entry, if it stays where it is unpacked.
pub(super) fn plain_path(path: &Path) -> Result<PathBuf, BackupError> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().is_empty() {
        return Err(BackupError::Damaged(format!("an entry is called `{}`", path.display())));
    }
    Ok(path.components().collect())
}
