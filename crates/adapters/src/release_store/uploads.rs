//! Artifacts on their way to the controller: what comes is named by its content, and goes on where it was cut.
//!
//! `uploads/` holds `offers/ID.json` (what somebody wants to deploy), `partial/HASH` (contents that are coming) and
//! `contents/HASH` (whole ones, whose hash was compared). Nothing here need survive a loss of power: whoever uses a
//! content hashes it again, and what is wrong or missing is sent once more.

mod error;
mod piece;
mod receive;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cutover_core::artifact::{Checksum, Manifest, UploadId};
use serde::{Deserialize, Serialize};

pub use error::UploadError;
pub use piece::Piece;

use self::error::host;
use super::content::Kept;
use super::{room, tree};
use crate::durable_file;

/// What somebody has and wants the controller to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Offer {
    /// The files of a directory.
    Tree {
        /// All of them.
        manifest: Manifest,
    },
    /// An archive, as one content.
    Archive {
        /// Its bytes.
        sha256: Checksum,
        /// How many they are.
        size: u64,
    },
}

impl Offer {
    /// The name of what is offered.
    #[must_use]
    pub fn id(&self) -> UploadId {
        match self {
            Self::Tree { manifest } => UploadId::Tree(tree::hash(manifest)),
            Self::Archive { sha256, .. } => UploadId::Archive(sha256.clone()),
        }
    }

    /// Each content once, with its size. An empty file has none.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<&Checksum, u64> {
        match self {
            Self::Tree { manifest } => {
                manifest.files().filter(|(size, _)| *size > 0).map(|(size, sha256)| (sha256, size)).collect()
            }
            Self::Archive { sha256, size } => BTreeMap::from([(sha256, *size)]),
        }
    }
}

/// What the controller has of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reception {
    /// The name of what is offered; a deployment refers to it by this.
    pub id: UploadId,
    /// What is missing, in the order in which it was offered.
    pub missing: Vec<Missing>,
}

/// A content of which bytes are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which.
    pub sha256: Checksum,
    /// Bytes of the whole.
    pub size: u64,
    /// Bytes from the start that are here already.
    pub offset: u64,
}

/// Keeps what was uploaded.
#[derive(Debug, Clone)]
pub struct Uploads {
    root: PathBuf,
    releases: PathBuf,
    writers: Arc<Writers>,
    /// Files of releases that are not any more what they were.
    damaged: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Held while an offer is written down.
    offering: Arc<Mutex<()>>,
}

/// Who writes a content now: of two the one that began later, for the other's connection is probably dead.
#[derive(Debug, Default)]
struct Writers {
    turns: AtomicU64,
    now: Mutex<HashMap<Checksum, u64>>,
}

impl Uploads {
    /// The uploads of a state directory.
    pub(super) fn new(state_directory: &Path, releases: &Path) -> io::Result<Self> {
        let root = state_directory.join("uploads");
        for part in ["offers", "partial", "contents"] {
            durable_file::create_directory_with_mode(&root.join(part), 0o700)?;
        }
        Ok(Self {
            root,
            releases: releases.to_owned(),
            writers: Arc::default(),
            damaged: Arc::default(),
            offering: Arc::default(),
        })
    }

    /// Says what is missing of an offer, and remembers the offer for a day.
    ///
    /// # Errors
    /// [`UploadError`] if it could not be deployed, or the disk has no room for it.
    pub fn offer(&self, offer: &Offer) -> Result<Reception, UploadError> {
        if let Offer::Tree { manifest } = offer {
            manifest.check().map_err(|error| UploadError::Wrong(error.to_string()))?;
            check_sizes(manifest)?;
        }
        let id = offer.id();
        let kept = self.kept();
        let whole = match offer {
            Offer::Archive { sha256, .. } => kept.archive(sha256).is_some(),
            Offer::Tree { .. } => false,
        };
        let mut missing = Vec::new();
        for (sha256, size) in offer.contents() {
            if let Some(known) =
                kept.size(sha256).or_else(|| self.size_unlike(sha256, size)).filter(|known| *known != size)
            {
                return Err(two_sizes(sha256, known, size));
            }
            if whole || self.content(sha256, Some(size)).is_some() || kept.file(sha256).is_some() {
                continue;
            }
            let here = fs::metadata(self.partial(sha256)).map_or(0, |found| found.len());
            missing.push(Missing { sha256: sha256.clone(), size, offset: here.min(size) });
        }
        if !missing.is_empty() {
            let comes =
                missing.iter().map(|missing| missing.size - missing.offset).fold(0, u64::saturating_add);
            let copied = match offer {
                Offer::Tree { manifest } => manifest.bytes(),
                Offer::Archive { .. } => 0,
            };
            room::check(&self.root, comes.saturating_add(copied)).map_err(host(&self.root))?;
        }
        let text = serde_json::to_vec(offer).map_err(|error| UploadError::Wrong(error.to_string()))?;
        let file = self.offer_file(&id);
        // Of two that write at once the later one would take the other's unfinished file away. Both say the same.
        let _turn = self.offering.lock().unwrap_or_else(PoisonError::into_inner);
        durable_file::write(&file, &text, 0o600).map_err(host(&file))?;
        Ok(Reception { id, missing })
    }

    /// What was offered under a name; a name that is asked for lives another day.
    pub(super) fn offered(&self, id: &UploadId) -> Result<Offer, UploadError> {
        let file = self.offer_file(id);
        match fs::read(&file) {
            Ok(text) => {
                touch(&file);
                serde_json::from_slice(&text).map_err(io::Error::from).map_err(host(&file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(UploadError::Unknown(id.clone())),
            Err(error) => Err(host(&file)(error)),
        }
    }

    /// A whole content of this size; one that is asked for lives another day.
    pub(super) fn content(&self, sha256: &Checksum, size: Option<u64>) -> Option<PathBuf> {
        let file = self.root.join("contents").join(sha256.as_str());
        let found = fs::metadata(&file).ok()?;
        if size.is_some_and(|size| size != found.len()) {
            return None;
        }
        touch(&file);
        Some(file)
    }

    /// The size of a whole content, if it is not this one. Of what a loss of power has cut nothing is known.
    fn size_unlike(&self, sha256: &Checksum, size: u64) -> Option<u64> {
        let mut file = File::open(self.root.join("contents").join(sha256.as_str())).ok()?;
        if file.metadata().ok()?.len() == size {
            return None;
        }
        let (size, found) = super::checksum(&mut file).ok()?;
        (found == *sha256).then_some(size)
    }

    /// Removes a content that is not what its name says.
    pub(super) fn discard(&self, sha256: &Checksum) {
        let _ = fs::remove_file(self.root.join("contents").join(sha256.as_str()));
    }

    /// What lies in releases and was not found damaged.
    pub(super) fn kept(&self) -> Kept {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Kept::in_releases(&self.releases, &damaged)
    }

    /// A file of a release that is damaged is no reason to do without it: an instance may run from there. It is not
    /// counted as kept any more, so that its content comes anew.
    pub(super) fn is_damaged(&self, file: &Path) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned());
    }

    /// Removes what a release has taken over: it is found there from now on.
    pub(super) fn forget(&self, id: &UploadId) {
        let Ok(offer) = self.offered(id) else { return };
        for sha256 in offer.contents().keys() {
            self.discard(sha256);
        }
        let _ = fs::remove_file(self.offer_file(id));
    }

    pub(super) fn partial(&self, sha256: &Checksum) -> PathBuf {
        self.root.join("partial").join(sha256.as_str())
    }

    fn offer_file(&self, id: &UploadId) -> PathBuf {
        self.root.join("offers").join(format!("{id}.json"))
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<Checksum, u64>> {
        self.writers.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what nobody could send: it holds no file, or a content has two sizes.
fn check_sizes(manifest: &Manifest) -> Result<(), UploadError> {
    let mut known = BTreeMap::new();
    for (size, sha256) in manifest.files() {
        match known.insert(sha256, size) {
            Some(other) if other != size => return Err(two_sizes(sha256, other, size)),
            _ => {}
        }
    }
    if known.is_empty() { Err(UploadError::Wrong("it holds no file".to_owned())) } else { Ok(()) }
}

fn two_sizes(sha256: &Checksum, one: u64, other: u64) -> UploadError {
    UploadError::Wrong(format!("the content {sha256} cannot have both {one} and {other} bytes"))
}

fn touch(file: &Path) {
    // It only makes it live longer.
    let _ = File::open(file).and_then(|file| file.set_modified(SystemTime::now()));
}
