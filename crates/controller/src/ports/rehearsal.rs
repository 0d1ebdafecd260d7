//! What a deployment would bring, without keeping anything of it; and what the host has for it.

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use cutover_core::InstanceId;
use cutover_core::artifact::Manifest;
use cutover_core::release::{DeploymentSpec, Release};

use super::{PortError, PrepareError};

/// A release that is made to be looked at.
pub struct Rehearsed {
    /// As it would be; its directory goes away with [`held`](Self::held).
    pub release: Release,
    /// Its files.
    pub files: Manifest,
    /// The files of the release that it is compared with, if they are known.
    pub before: Option<Manifest>,
    /// What keeps its directory.
    pub held: Box<dyn Any + Send>,
}

/// Makes releases to be looked at.
#[async_trait]
pub trait Rehearsal: Send + Sync {
    /// Makes the release of a request, to be compared with another. Nothing of it is kept.
    ///
    /// # Errors
    /// [`PrepareError`], as for a release that is meant.
    async fn rehearse(
        &self,
        spec: &DeploymentSpec,
        before: Option<&Release>,
    ) -> Result<Rehearsed, PrepareError>;
}

/// What instances use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Memory that new processes could have, in bytes.
    pub available: u64,
    /// Every instance that runs.
    pub instances: Vec<InstanceUsage>,
}

/// What one instance uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceUsage {
    /// Its id.
    pub id: InstanceId,
    /// Memory in bytes: of all its processes, what they share once.
    pub memory: u64,
    /// Processor time that its present processes have used since they started.
    pub cpu: Duration,
}

/// Measures what instances use.
#[async_trait]
pub trait Meter: Send + Sync {
    /// Looks now.
    ///
    /// # Errors
    /// If that cannot be found out.
    async fn usage(&self) -> Result<Usage, PortError>;
}
