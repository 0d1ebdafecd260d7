//! A disk that can lose power: each file as it was written, and as far as it was synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::trace::Deed;

/// The journal's files in the course of what was done to them.
///
/// A name that was made, changed or removed counts as durable at once: what is asked here is what becomes of the
/// bytes.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<PathBuf, File>,
    changes: u64,
}

#[derive(Debug, Clone, Default)]
struct File {
    now: Content,
    durable: Content,
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    /// Tells contents apart without comparing them.
    change: u64,
}

/// What is found after the loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Everything that was written.
    Everything,
    /// Of every file what was synced.
    OnlyWhatWasSynced,
    /// Of the write-ahead log what was synced, of the others everything.
    LogAsSynced,
    /// Of the write-ahead log everything, of the others what was synced.
    OthersAsSynced,
}

impl Left {
    pub const ALL: [Self; 4] =
        [Self::Everything, Self::OnlyWhatWasSynced, Self::LogAsSynced, Self::OthersAsSynced];
}

impl Disk {
    /// A disk on which these files lie, durably.
    pub fn with(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Self {
        let durable = |bytes: Vec<u8>| {
            let content = Content { bytes, change: 0 };
            File { now: content.clone(), durable: content }
        };
        Self { files: files.into_iter().map(|(path, bytes)| (path, durable(bytes))).collect(), changes: 0 }
    }

    pub fn apply(&mut self, deed: &Deed) {
        self.changes += 1;
        let change = self.changes;
        match deed {
            Deed::Write { file, offset, bytes } => {
                self.change(file, |content| {
                    let end = offset + bytes.len();
                    content.resize(content.len().max(end), 0);
                    content[*offset..end].copy_from_slice(bytes);
                });
            }
            Deed::Append { file, bytes } => self.change(file, |content| content.extend(bytes)),
            Deed::Resize { file, length } => self.change(file, |content| content.resize(*length, 0)),
            Deed::Reserve { file, length } => {
                self.change(file, |content| content.resize(content.len().max(*length), 0));
            }
            Deed::Sync { file } => {
                if let Some(file) = self.files.get_mut(file) {
                    file.durable = file.now.clone();
                }
            }
            Deed::Create { file, emptied } => {
                if *emptied {
                    self.change(file, Vec::clear);
                } else if !self.files.contains_key(file) {
                    let content = Content { bytes: Vec::new(), change };
                    self.files.insert(file.clone(), File { now: content.clone(), durable: content });
                }
            }
            Deed::Remove { file } => drop(self.files.remove(file)),
            Deed::Rename { from, to } => {
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                }
            }
        }
    }

    fn change(&mut self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let content = &mut self.files.entry(file.to_owned()).or_default().now;
        change(&mut content.bytes);
        content.change = self.changes;
    }

    /// What is found: each file by its name, and its bytes.
    pub fn found(&self, left: Left) -> Vec<(&str, &[u8])> {
        self.contents(left).map(|(name, content)| (name, content.bytes.as_slice())).collect()
    }

    /// The same for two finds only if they are alike.
    pub fn fingerprint(&self, left: Left) -> Vec<(String, u64)> {
        self.contents(left).map(|(name, content)| (name.to_owned(), content.change)).collect()
    }

    fn contents(&self, left: Left) -> impl Iterator<Item = (&str, &Content)> {
        self.files.iter().map(move |(path, file)| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_log = name.ends_with("-wal");
            let synced = match left {
                Left::Everything => false,
                Left::OnlyWhatWasSynced => true,
                Left::LogAsSynced => is_log,
                Left::OthersAsSynced => !is_log,
            };
            (name, if synced { &file.durable } else { &file.now })
        })
    }
}
