//! Whether a release is there with all its parts.
//!
//! Its directory gets its name when everything in it is durable, so a crash leaves no half release. What can be
//! missing was deleted afterwards. A release is whole if its record can be read and names it, its files have
//! their directory, and each secret that it names has its file. The artifact's files are not looked at one by
//! one: that would read every release at each start, and what lacks its program is told when it is started.

use std::fs;
use std::io;
use std::path::Path;

use cutover_core::ReleaseId;
use cutover_core::release::Release;

use super::{FILES, RECORD, SECRETS};
use crate::durable_file;

/// Every release that is whole, of all services.
///
/// An error means that it could not be found out; a part that is not there is none.
pub(super) fn all_whole(releases: &Path) -> io::Result<Vec<ReleaseId>> {
    let mut found = Vec::new();
    for service in fs::read_dir(releases)? {
        let service = service?;
        if service.file_name().as_encoded_bytes().starts_with(b".") || !service.file_type()?.is_dir() {
            continue;
        }
        for release in fs::read_dir(service.path())? {
            let release = release?;
            let Some(id) = id_of(&release) else { continue };
            if is_whole(&release.path(), &id)? {
                found.push(id);
            } else {
                tracing::warn!(path = %release.path().display(), "a release lacks some of its parts");
            }
        }
    }
    Ok(found)
}

/// The release that a directory is named for.
pub(super) fn id_of(directory: &fs::DirEntry) -> Option<ReleaseId> {
    directory.file_name().to_str()?.parse().ok()
}

/// Whether nothing of this release is missing.
pub(super) fn is_whole(directory: &Path, id: &ReleaseId) -> io::Result<bool> {
    let record = match fs::read(directory.join(RECORD)) {
        Ok(record) => record,
        Err(error) if is_absent(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let Ok(release) = serde_json::from_slice::<Release>(&record) else {
        return Ok(false);
    };
    if release.id != *id || !is_there(&directory.join(FILES), fs::Metadata::is_dir)? {
        return Ok(false);
    }
    for secret in &release.secrets {
        if !is_there(&directory.join(SECRETS).join(&secret.name), fs::Metadata::is_file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The release as it was made, if nothing of it is missing.
pub(super) fn find(directory: &Path, id: &ReleaseId) -> io::Result<Option<Release>> {
    if !is_whole(directory, id)? {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&fs::read(directory.join(RECORD))?).ok())
}

/// Moves what a release lacks into its directory, from a whole copy of it. Its files stay if they are there.
pub(super) fn mend(copy: &Path, directory: &Path) -> io::Result<()> {
    if !is_there(&directory.join(FILES), fs::Metadata::is_dir)? {
        fs::rename(copy.join(FILES), directory.join(FILES))?;
    }
    // The former ones go with the rest of the copy. Instances have read them already.
    match fs::rename(directory.join(SECRETS), copy.join("former-secrets")) {
        Err(error) if !is_absent(&error) => return Err(error),
        _ => fs::rename(copy.join(SECRETS), directory.join(SECRETS))?,
    }
    fs::rename(copy.join(RECORD), directory.join(RECORD))?;
    durable_file::sync_directory(directory)
}

fn is_there(path: &Path, is_right: impl Fn(&fs::Metadata) -> bool) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(is_right(&metadata)),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
