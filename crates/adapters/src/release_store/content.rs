//! What a release holds, written down beside it, so that content which is here already need not come again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::{Checksum, EntryKind, Manifest};
use serde::{Deserialize, Serialize};

use super::archive::Unpacked;
use super::{FILES, presence, wrong};
use crate::durable_file;

/// In the directory of a release. One without it is a release all the same.
const CONTENT: &str = "content.json";

/// The files of a release and the archives that they came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) manifest: Manifest,
    #[serde(default)]
    archives: BTreeSet<Checksum>,
}

impl Content {
    pub(super) fn of(manifest: Manifest) -> Self {
        Self { manifest, archives: BTreeSet::new() }
    }

    /// The content of an archive, if the archive is the one that was meant.
    pub(super) fn of_archive(unpacked: Unpacked, wanted: Option<&Checksum>) -> Result<Self, PrepareError> {
        let Unpacked { manifest, sha256 } = unpacked;
        refuse_another("the archive", &sha256, wanted)?;
        Ok(Self { manifest, archives: BTreeSet::from([sha256]) })
    }

    /// The content of an archive that was unpacked before.
    pub(super) fn of_known_archive(manifest: Manifest, archive: Checksum) -> Self {
        Self { manifest, archives: BTreeSet::from([archive]) }
    }

    /// Whether it was made by unpacking.
    pub(super) fn came_in_an_archive(&self) -> bool {
        !self.archives.is_empty()
    }

    /// Writes it into the directory of a release, besides what is known there.
    pub(super) fn remember_in(&self, release: &Path) -> io::Result<()> {
        let known = Self::read(release);
        let archives =
            known.iter().flat_map(|known| &known.archives).chain(&self.archives).cloned().collect();
        let all = Self { manifest: self.manifest.clone(), archives };
        if known.as_ref() == Some(&all) {
            return Ok(());
        }
        match serde_json::to_vec(&all) {
            Ok(text) => durable_file::write(&release.join(CONTENT), &text, 0o600),
            // A name that is no text; such files come again each time.
            Err(_) => Ok(()),
        }
    }

    /// What was remembered of a release; nothing of one that an older version made.
    pub(super) fn read(release: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(release.join(CONTENT)).ok()?).ok()
    }
}

/// Refuses an archive, called `what`, that is not the one that was meant.
///
/// # Errors
/// [`PrepareError::Wrong`], with both checksums.
pub fn refuse_another(what: &str, found: &Checksum, wanted: Option<&Checksum>) -> Result<(), PrepareError> {
    match wanted {
        Some(wanted) if wanted != found => Err(wrong(
            format!("{what} has the SHA-256 checksum {found}, and {wanted} is wanted"),
            "it is another build, or was damaged on its way; correct one of the two",
        )),
        _ => Ok(()),
    }
}

/// What lies in the releases of this host. Whoever takes a file from there hashes it again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    files: BTreeMap<Checksum, (u64, PathBuf)>,
    archives: BTreeMap<Checksum, Manifest>,
}

impl Kept {
    /// All of them but those that were found damaged.
    pub(super) fn in_releases(releases: &Path, damaged: &BTreeSet<PathBuf>) -> Self {
        let mut kept = Self::default();
        for service in directories(releases) {
            for release in directories(&service.path()).filter(|release| presence::id_of(release).is_some()) {
                let Some(content) = Content::read(&release.path()) else { continue };
                let files = release.path().join(FILES);
                for entry in &content.manifest.entries {
                    if let EntryKind::File { size, sha256, .. } = &entry.kind {
                        let path = files.join(&entry.path);
                        if !damaged.contains(&path) {
                            kept.files.insert(sha256.clone(), (*size, path));
                        }
                    }
                }
                for archive in &content.archives {
                    kept.archives.insert(archive.clone(), content.manifest.clone());
                }
            }
        }
        kept
    }

    /// Where a content lies, as far as that can be seen without reading it.
    pub(super) fn file(&self, sha256: &Checksum) -> Option<&Path> {
        let (size, path) = self.files.get(sha256)?;
        let found = fs::symlink_metadata(path).ok()?;
        (found.is_file() && found.len() == *size).then_some(path)
    }

    /// How large the content of a release is.
    pub(super) fn size(&self, sha256: &Checksum) -> Option<u64> {
        self.file(sha256).and_then(|_| self.files.get(sha256)).map(|(size, _)| *size)
    }

    /// What an archive holds, if all of that still lies here.
    pub(super) fn archive(&self, sha256: &Checksum) -> Option<&Manifest> {
        let manifest = self.archives.get(sha256)?;
        manifest.files().all(|(_, sha256)| self.file(sha256).is_some()).then_some(manifest)
    }
}

fn directories(parent: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let hidden = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    let found = fs::read_dir(parent).into_iter().flatten().flatten();
    found.filter(move |entry| !hidden(entry) && entry.file_type().is_ok_and(|kind| kind.is_dir()))
}
