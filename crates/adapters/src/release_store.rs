//! Releases as directories of the state directory.
//!
//! `releases/SERVICE/ID/` holds `files/` (the artifact, read-only), `secrets/NAME` (the values, mode 0600) and
//! `release.json`. It appears under its name when it is whole and durable, and is never changed afterwards. The
//! identity is the hash of artifact, configuration and secret fingerprints; the version is only its name. Each
//! release has a copy of its artifact to itself, so that one can be removed without a look at the others.

mod archive;
mod build;
mod content;
mod exclude;
mod fetch;
mod file;
mod fingerprint;
mod identity;
mod presence;
mod program;
mod retention;
mod room;
mod secrets;
mod shared;
mod snapshot;
mod tree;
pub mod uploads;

pub use content::refuse_another;
pub use exclude::{Exclude, secrets_in};
pub use file::hash as checksum;
pub use snapshot::{describe, measure};
pub use tree::hash;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cutover_controller::ports::{
    KeepReleases, Mandate, PortError, PrepareError, Rehearsal, Rehearsed, ReleaseStore,
};
use cutover_core::artifact::{ArtifactSource, Checksum, Manifest, UploadId};
use cutover_core::release::{DeploymentSpec, Release};
use cutover_core::{ReleaseId, ServiceName};
use tokio::task::spawn_blocking;

use self::content::Content;
use self::fingerprint::FingerprintKey;
use self::retention::Reserved;
use self::secrets::ResolvedSecret;
use self::uploads::{Offer, UploadError, Uploads};
use crate::durable_file;
use crate::release_place::{self, PASSABLE};

/// What a release consists of, in its directory.
const FILES: &str = "files";
const SECRETS: &str = "secrets";
const RECORD: &str = "release.json";
/// Copies that are not whole yet; in `releases/`, so that the last step is a rename within one file system.
const UNFINISHED: &str = ".unfinished-";
/// Keeps releases in the state directory.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    state_directory: PathBuf,
    releases: PathBuf,
    key: FingerprintKey,
    /// Asked right before a release is removed.
    mandate: Arc<dyn Mandate>,
    reserved: Reserved,
    uploads: Uploads,
}

impl DirectoryStore {
    /// The store of a state directory; makes the key for fingerprints on first use and removes the partial
    /// copies that a crash left, of releases that were being made or removed. It removes nothing any more when the
    /// mandate holds no longer.
    ///
    /// # Errors
    /// If the directory cannot be made, the key cannot be read, or the mandate does not hold.
    pub fn new(state_directory: &Path, mandate: Arc<dyn Mandate>) -> io::Result<Self> {
        durable_file::create_directories(state_directory, 0o700)?;
        let state_directory = state_directory.canonicalize()?;
        let releases = state_directory.join("releases");
        durable_file::create_directory_with_mode(&releases, PASSABLE)?;
        for entry in fs::read_dir(&releases)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                mandate.holds().map_err(io::Error::other)?;
                fs::remove_dir_all(entry.path())?;
            }
        }
        retention::remove_leftovers(&releases, &*mandate)?;
        let key = FingerprintKey::of_host(&state_directory.join("secret-key"))?;
        let uploads = Uploads::new(&state_directory, &releases)?;
        Ok(Self { state_directory, releases, key, mandate, reserved: Reserved::default(), uploads })
    }

    /// What comes from other hosts.
    #[must_use]
    pub fn uploads(&self) -> Uploads {
        self.uploads.clone()
    }

    fn snapshot(&self, spec: &DeploymentSpec, secrets: &[ResolvedSecret]) -> Result<Release, PrepareError> {
        let unfinished = Unfinished::make(&self.releases)?;
        let files = unfinished.path.join(FILES);
        let content = self.bring(spec, &files)?;
        program::check(spec, &content, &files)?;
        shared::link(spec, &content.manifest, &files, &self.state_directory)?;
        let references: Vec<_> = secrets.iter().map(|secret| self.key.reference(secret)).collect();
        let artifact = tree::hash(&content.manifest);
        let id = identity::of(artifact.as_str(), &spec.configuration, &references);
        let directory = self.releases.join(spec.service.as_str()).join(id.as_str());
        let release = Release {
            id,
            version: spec.version.clone(),
            directory: directory.join(FILES),
            artifact_bytes: content.manifest.bytes(),
            configuration: spec.configuration.clone(),
            secrets: references,
        };
        // First, so that it is not removed between here and its deployment.
        self.reserved.reserve(&directory);
        if presence::is_whole(&directory, &release.id).map_err(host(&directory))? {
            content.remember_in(&directory).map_err(host(&directory))?;
        } else {
            content.remember_in(&unfinished.path).map_err(host(&unfinished.path))?;
            secrets::write(secrets, &unfinished.path.join(SECRETS))?;
            unfinished.keep(&release, &directory)?;
        }
        retention::touch(&directory).map_err(host(&directory))?;
        self.open_for(spec.configuration.run.user.as_deref())?;
        match &spec.artifact {
            ArtifactSource::Uploaded { uploaded } => self.uploads.forget(uploaded),
            ArtifactSource::Url { sha256, .. } => self.uploads.discard(sha256),
            ArtifactSource::Directory(_) | ArtifactSource::Archive { .. } => {}
        }
        Ok(release)
    }

    /// A release that is looked at and not kept.
    fn rehearse_release(
        &self,
        spec: &DeploymentSpec,
        secrets: &[ResolvedSecret],
        before: Option<&Path>,
    ) -> Result<Rehearsed, PrepareError> {
        let unfinished = Unfinished::make(&self.releases)?;
        let files = unfinished.path.join(FILES);
        let content = self.bring(spec, &files)?;
        program::check(spec, &content, &files)?;
        shared::check(spec, &content.manifest, &self.state_directory)?;
        let references: Vec<_> = secrets.iter().map(|secret| self.key.reference(secret)).collect();
        let artifact = tree::hash(&content.manifest);
        let release = Release {
            id: identity::of(artifact.as_str(), &spec.configuration, &references),
            version: spec.version.clone(),
            directory: files,
            artifact_bytes: content.manifest.bytes(),
            configuration: spec.configuration.clone(),
            secrets: references,
        };
        let before = before.and_then(Path::parent).and_then(Content::read).map(|content| content.manifest);
        // Whoever waits to look at the program as another user has to get there.
        self.open_for(spec.configuration.run.user.as_deref())?;
        Ok(Rehearsed { release, files: content.manifest, before, held: Box::new(unfinished) })
    }

    /// Makes the files of a release in a directory that does not exist yet, whichever way they come.
    fn bring(&self, spec: &DeploymentSpec, files: &Path) -> Result<Content, PrepareError> {
        let source = &spec.artifact;
        match source {
            ArtifactSource::Directory(artifact) => {
                let plan = snapshot::Plan::of(artifact, &spec.exclude, Some(&self.state_directory))?;
                room::check(&self.releases, plan.bytes()).map_err(host(&self.releases))?;
                Ok(Content::of(plan.copy_to(files)?))
            }
            ArtifactSource::Archive { path, sha256 } => {
                let unpacked = archive::unpack(path, &path.display().to_string(), files)?;
                Content::of_archive(unpacked, sha256.as_ref())
            }
            ArtifactSource::Url { url, sha256 } => {
                if let Some(manifest) = self.uploads.kept().archive(sha256) {
                    match self.build_again(manifest, sha256, files) {
                        // What is kept is damaged; there is more where it came from.
                        Err(PrepareError::Wrong { .. }) => {
                            fs::remove_dir_all(files).map_err(host(files))?;
                        }
                        built => return built,
                    }
                }
                let archive = fetch::fetch(url, sha256, &self.uploads)?;
                self.unpack_uploaded(&archive, &source.to_string(), sha256, files)
            }
            ArtifactSource::Uploaded { uploaded } => self.bring_uploaded(uploaded, files),
        }
    }

    fn bring_uploaded(&self, id: &UploadId, files: &Path) -> Result<Content, PrepareError> {
        let gone = |error: UploadError| match error {
            UploadError::Host { path, source } => host(&path)(source),
            other => wrong(other.to_string(), "deploy again: it is sent then"),
        };
        let kept = self.uploads.kept();
        match (id, self.uploads.offered(id).map_err(gone)?) {
            (UploadId::Archive(sha256), _) => {
                if let Some(archive) = self.uploads.content(sha256, None) {
                    let name = format!("archive-{}…", &sha256.as_str()[..12]);
                    return self.unpack_uploaded(&archive, &name, sha256, files);
                }
                match kept.archive(sha256) {
                    Some(manifest) => self.build_again(manifest, sha256, files),
                    None => Err(gone(UploadError::Unknown(id.clone()))),
                }
            }
            (UploadId::Tree(_), Offer::Tree { manifest }) => {
                build::build(&manifest, files, &self.uploads, &kept)?;
                Ok(Content::of(manifest))
            }
            (UploadId::Tree(_), Offer::Archive { .. }) => Err(gone(UploadError::Unknown(id.clone()))),
        }
    }

    /// What is no archive, or not the one that was meant, is not kept: it may have been damaged here, by a loss of
    /// power for instance, and comes anew the next time.
    fn unpack_uploaded(
        &self,
        archive: &Path,
        name: &str,
        sha256: &Checksum,
        files: &Path,
    ) -> Result<Content, PrepareError> {
        let unpacked = archive::unpack(archive, name, files);
        let content = unpacked.and_then(|unpacked| Content::of_archive(unpacked, Some(sha256)));
        if let Err(PrepareError::Wrong { .. }) = content {
            self.uploads.discard(sha256);
        }
        content
    }

    /// What an archive held that a release has come from already.
    fn build_again(
        &self,
        manifest: &Manifest,
        archive: &Checksum,
        files: &Path,
    ) -> Result<Content, PrepareError> {
        build::build(manifest, files, &self.uploads, &self.uploads.kept())?;
        Ok(Content::of_known_archive(manifest.clone(), archive.clone()))
    }

    /// Lets another user pass through the state directory, which stays unlistable.
    fn open_for(&self, user: Option<&str>) -> Result<(), PrepareError> {
        let found = user.and_then(|name| nix::unistd::User::from_name(name).ok().flatten());
        release_place::open_for(&self.state_directory, found.as_ref()).map_err(host(&self.state_directory))
    }
}

#[async_trait]
impl Rehearsal for DirectoryStore {
    async fn rehearse(
        &self,
        spec: &DeploymentSpec,
        before: Option<&Release>,
    ) -> Result<Rehearsed, PrepareError> {
        let secrets = secrets::resolve(&spec.secrets).await?;
        let (store, spec) = (self.clone(), spec.clone());
        let path = PathBuf::from(spec.artifact.to_string());
        let before =
            before.map(|release| release_place::files(&self.state_directory, &spec.service, &release.id));
        let made = spawn_blocking(move || store.rehearse_release(&spec, &secrets, before.as_deref())).await;
        made.unwrap_or_else(|error| Err(host(&path)(io::Error::other(error))))
    }
}

#[async_trait]
impl ReleaseStore for DirectoryStore {
    async fn prepare(&self, spec: &DeploymentSpec) -> Result<Release, PrepareError> {
        let secrets = secrets::resolve(&spec.secrets).await?;
        let (store, spec) = (self.clone(), spec.clone());
        let path = PathBuf::from(spec.artifact.to_string());
        let made = spawn_blocking(move || store.snapshot(&spec, &secrets)).await;
        made.unwrap_or_else(|error| Err(host(&path)(io::Error::other(error))))
    }

    async fn observe(&self) -> Result<Vec<ReleaseId>, PortError> {
        let releases = self.releases.clone();
        let found = spawn_blocking(move || presence::all_whole(&releases)).await;
        found.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed("look at the releases"))
    }

    async fn find(&self, service: &ServiceName, id: &ReleaseId) -> Result<Option<Release>, PortError> {
        let (directory, id) = (self.releases.join(service.as_str()).join(id.as_str()), id.clone());
        let found = spawn_blocking(move || presence::find(&directory, &id)).await;
        found.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed("look at the release"))
    }

    async fn prune(
        &self,
        service: &ServiceName,
        needed: &[ReleaseId],
        keep: KeepReleases,
    ) -> Result<usize, PortError> {
        let (store, service, needed) = (self.clone(), service.clone(), needed.to_vec());
        let deed = format!("remove old releases of `{service}`");
        let removed = spawn_blocking(move || {
            retention::prune(&store.releases, &service, &needed, keep, &store.reserved, &*store.mandate)
        });
        removed.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed(&deed))
    }

    async fn prune_uploads(&self) -> Result<usize, PortError> {
        let (uploads, mandate) = (self.uploads(), Arc::clone(&self.mandate));
        let removed = spawn_blocking(move || {
            mandate.holds().map_err(io::Error::other)?;
            uploads.prune()
        });
        removed
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(failed("remove old uploads"))
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

    /// Makes it durable and gives it its name. If somebody made the same release meanwhile, that one stays; one
    /// that is not whole any more gets the parts that it lacks, for instances may run from the others.
    fn keep(self, release: &Release, directory: &Path) -> Result<(), PrepareError> {
        let record = serde_json::to_vec_pretty(release).map_err(io::Error::from).map_err(host(&self.path))?;
        durable_file::write(&self.path.join(RECORD), &record, 0o600).map_err(host(&self.path))?;
        let opened = fs::File::open(&self.path).map_err(host(&self.path))?;
        // One pass over the file system instead of one wait for each file.
        rustix::fs::syncfs(&opened).map_err(|error| host(&self.path)(error.into()))?;
        let service = directory.parent().unwrap_or(directory);
        durable_file::create_directory_with_mode(service, PASSABLE).map_err(host(service))?;
        match fs::rename(&self.path, directory) {
            Err(_) if directory.exists() => {
                if !presence::is_whole(directory, &release.id).map_err(host(directory))? {
                    presence::mend(&self.path, directory).map_err(host(directory))?;
                }
            }
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

/// Says what could not be done with the store.
fn failed(deed: &str) -> impl Fn(io::Error) -> PortError {
    let deed = deed.to_owned();
    move |error| PortError::new(format!("cannot {deed}: {error}"))
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
