//! The shelf: certificates in files, where the proxy looks for them, and what is remembered of each.
//!
//! Under `certificates/` of the state directory: `served/NAME.pem` is a chain with its key behind it, in one file so that
//! they are never of two certificates, and `served/NAME.ocsp` the answer that is stapled to it; these are for the proxy.
//! `NAME.json` is how the certificate stands, for the controller alone. Accounts at authorities lie in `accounts/`, which
//! is another adapter's.
//!
//! Reading order: `pem` takes files apart, `staging` judges those that somebody else looks after.

mod pem;
mod staging;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cutover_controller::ports::{CertificateShelf, Issued, PortError, Staged};
use cutover_core::Timestamp;
use cutover_core::certificates::{CertificateFacts, Standing};
use cutover_core::tls::CertificateFiles;
use cutover_tls::{Facts, Pair};

use crate::certificates::staging::Known;
use crate::durable_file;
use crate::readers::Readers;

/// The shelf of a state directory.
#[derive(Debug, Clone)]
pub struct DirectoryShelf(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    directory: PathBuf,
    served: PathBuf,
    readers: Readers,
    /// What was read of the files in `served`, so that those that stay are not read again.
    read: Mutex<HashMap<String, (Stamp, Option<CertificateFacts>)>>,
    /// What is known of the files of others, by name.
    staged: Mutex<HashMap<String, Known>>,
}

/// What of a file changes when its content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        let modified = (found.mtime(), found.mtime_nsec());
        Self { device: found.dev(), inode: found.ino(), size: found.len(), modified }
    }
}

impl DirectoryShelf {
    /// Makes the directories that are missing, and gives all that is on the shelf to these readers: an installation may
    /// have changed since.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn open(state_directory: &Path, readers: Readers) -> io::Result<Self> {
        let directory = state_directory.join("certificates");
        let served = directory.join("served");
        durable_file::create_directory_with_mode(&directory, readers.directory_mode())?;
        durable_file::create_directory_with_mode(&served, readers.directory_mode())?;
        for entry in fs::read_dir(&served)? {
            fs::set_permissions(entry?.path(), PermissionsExt::from_mode(readers.mode()))?;
        }
        let (read, staged) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Shelf { directory, served, readers, read, staged })))
    }

    /// Files may lie on disks that are slow.
    async fn with<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&Shelf) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let shelf = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || deed(&shelf)).await;
        done.unwrap_or_else(|_| Err(PortError::new("the shelf of certificates has failed by a bug")))
    }
}

#[async_trait]
impl CertificateShelf for DirectoryShelf {
    async fn look(&self) -> Result<BTreeMap<String, CertificateFacts>, PortError> {
        self.with(Shelf::look).await
    }

    async fn put(&self, name: &str, issued: &Issued) -> Result<CertificateFacts, PortError> {
        let (name, issued) = (name.to_owned(), issued.clone());
        self.with(move |shelf| {
            let whole = pem::whole(issued.chain.as_bytes(), issued.key.expose().as_bytes());
            shelf.write(&name, &whole, None)
        })
        .await
    }

    async fn chain(&self, name: &str) -> Result<Option<String>, PortError> {
        let name = name.to_owned();
        self.with(move |shelf| {
            let path = shelf.pem(&name);
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(pem::certificates(&bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("read", &path, &error)),
            }
        })
        .await
    }

    async fn stage(
        &self,
        name: &str,
        files: &CertificateFiles,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<Staged, PortError> {
        let (name, files, hosts) = (name.to_owned(), files.clone(), hosts.to_vec());
        self.with(move |shelf| shelf.stage(&name, &files, &hosts, now)).await
    }

    async fn take_off(&self, name: &str) -> Result<(), PortError> {
        let name = name.to_owned();
        self.with(move |shelf| shelf.take_off(&name)).await
    }

    async fn recorded(&self) -> Result<Vec<Standing>, PortError> {
        self.with(Shelf::recorded).await
    }

    async fn record(&self, standing: &Standing) -> Result<(), PortError> {
        let standing = standing.clone();
        self.with(move |shelf| {
            let path = shelf.json(&standing.name);
            let written = serde_json::to_vec_pretty(&standing).map_err(io::Error::from);
            let written = written.and_then(|bytes| durable_file::write(&path, &bytes, 0o600));
            written.map_err(|error| failed("write", &path, &error))
        })
        .await
    }
}

impl Shelf {
    fn look(&self) -> Result<BTreeMap<String, CertificateFacts>, PortError> {
        let failed = |error: io::Error| failed("look at", &self.served, &error);
        let mut read = locked(&self.read);
        let mut found = HashMap::new();
        for entry in fs::read_dir(&self.served).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(name) = name_of(&path, "pem") else { continue };
            // One that is taken off in this moment is not there.
            let Ok(stamp) = fs::metadata(&path).map(|found| Stamp::from(&found)) else { continue };
            let known = read.remove(&name).filter(|(known, _)| *known == stamp);
            let facts = match known {
                Some((_, facts)) => facts,
                None => match fs::read(&path) {
                    Ok(bytes) => facts(&bytes)
                        .inspect_err(
                            |reason| tracing::warn!(path = %path.display(), reason, "this is not served"),
                        )
                        .ok(),
                    Err(_) => continue,
                },
            };
            found.insert(name, (stamp, facts));
        }
        *read = found;
        Ok(read.iter().filter_map(|(name, (_, facts))| Some((name.clone(), facts.clone()?))).collect())
    }

    /// Puts a chain with its key there, and what is stapled to it.
    fn write(&self, name: &str, whole: &[u8], staple: Option<&[u8]>) -> Result<CertificateFacts, PortError> {
        let facts =
            facts(whole).map_err(|reason| PortError::new(format!("`{name}` cannot be served: {reason}")))?;
        let (path, stapled) = (self.pem(name), self.ocsp(name));
        if !fs::read(&path).is_ok_and(|there| there == whole) {
            // A staple of another certificate is worse than none.
            remove(&stapled)?;
            self.give(&path, whole)?;
        }
        match staple {
            Some(staple) => self.give(&stapled, staple)?,
            None => remove(&stapled)?,
        }
        Ok(facts)
    }

    /// Writes a file for the readers of the shelf.
    fn give(&self, path: &Path, content: &[u8]) -> Result<(), PortError> {
        let mode = self.readers.mode();
        // The umask takes away from what a new file is given.
        let written = durable_file::write(path, content, mode)
            .and_then(|()| fs::set_permissions(path, PermissionsExt::from_mode(mode)));
        written.map_err(|error| failed("write", path, &error))
    }

    fn take_off(&self, name: &str) -> Result<(), PortError> {
        locked(&self.staged).remove(name);
        for path in [self.pem(name), self.ocsp(name)] {
            remove(&path)?;
        }
        let synced = durable_file::sync_directory(&self.served);
        synced.map_err(|error| failed("change", &self.served, &error))?;
        // Last, so that after a crash it is known still what has to go.
        remove(&self.json(name))
    }

    fn recorded(&self) -> Result<Vec<Standing>, PortError> {
        let failed = |error: io::Error| failed("look at", &self.directory, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(name) = name_of(&path, "json") else { continue };
            let read = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Standing>(&bytes).ok());
            match read.filter(|standing| standing.name == name) {
                Some(standing) => found.push(standing),
                None => tracing::warn!(path = %path.display(), "how this certificate stood cannot be read"),
            }
        }
        Ok(found)
    }

    fn pem(&self, name: &str) -> PathBuf {
        self.served.join(format!("{name}.pem"))
    }

    fn ocsp(&self, name: &str) -> PathBuf {
        self.served.join(format!("{name}.ocsp"))
    }

    fn json(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

/// What a chain with its key says, if both can be used.
fn facts(whole: &[u8]) -> Result<CertificateFacts, String> {
    let pair = Pair::from_pem(whole, whole).map_err(|error| error.to_string())?;
    let Facts { names, not_before, not_after, issuer, fingerprint, .. } = pair.facts().clone();
    Ok(CertificateFacts { names, not_before, not_after, issuer, fingerprint })
}

/// The name in the name of a file; those that are only being written have none.
fn name_of(path: &Path, extension: &str) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(extension)?.strip_suffix('.')?;
    (!name.starts_with('.')).then(|| name.to_owned())
}

fn remove(path: &Path) -> Result<(), PortError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> PortError {
    PortError::new(format!("cannot {what} `{}`: {error}", path.display()))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
