//! Which state directory a process belongs to.
//!
//! Instance ids are unique within a state directory only: a journal that was imported into a second one names the
//! same instances. So what is started for an instance carries the identity of its state directory too.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// The variable with the id, in the environments of programs and supervisors.
pub(super) const VARIABLE: &str = "CUTOVER_STATE_ID";

/// What tells a state directory from all others of this host, and is no secret: device, inode and, where the file
/// system keeps it, the time of its making.
///
/// It stays when the directory is renamed or mounted at another place, and a copy has another one. Nothing is
/// written for it, so that a full disk is no obstacle. The device may change with a restart of the host, which no
/// process survives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateId(String);

impl StateId {
    /// The id of a state directory that exists.
    pub(super) fn of(state_directory: &Path) -> io::Result<Self> {
        let found = fs::metadata(state_directory)?;
        let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let made = made.map_or(0, |made| made.as_nanos());
        Ok(Self(format!("{:x}-{:x}-{made:x}", found.dev(), found.ino())))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The state directory that an instance was planned for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Home {
    pub(super) id: StateId,
    /// Where it was then.
    pub(super) path: PathBuf,
}

impl Home {
    /// Whether the plan is surely another state directory's and was only copied to this one: that other one is
    /// still in its place. If it is not, this one was moved or brought back from a backup, and what the records
    /// tell is its own.
    pub(super) fn is_elsewhere(&self, own: &StateId) -> bool {
        self.id != *own && StateId::of(&self.path).is_ok_and(|found| found == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_keeps_its_id_when_it_is_renamed_and_another_in_its_place_has_another() {
        let directory = tempfile::tempdir().unwrap();
        let (path, renamed) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir(&path).unwrap();
        let home = Home { id: StateId::of(&path).unwrap(), path: path.clone() };
        fs::rename(&path, &renamed).unwrap();
        assert_eq!(StateId::of(&renamed).unwrap(), home.id);
        fs::create_dir(&path).unwrap();
        let other = StateId::of(&path).unwrap();
        assert_ne!(other, home.id);
        assert!(!home.is_elsewhere(&other));
        fs::remove_dir(&path).unwrap();
        fs::rename(&renamed, &path).unwrap();
        assert!(home.is_elsewhere(&other) && !home.is_elsewhere(&home.id));
    }
}
