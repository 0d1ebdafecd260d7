//! Who tells people what became of deployments, and what there is to tell.

use async_trait::async_trait;
use cutover_core::release::{NewsKind, NotifySpec, SecretValue};
use cutover_core::service::Deployment;
use cutover_core::{ServiceName, Timestamp};

use crate::ports::{PortError, PrepareError};

/// Something that people are told about a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The same whenever the same is told: receivers drop what they know by it.
    pub id: String,
    /// The service.
    pub service: ServiceName,
    /// What it is.
    pub kind: NewsKind,
    /// When it happened.
    pub at: Timestamp,
    /// The deployment as it was when this was read.
    pub deployment: Deployment,
}

/// Who is told, with the secrets that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// Address, and key of the signature.
    pub webhook: Option<(String, Option<SecretValue>)>,
    /// Address of a Slack-compatible receiver.
    pub slack: Option<SecretValue>,
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// What is told.
    pub on: Vec<NewsKind>,
}

/// That a receiver cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyTrouble {
    /// `webhook`, `slack` or `command`.
    pub receiver: &'static str,
    /// When the oldest of what waits had happened, or what was given up.
    pub since: Timestamp,
    /// Why the last try failed; tells no secret.
    pub reason: String,
    /// How many wait.
    pub waiting: usize,
    /// How many were given up since the last one that arrived.
    pub given_up: usize,
}

/// Tells people. Its failure never fails or delays a deployment.
///
/// What [`Notifier::tell`] has taken over is told at least once, also after a crash, unless the receiver does not
/// answer for hours; in the order in which it was taken over for each receiver.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Takes the secrets from where the request says.
    ///
    /// # Errors
    /// If one cannot be had.
    async fn resolve(&self, spec: &NotifySpec) -> Result<NotifySettings, PrepareError>;

    /// From now on these are told what happens to the service from `since` on; nobody, if absent. Durable.
    ///
    /// # Errors
    /// If that cannot be kept: what held before goes on to hold.
    async fn keep(
        &self,
        service: &ServiceName,
        settings: Option<NotifySettings>,
        since: Timestamp,
    ) -> Result<(), PortError>;

    /// Whether anybody wants to hear of this service.
    fn wants(&self, service: &ServiceName) -> bool;

    /// Takes something over, durably; what is known by its id already, or wanted by nobody, is dropped.
    ///
    /// # Errors
    /// If it could not be kept.
    async fn tell(&self, news: &News) -> Result<(), PortError>;

    /// What cannot be told at present.
    fn trouble(&self, service: &ServiceName) -> Vec<NotifyTrouble>;
}

/// A notifier for whoever has nobody to tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyToTell;

#[async_trait]
impl Notifier for NobodyToTell {
    async fn resolve(&self, spec: &NotifySpec) -> Result<NotifySettings, PrepareError> {
        Ok(NotifySettings { webhook: None, slack: None, command: None, on: spec.on.clone() })
    }

    async fn keep(&self, _: &ServiceName, _: Option<NotifySettings>, _: Timestamp) -> Result<(), PortError> {
        Ok(())
    }

    fn wants(&self, _: &ServiceName) -> bool {
        false
    }

    async fn tell(&self, _: &News) -> Result<(), PortError> {
        Ok(())
    }

    fn trouble(&self, _: &ServiceName) -> Vec<NotifyTrouble> {
        Vec::new()
    }
}
