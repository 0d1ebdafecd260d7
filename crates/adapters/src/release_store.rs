//! Releases as directories of the state directory.
//!
//! `releases/SERVICE/ID/` holds `files/` (the artifact, read-only), `secrets/NAME` (the values, mode 0600) and
//! `release.json`. It appears under its name when it is whole and durable, and is never changed afterwards. The
//! identity is the hash of artifact, configuration and secret fingerprints; the version is only its name.

mod fingerprint;
mod identity;
mod secrets;
mod snapshot;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cutover_controller::ports::{PrepareError, ReleaseStore};
use cutover_core::ReleaseId;
use cutover_core::release::{DeploymentSpec, Release};

use self::fingerprint::FingerprintKey;
use self::secrets::ResolvedSecret;
use crate::durable_file;

/// Copies that are not whole yet; in `releases/`, so that the last step is a rename within one file system.
const UNFINISHED: &str = ".unfinished-";
/// Mode of the directories above a release's files: a program of another user has to pass through to them, and
/// needs no list of what else is there. What must stay secret has 0600 itself.
const PASSABLE: u32 = 0o711;
/// What stays free on the disk for journal and logs, whatever the artifact needs.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Keeps releases in the state directory.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    state_directory: PathBuf,
    releases: PathBuf,
    key: FingerprintKey,
}

impl DirectoryStore {
    /// The store of a state directory; makes the key for fingerprints on first use and removes the partial
    /// copies that a crash left.
    ///
    /// # Errors
    /// If the directory cannot be made or the key cannot be read.
    pub fn new(state_directory: &Path) -> io::Result<Self> {
        durable_file::create_directories(state_directory, 0o700)?;
        let state_directory = state_directory.canonicalize()?;
        let releases = state_directory.join("releases");
        durable_file::create_directory_with_mode(&releases, PASSABLE)?;
        for entry in fs::read_dir(&releases)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let key = FingerprintKey::of_host(&state_directory.join("secret-key"))?;
        Ok(Self { state_directory, releases, key })
    }

    fn snapshot(&self, spec: &DeploymentSpec, secrets: &[ResolvedSecret]) -> Result<Release, PrepareError> {
        let plan = snapshot::Plan::of(&spec.artifact, &self.state_directory)?;
        self.check_room(plan.bytes())?;
        let unfinished = Unfinished::make(&self.releases)?;
        let files = unfinished.path.join("files");
        let artifact = plan.copy_to(&files)?;
        let references: Vec<_> = secrets.iter().map(|secret| self.key.reference(secret)).collect();
        let id = identity::of(&artifact, &spec.configuration, &references);
        let directory = self.releases.join(spec.service.as_str()).join(id.as_str());
        let release = Release {
            id,
            version: spec.version.clone(),
            directory: directory.join("files"),
            artifact_bytes: plan.bytes(),
            configuration: spec.configuration.clone(),
            secrets: references,
        };
        if !directory.exists() {
            secrets::write(secrets, &unfinished.path.join("secrets"))?;
            unfinished.keep(&release, &directory)?;
        }
        self.open_for(spec.configuration.run.user.as_deref())?;
        Ok(release)
    }

    /// Refuses before the copy what would fill the disk that the journal is on.
    fn check_room(&self, bytes: u64) -> Result<(), PrepareError> {
        let disk = rustix::fs::statvfs(&self.releases).map_err(|error| host(&self.releases)(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = bytes.saturating_add(RESERVE_BYTES);
        if needed <= free {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        let figures = format!("it needs {} MiB with the reserve, {} MiB are free", mib(needed), mib(free));
        Err(host(&self.releases)(io::Error::new(io::ErrorKind::StorageFull, figures)))
    }

    /// Lets another user pass through the state directory, which stays unlistable.
    fn open_for(&self, user: Option<&str>) -> Result<(), PrepareError> {
        let found = user.and_then(|name| nix::unistd::User::from_name(name).ok().flatten());
        if found.is_none_or(|user| user.uid == nix::unistd::geteuid()) {
            return Ok(());
        }
        let path = &self.state_directory;
        let mode = fs::metadata(path).map_err(host(path))?.mode() & 0o7777;
        if mode & 0o001 == 0 {
            fs::set_permissions(path, PermissionsExt::from_mode(mode | 0o011)).map_err(host(path))?;
        }
        Ok(())
    }
}

#[async_trait]
impl ReleaseStore for DirectoryStore {
    async fn prepare(&self, spec: &DeploymentSpec) -> Result<Release, PrepareError> {
        let secrets = secrets::resolve(&spec.secrets).await?;
        let (store, spec) = (self.clone(), spec.clone());
        let path = spec.artifact.clone();
        let made = tokio::task::spawn_blocking(move || store.snapshot(&spec, &secrets)).await;
        made.unwrap_or_else(|error| Err(host(&path)(io::Error::other(error))))
    }
}

/// A release that is being made; removed unless it is kept.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn make(releases: &Path) -> Result<Self, PrepareError> {
        let mut random = [0; 8];
        fingerprint::fill_with_random_bytes(&mut random).map_err(host(releases))?;
        let path = releases.join(format!("{UNFINISHED}{}", hex::encode(random)));
        durable_file::create_directory_with_mode(&path, PASSABLE).map_err(host(&path))?;
        Ok(Self { path })
    }

    /// Makes it durable and gives it its name. If somebody made the same release meanwhile, that one stays.
    fn keep(self, release: &Release, directory: &Path) -> Result<(), PrepareError> {
        let record = serde_json::to_vec_pretty(release).map_err(io::Error::from).map_err(host(&self.path))?;
        durable_file::write(&self.path.join("release.json"), &record, 0o600).map_err(host(&self.path))?;
        let opened = fs::File::open(&self.path).map_err(host(&self.path))?;
        // One pass over the file system instead of one wait for each file.
        rustix::fs::syncfs(&opened).map_err(|error| host(&self.path)(error.into()))?;
        let service = directory.parent().unwrap_or(directory);
        durable_file::create_directory_with_mode(service, PASSABLE).map_err(host(service))?;
        match fs::rename(&self.path, directory) {
            Err(_) if directory.join("release.json").exists() => return Ok(()),
            result => result.map_err(host(directory))?,
        }
        let synced = durable_file::sync_directory(service)
            .and_then(|()| durable_file::sync_directory(service.parent().unwrap_or(service)));
        synced.map_err(host(service))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "a partial copy cannot be removed");
            }
            _ => {}
        }
    }
}

/// Says which path of the host was at fault.
fn host(path: &Path) -> impl Fn(io::Error) -> PrepareError {
    let path = path.to_owned();
    move |source| PrepareError::Host { path: path.clone(), source }
}

/// Says what the user has to change; the reason is about `what`.
fn wrong(reason: String, hint: &str) -> PrepareError {
    PrepareError::Wrong { reason, hint: Some(hint.to_owned()) }
}

/// The id as the content gives it, from its first sixteen hexadecimal digits.
fn release_id(digest: &[u8]) -> ReleaseId {
    // Sixteen lower-case hexadecimal digits always are a release id.
    match hex::encode(digest)[..16].parse() {
        Ok(id) => id,
        Err(error) => unreachable!("{error}"),
    }
}
