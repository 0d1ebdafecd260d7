//! What is deployed: an immutable snapshot, and the checked request to deploy one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::artifact::ArtifactSource;
use crate::drain::Drain;
use crate::gates::Gates;
use crate::health::{HealthCheck, HealthPolicy};
use crate::names::{ReleaseId, ServiceName, Version, WorkerName};
use crate::routing::{Replay, Timeouts, Upstream};
use crate::tls::Tls;
use crate::windows::Windows;

/// An immutable snapshot: artifact, configuration and secret references under one content hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The content hash; the identity.
    pub id: ReleaseId,
    /// The name people use.
    pub version: Version,
    /// The directory of the unpacked artifact, read-only, owned by the controller.
    pub directory: PathBuf,
    /// Size of the artifact in bytes.
    pub artifact_bytes: u64,
    /// What the artifact is run with.
    pub configuration: Configuration,
    /// The secrets it is run with: names and fingerprints, never values.
    pub secrets: Vec<SecretReference>,
}

/// Everything about a release that is neither its files nor a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Which requests are the service's.
    pub route: Route,
    /// Program and arguments; `{port}`, `{version}` and `{environment}` are filled in at the start.
    pub command: Vec<String>,
    /// Environment variables, with the same placeholders.
    pub env: BTreeMap<String, String>,
    /// How instances run.
    pub run: RunPolicy,
    /// How instances are judged.
    pub health: HealthPolicy,
    /// A new instance that is not healthy after this time fails its deployment.
    #[serde(with = "humantime_serde")]
    pub health_deadline: Duration,
    /// What instances speak.
    #[serde(default, skip_serializing_if = "Upstream::is_plain")]
    pub upstream: Upstream,
    /// How its hosts are served with TLS.
    #[serde(default = "Tls::of_a_release_from_before", skip_serializing_if = "Tls::is_of_before")]
    pub tls: Tls,
    /// How long instances may take.
    #[serde(default, skip_serializing_if = "Timeouts::is_default")]
    pub timeouts: Timeouts,
    /// What is sent once more when an instance fails it.
    #[serde(default, skip_serializing_if = "Replay::is_default")]
    pub replay: Replay,
    /// How those leave who are with it once another release is live.
    #[serde(default, skip_serializing_if = "Drain::is_default")]
    pub drain: Drain,
    /// Programs without HTTP that run while the release is live, and only then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workers: BTreeMap<WorkerName, Worker>,
    /// What it has to pass before users reach it, and what is run on its way.
    #[serde(default, skip_serializing_if = "Gates::is_empty")]
    pub gates: Gates,
}

impl Configuration {
    /// How instances are asked for their health.
    #[must_use]
    pub fn health_check(&self) -> HealthCheck {
        HealthCheck { policy: self.health.clone(), upstream: self.upstream.clone() }
    }
}

/// A program of a release that answers no requests. User, directory, variables and secrets are the release's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Program and arguments; `{version}` and `{environment}` are filled in at the start.
    pub command: Vec<String>,
    /// Copies that run.
    pub instances: u32,
    /// Whether it may run beside the workers of another release that say the same: then the new ones start before
    /// the old ones are stopped.
    pub overlap: bool,
    /// Signal that asks it to finish what it does and stop.
    pub stop_signal: String,
    /// After this time it is killed.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
}

/// Which requests belong to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Lower-case host names without a port, `*.` in front for all sub-domains; empty for every host.
    pub hosts: Vec<String>,
    /// Path prefix, matched at segment boundaries; `/` for every path.
    pub path: String,
    /// The one of the hosts that requests for all others are sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_host: Option<String>,
}

/// How the instances of a release run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPolicy {
    /// Copies per environment.
    pub instances: u32,
    /// System user; the controller's own if absent.
    pub user: Option<String>,
    /// Working directory, relative to the unpacked artifact.
    pub workdir: PathBuf,
    /// Signal that asks an instance to stop, such as `SIGTERM`.
    pub stop_signal: String,
    /// After this time a stopping instance is killed.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
    /// Directories of the service, relative to the unpacked artifact, that outlive releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<PathBuf>,
}

/// A secret as it may be written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// The environment variable an instance gets it in.
    pub name: String,
    /// Keyed hash of the value (HMAC-SHA-256 under a key that stays on the host), so that a change is noticed.
    pub fingerprint: String,
}

impl RolloutPolicy {
    /// No bake, nothing kept warm, taken back by itself: for what brings no new release.
    #[must_use]
    pub fn at_once() -> Self {
        Self {
            bake: Duration::ZERO,
            standby: Duration::ZERO,
            auto_rollback: true,
            hold: None,
            hold_requests: None,
        }
    }

    /// What is asked for here before a switch and does not happen with `other`, as an infinitive.
    #[must_use]
    pub fn missing_in(&self, other: &Self) -> Option<&'static str> {
        if self.hold_requests.is_some() && other.hold_requests.is_none() {
            return Some("have requests wait for its switch");
        }
        (self.hold.is_some() && other.hold.is_none())
            .then_some("wait for somebody's promote before its switch")
    }
}

/// How a deployment goes on after its gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// Time after the cutover in which evidence is watched and the old environment is kept as it was.
    #[serde(with = "humantime_serde")]
    pub bake: Duration,
    /// Time after the bake in which the old environment stays warm.
    #[serde(with = "humantime_serde")]
    pub standby: Duration,
    /// Whether a failure takes the release back by itself.
    pub auto_rollback: bool,
    /// Between its gates and its shift it waits this long at most for a person's promote; absent: it does not wait.
    #[serde(default, with = "humantime_serde::option")]
    pub hold: Option<Duration>,
    /// New requests wait while it is switched, this long at most, so that no two releases are at work at once; absent: they
    /// do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    pub hold_requests: Option<Duration>,
}

/// A checked request to deploy: every user mistake that can be seen without touching the host has been found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// What is deployed to.
    pub service: ServiceName,
    /// The name of the release.
    pub version: Version,
    /// Where the files to snapshot come from.
    pub artifact: ArtifactSource,
    /// What of a directory is left out, as lines of `.gitignore`. The identity of a release is that of what is left in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// What the release runs with.
    pub configuration: Configuration,
    /// Where the secrets come from.
    pub secrets: BTreeMap<String, SecretSource>,
    /// How the deployment goes on after its gates.
    pub rollout: RolloutPolicy,
    /// When it may be deployed; always if absent.
    #[serde(default)]
    pub windows: Option<Windows>,
    /// Who is told what became of it.
    #[serde(default)]
    pub notify: Option<NotifySpec>,
    /// Where it comes from.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Where the content of a release comes from, as the one who asked for the deployment saw it. Not part of the
/// release's identity: the same content from another commit is the same release.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The whole commit.
    #[serde(default)]
    pub commit: Option<String>,
    /// Whether files differed from it.
    #[serde(default)]
    pub dirty: bool,
    /// Name and address of the commit's author.
    #[serde(default)]
    pub author: Option<String>,
    /// The branch or tag.
    #[serde(default)]
    pub branch: Option<String>,
    /// The address of the CI job that asked.
    #[serde(default)]
    pub job: Option<String>,
}

/// Who is told, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifySpec {
    /// An address that gets a signed JSON object.
    #[serde(default)]
    pub webhook: Option<WebhookSpec>,
    /// The address of a Slack-compatible receiver; who knows it may write there, so it is a secret.
    #[serde(default)]
    pub slack: Option<SecretSource>,
    /// A program on the controller's host that gets the JSON object on its standard input.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// What is told.
    pub on: Vec<NewsKind>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSpec {
    /// Its address.
    pub url: String,
    /// The key of the signature; unsigned without one.
    #[serde(default)]
    pub secret: Option<SecretSource>,
}

/// What people are told about a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewsKind {
    /// Traffic has moved to its release.
    Live,
    /// It was taken back.
    RolledBack,
    /// It ended with nothing to undo.
    Failed,
    /// A person must decide.
    Stuck,
}

impl NewsKind {
    /// All, in the order in which they are documented.
    pub const ALL: [Self; 4] = [Self::Live, Self::RolledBack, Self::Failed, Self::Stuck];

    /// The word used in files, JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// Where a secret's value is taken from when the release is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// The value itself, as the command line read it from its own environment.
    Value(SecretValue),
    /// The content of a file on the controller's host, without one trailing newline.
    File(PathBuf),
    /// The standard output of a command on the controller's host, without one trailing newline.
    Command(Vec<String>),
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one who hands it to an instance.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_value_does_not_show_itself_in_debug_output() {
        let source = SecretSource::Value(SecretValue::new("hunter2".to_owned()));
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
