//! Where an instance is told whether its environment is live.
//!
//! The proxy says it, because it holds the table by which clients are routed: it is right also while the controller is
//! dead, and after traffic was moved past it. For each service and environment it keeps a file that holds `live` or
//! `idle`, and it answers the same on a loopback address that it writes down beside them. Here is only what an instance
//! has to know of that.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use cutover_core::{Environment, ServiceName};
use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

/// The file with the loopback address that the proxy answers on.
pub(super) const ADDRESS: &str = "address";
/// Everybody may look into the directories.
const DIRECTORY: u32 = 0o755;
const DRAFT: &str = ".first";

/// Where the instances of an environment are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The file.
    pub(super) file: PathBuf,
    /// The URL, if the proxy has one.
    pub(super) url: Option<String>,
}

impl Told {
    pub(super) fn of(live: &Path, service: &ServiceName, environment: Environment) -> Self {
        let address = fs::read_to_string(live.join(ADDRESS)).ok();
        let address = address.as_deref().map(str::trim).filter(|address| !address.is_empty());
        Self {
            file: live.join(service.as_str()).join(environment.label()),
            url: address.map(|address| format!("http://{address}/{service}/{environment}")),
        }
    }
}

/// Says `idle` of an environment of which the proxy has not said anything yet: before the first release is routed to.
/// One at a time.
///
/// What lies below `live` may belong to the proxy's user: no link of theirs is followed, and what is made is given to
/// them.
pub(super) fn begin(live: &Path, service: &ServiceName, environment: Environment) -> io::Result<()> {
    let Told { file, .. } = Told::of(live, service, environment);
    if file.exists() {
        return Ok(());
    }
    let is_new = !live.exists();
    if is_new {
        DirBuilder::new().recursive(true).mode(DIRECTORY).create(live)?;
    }
    let root = File::open(live)?;
    if is_new {
        root.set_permissions(fs::Permissions::from_mode(DIRECTORY))?;
    }
    let owner = root.metadata()?;
    let give = |made: &File, mode: u32| {
        made.set_permissions(fs::Permissions::from_mode(mode))?;
        fchown(made, Some(owner.uid()), Some(owner.gid()))
    };
    let made = mkdirat(&root, service.as_str(), Mode::RWXU);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(openat(&root, service.as_str(), flags, Mode::empty())?);
    match made {
        Ok(()) => give(&directory, DIRECTORY)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // Whole from the first moment, and never over what the proxy has said meanwhile.
    let _ = unlinkat(&directory, DRAFT, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut draft = File::from(openat(&directory, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
    draft.write_all(b"idle\n")?;
    give(&draft, 0o644)?;
    let placed = linkat(&directory, DRAFT, &directory, environment.label(), AtFlags::empty());
    unlinkat(&directory, DRAFT, AtFlags::empty())?;
    match placed {
        Err(error) if error != Errno::EXIST => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_was_said_of_is_idle_and_what_was_said_stays() {
        let state = tempfile::tempdir().unwrap();
        let (live, service) = (state.path().join("live"), "shop".parse().unwrap());
        let file = Told::of(&live, &service, Environment::Blue).file;
        begin(&live, &service, Environment::Blue).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "idle\n");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o644);
        assert_eq!(file.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o755);
        fs::write(&file, "live\n").unwrap();
        begin(&live, &service, Environment::Blue).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "live\n");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_place_of_the_services_directory_is_not_followed() {
        let state = tempfile::tempdir().unwrap();
        let (live, elsewhere) = (state.path().join("live"), state.path().join("elsewhere"));
        fs::create_dir(&live).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, live.join("shop")).unwrap();
        assert!(begin(&live, &"shop".parse().unwrap(), Environment::Blue).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}
