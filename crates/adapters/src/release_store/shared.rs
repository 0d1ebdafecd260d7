//! Directories of a service that outlive its releases, linked into each of them.
//!
//! They lie in `shared/SERVICE/` of the state directory, belong to the user that the service runs as, and are never
//! removed by cutover: what is in them is nobody's but the service's. Both environments see the same one at once.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::manifest::{member_path, shown};
use cutover_core::artifact::{Entry, EntryKind, Manifest};
use cutover_core::release::DeploymentSpec;
use nix::unistd::{Uid, User};

use super::{host, wrong};
use crate::{durable_file, release_place};

/// Refuses what could not be shared with a release of these files, and does nothing.
pub(super) fn check(
    spec: &DeploymentSpec,
    manifest: &Manifest,
    state_directory: &Path,
) -> Result<(), PrepareError> {
    each(spec, state_directory, |path, directory, user| {
        check_way(manifest, path, directory)?;
        is_there(directory, user).map(drop)
    })
}

/// Makes the directories that are missing, and links each into the files of a release that is being made.
pub(super) fn link(
    spec: &DeploymentSpec,
    manifest: &Manifest,
    files: &Path,
    state_directory: &Path,
) -> Result<(), PrepareError> {
    check(spec, manifest, state_directory)?;
    each(spec, state_directory, |path, directory, user| {
        make_way(path, files)?;
        if !is_there(directory, user)? {
            let of_service = release_place::shared(state_directory, &spec.service);
            release_place::make_shared(&of_service, path, user).map_err(host(directory))?;
        }
        let link = files.join(path);
        std::os::unix::fs::symlink(way(path, &spec.service), &link).map_err(host(&link))
    })
}

/// Does it for each directory that is wanted: its place in the release, where it lies, whose it is.
fn each(
    spec: &DeploymentSpec,
    state_directory: &Path,
    mut deed: impl FnMut(&Path, &Path, Option<&User>) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    let of_service = release_place::shared(state_directory, &spec.service);
    let run = &spec.configuration.run;
    // Whether there is such a user is said when the host is looked at, before anything is started.
    let user = run.user.as_deref().and_then(|name| User::from_name(name).ok().flatten());
    for wanted in &run.shared {
        let hint = "a shared directory is named relative to the artifact, such as `uploads`";
        let path = member_path(wanted).map_err(|error| wrong(error.to_string(), hint))?;
        let path = path.ok_or_else(|| wrong("the artifact itself cannot be shared".to_owned(), hint))?;
        deed(&path, &of_service.join(&path), user.as_ref())?;
    }
    Ok(())
}

/// From where the link lies to the directory. Relative, so that it holds in a state directory that was moved.
fn way(path: &Path, service: &cutover_core::ServiceName) -> PathBuf {
    // Out of the directories above it in the release, of `files`, the release, its service, and `releases`.
    let up = path.components().count() - 1 + 4;
    let mut way: PathBuf = std::iter::repeat_n("..", up).collect();
    way.push("shared");
    way.push(service.as_str());
    way.push(path);
    way
}

/// Refuses what would hide files of the artifact.
fn check_way(manifest: &Manifest, path: &Path, directory: &Path) -> Result<(), PrepareError> {
    for Entry { path: other, kind } in &manifest.entries {
        if other.starts_with(path) && (other != path || *kind != EntryKind::Directory) {
            let reason = format!("`{}` is shared, and the artifact has `{}`", shown(path), shown(other));
            let directory = directory.display();
            let hint =
                format!("leave it out of the artifact; what shall be in it once goes to `{directory}`");
            return Err(wrong(reason, &hint));
        }
        if path.starts_with(other) && *kind != EntryKind::Directory {
            let reason = format!(
                "`{}` is shared, and `{}` in the artifact is not a directory",
                shown(path),
                shown(other)
            );
            return Err(wrong(reason, "name another directory in `shared`, or leave it out of the artifact"));
        }
    }
    Ok(())
}

/// An empty directory gives way.
fn make_way(path: &Path, files: &Path) -> Result<(), PrepareError> {
    let link = files.join(path);
    let parent = link.parent().unwrap_or(files);
    durable_file::create_directories(parent, 0o755).map_err(host(parent))?;
    match fs::remove_dir(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(host(&link)(error)),
        _ => Ok(()),
    }
}

/// Whether there is the directory; if so, it is one of the user that the service runs as.
fn is_there(directory: &Path, user: Option<&User>) -> Result<bool, PrepareError> {
    let owner = user.map_or_else(nix::unistd::geteuid, |user| user.uid);
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => Err(wrong(
            format!("the shared `{}` is not a directory", directory.display()),
            "move it away; the next deployment makes the directory",
        )),
        Ok(found) if found.uid() != owner.as_raw() => {
            let name = |uid: Uid| {
                User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
            };
            let (theirs, ours) = (name(Uid::from_raw(found.uid())), name(owner));
            let directory = directory.display();
            let reason = format!(
                "the shared directory `{directory}` belongs to `{theirs}`, and the service runs as `{ours}`"
            );
            Err(wrong(reason, &format!("on the controller's host: `chown -R {ours} {directory}`")))
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(host(directory)(error)),
    }
}
