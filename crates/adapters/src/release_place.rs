//! Where a release lies in a state directory, and what a host has to offer before its programs can get there; not an
//! adapter, only what the store and the executor both rely on.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cutover_core::release::Release;
use cutover_core::{ReleaseId, ServiceName};
use nix::unistd::{User, chown, geteuid};

use crate::durable_file;

/// Mode of the directories above what a program of another user uses: it has to pass through to it, and needs no list
/// of what else is there. What must stay secret has 0600 itself.
pub(crate) const PASSABLE: u32 = 0o711;
/// Of a shared directory: for the service alone, and for whoever is in its user's group.
const SHARED: u32 = 0o750;

/// The files of a release.
pub(crate) fn files(state_directory: &Path, service: &ServiceName, id: &ReleaseId) -> PathBuf {
    state_directory.join("releases").join(service.as_str()).join(id.as_str()).join("files")
}

/// Where the files of a release lie here. A record may name a directory of another host, or the former one of a state
/// directory that was restored or copied and is still there: what is outside of the own one is never used.
pub(crate) fn located(state_directory: &Path, service: &ServiceName, release: &Release) -> PathBuf {
    // One that is only looked at is not kept under its name.
    if release.directory.starts_with(state_directory.join("releases")) && release.directory.is_dir() {
        return release.directory.clone();
    }
    files(state_directory, service, &release.id)
}

/// The directories that outlive a service's releases.
pub(crate) fn shared(state_directory: &Path, service: &ServiceName) -> PathBuf {
    state_directory.join("shared").join(service.as_str())
}

/// Lets another user pass through the state directory, which stays unlistable.
pub(crate) fn open_for(state_directory: &Path, user: Option<&User>) -> io::Result<()> {
    if user.is_none_or(|user| user.uid == geteuid()) {
        return Ok(());
    }
    let mode = fs::metadata(state_directory)?.mode() & 0o7777;
    if mode & 0o001 == 0 {
        fs::set_permissions(state_directory, PermissionsExt::from_mode(mode | 0o011))?;
    }
    Ok(())
}

/// Makes a shared directory that is missing, for the user that the service runs as. One that exists stays as it is.
pub(crate) fn make_shared(of_service: &Path, path: &Path, user: Option<&User>) -> io::Result<()> {
    let directory = of_service.join(path);
    if directory.try_exists()? {
        return Ok(());
    }
    let top = of_service.parent().unwrap_or(of_service);
    let parents = directory.ancestors().skip(1).take_while(|above| above.starts_with(top));
    for above in parents.collect::<Vec<_>>().into_iter().rev() {
        if !above.exists() {
            durable_file::create_directory_with_mode(above, PASSABLE)?;
        }
    }
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        // An instance that is started at the same time makes it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    if let Some(user) = user.filter(|user| user.uid != geteuid()) {
        chown(&directory, Some(user.uid), Some(user.gid))?;
    }
    fs::set_permissions(&directory, PermissionsExt::from_mode(SHARED))
}
