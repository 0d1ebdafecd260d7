//! Bringing a backup back: everything is checked before anything is touched, and nothing is started.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cutover_controller::journal::{self, Transferred};
use serde::{Deserialize, Serialize};

use crate::backup::archive::{
    BackupError, CHECKSUMS, Checksums, FORMAT, HEADER, Hashing, Header, JOURNAL, SEALED, VERSION, checksum,
    failed, plain_path, read_all,
};
use crate::backup::holds_files;
use crate::backup::sealed::{self, Passphrase};
use crate::state_directory::StateDirectory;

const MARKER: &str = "restored.json";

/// Keeps a controller from starting what was live on another host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marker {
    #[serde(flatten)]
    pub(crate) header: Header,
    /// Whether all of the backup is there.
    #[serde(default)]
    pub(crate) complete: bool,
}

impl Marker {
    /// Where it lies in a state directory.
    pub(crate) fn path(state: &StateDirectory) -> PathBuf {
        state.path().join(MARKER)
    }

    /// What it says, if it can be read.
    pub(crate) fn read(state: &StateDirectory) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(state)).ok()?).ok()
    }

    /// Whole or not at all, also after a loss of power.
    fn write(&self, state: &StateDirectory) -> Result<(), BackupError> {
        let (path, partial) = (Self::path(state), state.path().join(format!(".{MARKER}.partial")));
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let written = fs::write(&partial, text)
            .and_then(|()| File::open(&partial)?.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .and_then(|()| File::open(state.path())?.sync_all());
        written.map_err(failed("write", &path))
    }
}

/// A backup that is whole, and what was to be decrypted of it.
pub(crate) struct Checked {
    file: File,
    pub(crate) header: Header,
    secrets: Option<Vec<u8>>,
}

/// What was brought back.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) journal: Transferred,
    pub(crate) releases: usize,
    pub(crate) secrets: bool,
}

impl Checked {
    /// Reads all of it once.
    ///
    /// # Errors
    /// If it is no backup, not whole, or the passphrase does not fit.
    pub(crate) fn check(
        mut file: File,
        passphrase: Option<&Passphrase>,
        without_secrets: bool,
    ) -> Result<Self, BackupError> {
        let damaged = |error: io::Error| BackupError::Damaged(error.to_string());
        let mut found = Checksums::new();
        let mut header = None;
        let mut sealed = None;
        let mut noted = None;
        let mut archive = tar::Archive::new(BufReader::new(&mut file));
        let entries = archive.entries().map_err(damaged)?;
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                // What a reader of archives says of something else altogether helps nobody.
                Err(_) if header.is_none() => {
                    return Err(BackupError::Foreign("it is not a tar archive".to_owned()));
                }
                Err(error) => return Err(damaged(error)),
            };
            let path = plain_path(&entry.path().map_err(damaged)?)?.to_string_lossy().into_owned();
            if header.is_none() {
                header = Some(read_header(&path, &mut entry, &mut found)?);
                continue;
            }
            if noted.is_some() {
                return Err(BackupError::Damaged("something stands behind its end".to_owned()));
            }
            match (entry.header().entry_type(), path.as_str()) {
                (tar::EntryType::Directory, _) => continue,
                (tar::EntryType::Symlink, _) => {
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    found.insert(path, checksum(&target));
                }
                (tar::EntryType::Regular, CHECKSUMS) => {
                    let text = read_all(&mut entry)?;
                    let read = serde_json::from_slice::<Checksums>(&text);
                    noted = Some(read.map_err(|error| BackupError::Damaged(error.to_string()))?);
                }
                (tar::EntryType::Regular, SEALED) => {
                    let bytes = read_all(&mut entry)?;
                    let beside = serde_json::to_vec(&found);
                    let beside = beside.map_err(|error| BackupError::Damaged(error.to_string()))?;
                    found.insert(path, checksum(&bytes));
                    sealed = Some((bytes, beside));
                }
                (tar::EntryType::Regular, _) => {
                    let mut entry = Hashing::new(entry);
                    io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
                    found.insert(path, entry.checksum());
                }
                (other, path) => return Err(BackupError::Damaged(format!("`{path}` is of kind {other:?}"))),
            }
        }
        let header = header.ok_or_else(|| BackupError::Foreign("it is empty".to_owned()))?;
        let noted = noted.ok_or_else(|| BackupError::Damaged("its end is missing".to_owned()))?;
        compare(&found, &noted)?;
        let secrets = match (sealed, passphrase) {
            (None, _) if header.secrets => {
                return Err(BackupError::Damaged("its secrets are missing".to_owned()));
            }
            _ if without_secrets => None,
            // What a passphrase protects vouches for all the rest: whoever has one expects that.
            (None, Some(_)) => return Err(BackupError::NothingSealed),
            (None, None) => None,
            (Some(_), None) => return Err(BackupError::NoPassphrase),
            (Some((bytes, beside)), Some(passphrase)) => Some(sealed::open(&bytes, &beside, passphrase)?),
        };
        file.rewind().map_err(damaged)?;
        Ok(Self { file, header, secrets })
    }

    /// Brings it into a state directory of which the caller has the lock. A controller starts nothing of it until
    /// the marker is gone.
    ///
    /// # Errors
    /// If the directory is in use already, or something cannot be written; the marker is there by then.
    pub(crate) fn restore(self, state: &StateDirectory) -> Result<Restored, BackupError> {
        refuse_if_occupied(state)?;
        let staging = state.path().join(".restoring");
        let _ = fs::remove_dir_all(&staging);
        make_directory(&staging)?;
        unpack(&self.file, &staging)?;
        if let Some(secrets) = &self.secrets {
            unpack(secrets.as_slice(), &staging)?;
        }
        let mut marker = Marker { header: self.header.clone(), complete: false };
        marker.write(state)?;
        for name in ["releases", "certificates", "secret-key", "notify"] {
            let (from, to) = (staging.join(name), state.path().join(name));
            if from.symlink_metadata().is_ok() {
                if name == "certificates" {
                    // A controller makes directories in it before it has any, and these hold no file.
                    let _ = fs::remove_dir_all(&to);
                }
                let _ = fs::remove_dir(&to);
                fs::rename(&from, &to).map_err(failed("write", &to))?;
            }
        }
        let exported = staging.join(JOURNAL);
        let lines = BufReader::new(File::open(&exported).map_err(failed("read", &exported))?);
        let journal = journal::import(&state.journal(), lines)?;
        fs::remove_dir_all(&staging).map_err(failed("remove", &staging))?;
        marker.complete = true;
        marker.write(state)?;
        let secrets = self.secrets.is_some();
        Ok(Restored { journal, releases: count_releases(state), secrets })
    }
}

fn read_header(path: &str, entry: &mut impl Read, found: &mut Checksums) -> Result<Header, BackupError> {
    if path != HEADER {
        return Err(BackupError::Foreign(format!("it begins with `{path}`")));
    }
    let bytes = read_all(entry)?;
    let header: Header =
        serde_json::from_slice(&bytes).map_err(|error| BackupError::Foreign(error.to_string()))?;
    if header.format != FORMAT {
        return Err(BackupError::Foreign(format!("it calls itself `{}`", header.format)));
    }
    if header.version > VERSION {
        return Err(BackupError::Newer { found: header.version, written_by: header.written_by });
    }
    found.insert(path.to_owned(), checksum(&bytes));
    Ok(header)
}

fn compare(found: &Checksums, noted: &Checksums) -> Result<(), BackupError> {
    if let Some((path, _)) = noted.iter().find(|(path, _)| !found.contains_key(*path)) {
        return Err(BackupError::Damaged(format!("`{path}` is missing")));
    }
    match found.iter().find(|(path, checksum)| noted.get(*path) != Some(checksum)) {
        Some((path, _)) => Err(BackupError::Damaged(format!("`{path}` was changed"))),
        None => Ok(()),
    }
}

fn refuse_if_occupied(state: &StateDirectory) -> Result<(), BackupError> {
    for (name, what) in [
        ("releases", "releases"),
        ("instances", "instances"),
        ("certificates", "certificates"),
        ("notify", "settings of `[notify]`"),
    ] {
        if holds_files(&state.path().join(name)) {
            return Err(BackupError::Occupied { path: state.path().to_owned(), what: what.to_owned() });
        }
    }
    if !state.journal().exists() {
        return Ok(());
    }
    // The journal of a controller that never had anything to record is no obstacle.
    let records = journal::export(&state.journal(), io::sink())?.records;
    match records {
        0 => Ok(()),
        records => Err(BackupError::Occupied {
            path: state.path().to_owned(),
            what: format!("a journal with {records} records"),
        }),
    }
}

/// Those of all services.
fn count_releases(state: &StateDirectory) -> usize {
    let services = fs::read_dir(state.path().join("releases")).into_iter().flatten().flatten();
    services.map(|service| count(&service.path())).sum()
}

fn count(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")).count()
}

fn make_directory(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path).map_err(failed("make", path))
}

/// Unpacks below a directory that nobody else reaches. A link may stand for anything, so nothing is written through
/// one.
fn unpack(from: impl Read, to: &Path) -> Result<(), BackupError> {
    let damaged = |error: io::Error| BackupError::Damaged(error.to_string());
    let mut archive = tar::Archive::new(BufReader::new(from));
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = plain_path(&entry.path().map_err(damaged)?)?;
        let name = path.to_string_lossy();
        if [HEADER, SEALED, CHECKSUMS].contains(&name.as_ref()) {
            continue;
        }
        for above in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let directory = to.join(above);
            match directory.symlink_metadata() {
                Ok(found) if found.is_dir() => {}
                Ok(_) => {
                    return Err(BackupError::Damaged(format!(
                        "`{name}` lies below something that is no directory"
                    )));
                }
                Err(_) => {
                    make_directory(&directory)?;
                    // Programs of other users pass through to their files.
                    if above.starts_with("releases") {
                        modes.push((directory.clone(), 0o711));
                    }
                }
            }
        }
        let target = to.join(&path);
        let mode = entry.header().mode().map_err(damaged)? & 0o777;
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                if !target.is_dir() {
                    make_directory(&target)?;
                }
                modes.push((target, mode));
            }
            tar::EntryType::Symlink => {
                let link = entry.link_name().map_err(damaged)?.unwrap_or_default().into_owned();
                std::os::unix::fs::symlink(link, &target).map_err(failed("write", &target))?;
            }
            _ => {
                let file = File::options().write(true).create_new(true).mode(0o600).open(&target);
                let mut file = file.map_err(failed("write", &target))?;
                io::copy(&mut entry, &mut file).map_err(failed("write", &target))?;
                file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed("write", &target))?;
                file.sync_all().map_err(failed("write", &target))?;
            }
        }
    }
    // Last, for nothing could be written into a directory that is read-only.
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed("write", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::archive::Writer;

    #[test]
    fn what_is_sealed_may_be_as_large_as_it_was_when_it_was_saved() {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(&mut file);
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            written_by: "1".to_owned(),
            host: "box".to_owned(),
            at_ms: 0,
            state_directory: "/".into(),
            artifacts: false,
            secrets: true,
        };
        writer.bytes(HEADER, &serde_json::to_vec(&header).unwrap()).unwrap();
        writer.bytes(SEALED, &vec![7; 65 * 1024 * 1024]).unwrap();
        writer.finish().unwrap();
        file.rewind().unwrap();
        assert!(Checked::check(file, None, true).is_ok());
    }
}
