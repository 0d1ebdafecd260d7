//! Where releases are made and kept.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cutover_core::release::{DeploymentSpec, Release};
use cutover_core::{ReleaseId, ServiceName};

use crate::ports::PortError;

/// Makes releases and keeps them.
#[async_trait]
pub trait ReleaseStore: Send + Sync {
    /// Snapshots artifact, configuration and secrets. The same content gives the same release again; a crash
    /// leaves at most an unnamed partial copy, which the next start removes.
    ///
    /// # Errors
    /// [`PrepareError`], with nothing kept.
    async fn prepare(&self, spec: &DeploymentSpec) -> Result<Release, PrepareError>;

    /// A release as it was made, if it is still present and whole.
    ///
    /// # Errors
    /// If that cannot be found out.
    async fn find(&self, service: &ServiceName, release: &ReleaseId) -> Result<Option<Release>, PortError>;

    /// Every release that is present and whole, as far as that can be seen without reading all of it.
    ///
    /// # Errors
    /// If that cannot be found out. A release that is absent from an `Ok` is gone or lacks a part.
    async fn observe(&self) -> Result<Vec<ReleaseId>, PortError>;

    /// Removes releases of a service with their secrets, and says how many. What stays: those that are `needed`,
    /// of the others those that `keep` names, and each that was prepared within the last hour, for
    /// its deployment may not be recorded yet. A crash leaves a release either whole or gone.
    ///
    /// # Errors
    /// If one could not be removed; it may be half removed then, but not under its name.
    async fn prune(
        &self,
        service: &ServiceName,
        needed: &[ReleaseId],
        keep: KeepReleases,
    ) -> Result<usize, PortError>;

    /// Removes what was brought here to be released and belongs to no release, a day after it was last asked for.
    /// Says how much that was. What is coming right now stays.
    ///
    /// # Errors
    /// If some could not be removed; asking again may help.
    async fn prune_uploads(&self) -> Result<usize, PortError> {
        Ok(0)
    }
}

/// Which releases of a service stay on the disk besides those that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepReleases {
    /// So many that were prepared last, whatever their age.
    pub count: usize,
    /// Those that were prepared within this time, however many there are.
    pub age: Duration,
}

/// Why a release could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// What was asked for is wrong: the user has to change something.
    #[error("{reason}")]
    Wrong {
        /// One sentence.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The host cannot hold it now.
    #[error("cannot snapshot `{path}`")]
    Host {
        /// The file or directory at fault.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
