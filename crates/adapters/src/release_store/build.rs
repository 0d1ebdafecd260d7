//! A release from contents that are on this host already: uploaded, or in the releases that are kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::{Checksum, EntryKind, Manifest};

use super::content::Kept;
use super::file::{self, Look};
use super::room::{self, Watch};
use super::snapshot::make_directory;
use super::uploads::Uploads;
use super::{host, wrong};

/// Makes the files that a manifest names in a directory that does not exist yet. Each is hashed again: what was here
/// may have been damaged since.
pub(super) fn build(
    manifest: &Manifest,
    files: &Path,
    uploads: &Uploads,
    kept: &Kept,
) -> Result<(), PrepareError> {
    manifest.check().map_err(|error| wrong(error.to_string(), "build the artifact again"))?;
    let disk = files.parent().unwrap_or(files);
    room::check(disk, manifest.bytes()).map_err(host(disk))?;
    make_directory(files)?;
    for entry in &manifest.entries {
        let to = files.join(&entry.path);
        match &entry.kind {
            EntryKind::Directory => make_directory(&to)?,
            EntryKind::File { executable, size: 0, modified, .. } => {
                let look = Look { executable: *executable, modified: file::time(*modified) };
                let mut watch = Watch::new(files);
                file::write(&mut std::io::empty(), &to, look, &mut watch)
                    .map_err(|trouble| host(&to)(trouble.into()))?;
            }
            EntryKind::File { executable, sha256, modified, .. } => {
                let look = Look { executable: *executable, modified: file::time(*modified) };
                one(sha256, &to, look, uploads, kept)?;
            }
            EntryKind::Link { target } => {
                std::os::unix::fs::symlink(target, &to).map_err(host(&to))?;
            }
        }
    }
    Ok(())
}

fn one(sha256: &Checksum, to: &Path, look: Look, uploads: &Uploads, kept: &Kept) -> Result<(), PrepareError> {
    let uploaded = uploads.content(sha256, None);
    let places: Vec<PathBuf> =
        uploaded.iter().cloned().chain(kept.file(sha256).map(Path::to_owned)).collect();
    for place in places {
        let Ok(mut source) = File::open(&place) else { continue };
        let (_, found) = file::copy(&mut source, to, look).map_err(|trouble| host(to)(trouble.into()))?;
        if found == *sha256 {
            return Ok(());
        }
        tracing::warn!(path = %place.display(), "this content is damaged");
        fs::remove_file(to).map_err(host(to))?;
        if uploaded.as_ref() == Some(&place) {
            uploads.discard(sha256);
        } else {
            uploads.is_damaged(&place);
        }
    }
    Err(wrong(
        format!("a content of the artifact, {sha256}, is not on the controller's host any more"),
        "deploy again: what is missing is sent then",
    ))
}
