//! The artifact as it lies here: what it is, and where each of its contents can be read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cutover_adapters::release_store::{describe, uploads::Offer};
use cutover_controller::ports::PrepareError;
use cutover_core::artifact::{ArtifactSource, Checksum, EntryKind};
use tokio::task::spawn_blocking;

use super::{Step, Watcher};

/// How often whoever watches is told.
const TELL: Duration = Duration::from_millis(100);

/// What is here of an artifact.
#[derive(Debug)]
pub(super) struct Local {
    offer: Offer,
    places: HashMap<Checksum, Place>,
}

/// Where a content lies, and how its file was when it was hashed.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    size: u64,
    modified: SystemTime,
}

impl Place {
    fn of(path: PathBuf) -> io::Result<Self> {
        let found = fs::symlink_metadata(&path)?;
        Ok(Self { path, size: found.len(), modified: found.modified()? })
    }

    /// Whether the file still looks as it did.
    pub(super) fn is_as_it_was(&self) -> bool {
        let found = fs::symlink_metadata(&self.path).and_then(|found| Ok((found.len(), found.modified()?)));
        found.is_ok_and(|found| found == (self.size, self.modified))
    }

    /// What is said when it does not.
    pub(super) fn changed(&self) -> PrepareError {
        wrong(
            format!("`{}` was changed while it was sent", self.path.display()),
            "deploy again when its build has ended",
        )
    }
}

impl Local {
    /// Reads what lies here; `None` for what the controller fetches itself or has already.
    pub(super) async fn of(
        source: &ArtifactSource,
        exclude: &[String],
        watcher: Watcher<'_>,
    ) -> Result<Option<Self>, PrepareError> {
        let read = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&read);
        let reading = match source.clone() {
            ArtifactSource::Directory(root) => {
                let exclude = exclude.to_vec();
                spawn_blocking(move || Self::tree(&root, &exclude, &counting))
            }
            ArtifactSource::Archive { path, sha256 } => {
                spawn_blocking(move || Self::archive(&path, sha256.as_ref(), &counting))
            }
            ArtifactSource::Url { .. } | ArtifactSource::Uploaded { .. } => return Ok(None),
        };
        let mut reading = reading;
        let mut telling = tokio::time::interval(TELL);
        loop {
            tokio::select! {
                local = &mut reading => {
                    let local = local.unwrap_or_else(|error| Err(host(Path::new("/"), io::Error::other(error))));
                    return local.map(Some);
                }
                _ = telling.tick() => watcher(Step::Read { bytes: read.load(Ordering::Relaxed) }),
            }
        }
    }

    fn tree(root: &Path, exclude: &[String], read: &AtomicU64) -> Result<Self, PrepareError> {
        let manifest = describe(root, exclude, &mut |bytes| {
            read.fetch_add(bytes, Ordering::Relaxed);
        })?;
        let mut places = HashMap::new();
        for entry in &manifest.entries {
            if entry.path.to_str().is_none() {
                let reason = format!("the name `{}` is not UTF-8, and cannot be sent", entry.path.display());
                return Err(wrong(reason, "rename it, or pack the artifact as a tar archive"));
            }
            if let EntryKind::File { size, sha256, .. } = &entry.kind {
                let path = root.join(&entry.path);
                let place = Place::of(path.clone()).map_err(|error| host(&path, error))?;
                if place.size != *size {
                    return Err(place.changed());
                }
                places.insert(sha256.clone(), place);
            }
        }
        Ok(Self { offer: Offer::Tree { manifest }, places })
    }

    fn archive(path: &Path, wanted: Option<&Checksum>, read: &AtomicU64) -> Result<Self, PrepareError> {
        let place = Place::of(path.to_owned()).map_err(|error| host(path, error))?;
        let file = File::open(path).map_err(|error| host(path, error))?;
        let mut counted = Counted { file, read };
        let (size, sha256) =
            cutover_adapters::release_store::checksum(&mut counted).map_err(|error| host(path, error))?;
        if size != place.size || !place.is_as_it_was() {
            return Err(wrong(
                format!("`{}` was changed while it was read", path.display()),
                "deploy again when its build has ended",
            ));
        }
        cutover_adapters::release_store::refuse_another(&format!("`{}`", path.display()), &sha256, wanted)?;
        let places = HashMap::from([(sha256.clone(), place)]);
        Ok(Self { offer: Offer::Archive { sha256, size }, places })
    }

    pub(super) fn offer(&self) -> &Offer {
        &self.offer
    }

    pub(super) fn place(&self, sha256: &Checksum) -> Option<&Place> {
        self.places.get(sha256)
    }

    pub(super) fn files(&self) -> usize {
        match &self.offer {
            Offer::Tree { manifest } => manifest.files().count(),
            Offer::Archive { .. } => 1,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.offer {
            Offer::Tree { manifest } => manifest.bytes(),
            Offer::Archive { size, .. } => *size,
        }
    }
}

struct Counted<'a> {
    file: File,
    read: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

pub(super) fn wrong(reason: String, hint: &str) -> PrepareError {
    PrepareError::Wrong { reason, hint: Some(hint.to_owned()) }
}

pub(super) fn host(path: &Path, source: io::Error) -> PrepareError {
    PrepareError::Host { path: path.to_owned(), source }
}
