//! What is there already: asked of files, of the user database and of systemd.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::setup::layout::{Layout, SetupError, USER};

/// Whether it is there with this text and mode.
pub(super) fn has_text(path: &Path, text: &[u8], mode: u32) -> bool {
    let found =
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o7777 == mode);
    found && fs::read(path).is_ok_and(|present| present == text)
}

/// The first line in which two texts differ, for a person: what is there, and what shall be.
pub(super) fn first_difference(present: &str, wanted: &str) -> String {
    let pairs = present.lines().map(Some).chain(std::iter::repeat(None));
    let wanted = wanted.lines().map(Some).chain(std::iter::repeat(None));
    let differs = pairs.zip(wanted).take(100_000).find(|(present, wanted)| present != wanted);
    match differs {
        Some((Some(present), Some(wanted))) => format!("has `{present}`, shall have `{wanted}`"),
        Some((Some(present), None)) => format!("has `{present}` beyond what it shall have"),
        Some((None, Some(wanted))) => format!("lacks `{wanted}`"),
        _ => "differs in white space or mode".to_owned(),
    }
}

/// The hash of a file's content; `None` if there is none.
pub(super) fn hash(path: &Path) -> Result<Option<[u8; 32]>, SetupError> {
    let failed = |source| SetupError::File { deed: "read", path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Some(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// What an installed binary calls itself.
pub(super) fn version_of(binary: &Path) -> Option<String> {
    let said = Command::new(binary).arg("--version").output().ok()?;
    Some(String::from_utf8(said.stdout).ok()?.trim().strip_prefix("cutover ")?.to_owned())
}

pub(super) fn has_user_and_group() -> bool {
    let user = nix::unistd::User::from_name(USER);
    let group = nix::unistd::Group::from_name(USER);
    matches!((user, group), (Ok(Some(_)), Ok(Some(_))))
}

/// Whether the directories are as `tmpfiles.d` says.
pub(super) fn has_directories(layout: &Layout) -> bool {
    let ids = nix::unistd::User::from_name(USER).ok().flatten();
    let Some((user, group)) = ids.map(|user| (user.uid.as_raw(), user.gid.as_raw())) else { return false };
    let is = |path: &Path, owner: u32, mode: u32| {
        fs::metadata(path).is_ok_and(|found| {
            found.is_dir() && (found.uid(), found.gid(), found.mode() & 0o7777) == (owner, group, mode)
        })
    };
    is(&layout.state, 0, 0o711)
        && is(&layout.state.join("proxy"), user, 0o700)
        && is(&layout.state.join("live"), user, 0o755)
}

/// What `systemctl` answers to a question by its exit code.
pub(super) fn systemctl(words: &[&str]) -> bool {
    Command::new("systemctl").arg("--quiet").args(words).output().is_ok_and(|said| said.status.success())
}

/// Whether systemd is what runs this host, as `sd_booted(3)` tells it.
pub(super) fn is_run_by_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
