//! Making a backup, also while a controller runs.

use std::io::{self, Write};
use std::path::Path;

use cutover_controller::journal::{self, Head};

use crate::backup::archive::{BackupError, FORMAT, HEADER, Header, JOURNAL, SEALED, VERSION, Writer, failed};
use crate::backup::holds_files;
use crate::backup::sealed::{self, Passphrase};
use crate::state_directory::StateDirectory;

/// What shall be in it.
pub(crate) struct Wanted {
    /// The files of releases, with which they can be started elsewhere at once.
    pub(crate) artifacts: bool,
    /// Secrets and certificates, encrypted with it.
    pub(crate) passphrase: Option<Passphrase>,
    pub(crate) host: String,
    pub(crate) at_ms: u64,
}

/// What is in it.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) records: u64,
    pub(crate) head: Head,
    pub(crate) releases: usize,
    /// Whether there are any, also if they were left out.
    pub(crate) has_secrets: bool,
}

/// Writes a backup of a state directory.
///
/// # Errors
/// If something of it cannot be read or written; what was written by then is no backup.
pub(crate) fn save(state: &StateDirectory, wanted: &Wanted, to: impl Write) -> Result<Saved, BackupError> {
    let mut archive = Writer::new(to);
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        host: wanted.host.clone(),
        at_ms: wanted.at_ms,
        state_directory: state.path().to_owned(),
        artifacts: wanted.artifacts,
        secrets: wanted.passphrase.is_some(),
    };
    let header = serde_json::to_vec_pretty(&header).map_err(|error| write_failed()(error.into()))?;
    archive.bytes(HEADER, &header).map_err(write_failed())?;

    // One read transaction: a moment of the journal, whatever is recorded meanwhile. Releases that it names are not
    // removed for being old in the time that follows.
    let mut exported =
        tempfile::NamedTempFile::new().map_err(failed("make a file in", &std::env::temp_dir()))?;
    let done = journal::export(&state.journal(), io::BufWriter::new(exported.as_file_mut()))?;
    archive.copy(exported.path(), JOURNAL).map_err(write_failed())?;

    let mut secrets = Writer::new(Vec::new());
    let mut saved = Saved { records: done.records, head: done.head, releases: 0, has_secrets: false };
    let releases = state.path().join("releases");
    for service in names(&releases)? {
        for release in names(&releases.join(&service))? {
            let (from, path) =
                (releases.join(&service).join(&release), format!("releases/{service}/{release}"));
            if !from.join("release.json").exists() {
                continue;
            }
            let read = failed("read", &from);
            archive.copy(&from.join("release.json"), &format!("{path}/release.json")).map_err(read)?;
            if wanted.artifacts {
                archive.tree(&from.join("files"), &format!("{path}/files")).map_err(failed("read", &from))?;
            }
            saved.has_secrets |= !names(&from.join("secrets"))?.is_empty();
            add(&mut secrets, &from.join("secrets"), &format!("{path}/secrets"))?;
            saved.releases += 1;
        }
    }
    let certificates = state.path().join("certificates");
    saved.has_secrets |= holds_files(&certificates);
    add(&mut secrets, &certificates, "certificates")?;
    add(&mut secrets, &state.path().join("secret-key"), "secret-key")?;
    for service in names(&state.path().join("notify"))? {
        // Who is told, with the secrets that this takes; what waits to be told is news of this host.
        let path = format!("notify/{service}/settings.json");
        saved.has_secrets |= state.path().join(&path).exists();
        add(&mut secrets, &state.path().join(&path), &path)?;
    }
    if let Some(passphrase) = &wanted.passphrase {
        let plain = secrets.finish().map_err(write_failed())?;
        let beside = serde_json::to_vec(&archive.checksums).map_err(|error| write_failed()(error.into()))?;
        let sealed = sealed::seal(&plain, &beside, passphrase)?;
        archive.bytes(SEALED, &sealed).map_err(write_failed())?;
    }
    archive.finish().and_then(|mut to| to.flush()).map_err(write_failed())?;
    Ok(saved)
}

fn write_failed() -> impl FnOnce(io::Error) -> BackupError {
    failed("write", Path::new("the backup"))
}

/// What is there, if it is.
fn add(archive: &mut Writer<Vec<u8>>, from: &Path, path: &str) -> Result<(), BackupError> {
    match from.symlink_metadata() {
        Ok(found) if found.is_dir() => archive.tree(from, path).map_err(failed("read", from)),
        Ok(_) => archive.copy(from, path).map_err(failed("read", from)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("read", from)(error)),
    }
}

/// The visible names in a directory, in order; none if it is not there.
fn names(directory: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", directory)(error)),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    Ok(names)
}
