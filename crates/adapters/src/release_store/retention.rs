//! Which releases stay, and the removal of the others.
//!
//! A release is renamed away before anything of it is deleted, so that under its name it is whole or gone
//! whenever the controller or its host crashes. What a crash leaves is deleted by the next start or removal.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cutover_controller::ports::{KeepReleases, Mandate};
use cutover_core::{ReleaseId, ServiceName};

use super::{SECRETS, presence};
use crate::durable_file;

/// Releases on their way out; in `releases/`, so that the way there is a rename within one file system.
const REMOVED: &str = ".removed-";
/// How long a release that was prepared is kept although nobody may need it yet.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// Releases that this controller has prepared of late.
///
/// Between the preparation of a release and the record of its deployment nothing else says that it is needed.
/// A deployment that was not recorded dies with its controller, so this need not outlive it either; and by the
/// monotonic clock a jump of the time of day changes nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Reserved(Arc<Mutex<BTreeMap<PathBuf, Instant>>>);

impl Reserved {
    /// From here on the release in this directory is not removed for an hour.
    pub(super) fn reserve(&self, directory: &Path) {
        let now = Instant::now();
        let mut reserved = self.lock();
        reserved.retain(|_, since| now.duration_since(*since) < GRACE);
        reserved.insert(directory.to_owned(), now);
    }

    /// Renames a release away unless it is reserved or gone; whoever reserves it afterwards finds it gone. What a
    /// controller that has taken over reserves is not known here, so that the mandate is asked right before.
    fn set_aside(&self, directory: &Path, aside: &Path, mandate: &dyn Mandate) -> io::Result<bool> {
        let reserved = self.lock();
        if reserved.get(directory).is_some_and(|since| since.elapsed() < GRACE) {
            return Ok(false);
        }
        mandate.holds().map_err(io::Error::other)?;
        match fs::rename(directory, aside) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that a release was asked for now: the order of these times says which are the newest.
pub(super) fn touch(directory: &Path) -> io::Result<()> {
    File::open(directory)?.set_modified(SystemTime::now())
}

/// Removes what is neither needed, nor among the newest of the others, nor reserved, as long as the mandate holds.
pub(super) fn prune(
    releases: &Path,
    service: &ServiceName,
    needed: &[ReleaseId],
    keep: KeepReleases,
    reserved: &Reserved,
    mandate: &dyn Mandate,
) -> io::Result<usize> {
    remove_leftovers(releases, mandate)?;
    let of_service = releases.join(service.as_str());
    let mut others = Vec::new();
    for entry in entries(&of_service)? {
        let Some(id) = presence::id_of(&entry).filter(|id| !needed.contains(id)) else { continue };
        others.push((Reverse(entry.metadata()?.modified()?), id));
    }
    others.sort();
    let mut removed = 0;
    let now = SystemTime::now();
    for (Reverse(asked_for), id) in others.into_iter().skip(keep.count) {
        // A time in the future is one of a clock that was wrong.
        if now.duration_since(asked_for).is_ok_and(|age| age < keep.age) {
            continue;
        }
        let aside = releases.join(format!("{REMOVED}{service}-{id}"));
        if reserved.set_aside(&of_service.join(id.as_str()), &aside, mandate)? {
            // Before the first deletion, so that a loss of power brings back all of it or nothing.
            durable_file::sync_directory(&of_service)?;
            durable_file::sync_directory(releases)?;
            remove(&aside);
            removed += 1;
        }
    }
    Ok(removed)
}

/// Deletes what a crash left of releases that were being removed.
pub(super) fn remove_leftovers(releases: &Path, mandate: &dyn Mandate) -> io::Result<()> {
    for entry in fs::read_dir(releases).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(REMOVED.as_bytes()) {
            mandate.holds().map_err(io::Error::other)?;
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Deletes a release that has lost its name; what cannot be deleted is tried again later.
fn remove(aside: &Path) {
    // Secrets first: whatever stands in the way of the rest, they are gone.
    for path in [&aside.join(SECRETS), aside] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a removed release is still on the disk");
            }
            _ => {}
        }
    }
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
