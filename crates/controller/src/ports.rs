//! What the controller needs from the outside, small and idempotent by effect id.
//!
//! Each port says what is true after a crash. Nothing here knows who implements it.

mod certificates;
mod console;
mod gates;
mod logs;
mod notifier;
mod rehearsal;
mod releases;
mod router;

pub use certificates::{
    CertificateAuthority, CertificateFront, CertificateShelf, ChallengeAnswer, ChallengeAnswers, Issued,
    NotIssued, Order, RenewalWindow, Staged,
};
pub use console::{
    Console, Control, Ending, EndingKind, Invocation, Session, Terminal, Unrunnable, WindowSize, Written,
};
pub use gates::{GateRun, GateRunner, Migrator, NobodyToAsk};
pub use logs::{InstanceLogs, LogLine, LogOrigin, LogQuery, Stream, WantedOrigin};
pub use notifier::{News, NobodyToTell, Notifier, NotifySettings, NotifyTrouble};
pub use rehearsal::{InstanceUsage, Meter, Rehearsal, Rehearsed, Usage};
pub use releases::{KeepReleases, PrepareError, ReleaseStore};
pub use router::{Applied, Held, NoProbe, Routed, RouterError, ShiftProbe, TrafficRouter, WantedProbe};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cutover_core::health::HealthCheck;
use cutover_core::release::Release;
use cutover_core::service::{EffectId, Instance, WorkerInstance};
use cutover_core::statistics::Statistics;
use cutover_core::{Environment, InstanceId, ReleaseId, ServiceName, Timestamp};

use crate::clock::Clock;

/// What a health check gets on top of its own timeout, so that its better reason comes first.
const HEALTH_GRACE: Duration = Duration::from_secs(1);

/// Why an outside system did not do what was asked, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PortError {
    /// One sentence that names what failed.
    pub reason: String,
    /// The last lines that the failed thing said, oldest first.
    pub last_lines: Vec<String>,
}

impl PortError {
    /// An error without last lines.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), last_lines: Vec::new() }
    }
}

/// Everything the controller needs from outside, put together by whoever starts it.
#[derive(Clone)]
pub struct Ports {
    /// Starts and stops instances.
    pub executor: Arc<dyn DeploymentExecutor>,
    /// Moves traffic.
    pub router: Arc<dyn TrafficRouter>,
    /// Goes the way of users after a shift.
    pub prober: Arc<dyn ShiftProbe>,
    /// Says how instances are.
    pub health: Arc<dyn HealthValidator>,
    /// Makes releases and keeps them.
    pub releases: Arc<dyn ReleaseStore>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Says whether this controller is still the one.
    pub mandate: Arc<dyn Mandate>,
    /// Tells people.
    pub notifier: Arc<dyn Notifier>,
    /// Runs hooks and smoke suites.
    pub gates: Arc<dyn GateRunner>,
    /// Changes the schema of databases.
    pub migrator: Arc<dyn Migrator>,
}

impl Ports {
    /// Asks for the health of an instance; a validator that hangs has not passed it.
    pub(crate) async fn check_health(&self, instance: &Instance, check: &HealthCheck) -> Result<(), String> {
        let limit = check.policy.timeout + HEALTH_GRACE;
        let checked = tokio::time::timeout(limit, self.health.check(instance, check)).await;
        checked.unwrap_or_else(|_| Err(format!("its health was not answered within {} s", limit.as_secs())))
    }
}

/// Whether this controller is still the one of its state directory.
///
/// A controller that was paused may be revived when another has taken its place. It is asked right before a deed,
/// so what is left is the moment between the answer and the deed; routes are fenced by their epoch besides.
pub trait Mandate: std::fmt::Debug + Send + Sync {
    /// Looks now; cheap enough for every deed.
    ///
    /// # Errors
    /// One sentence that says why not: another controller has taken over, or could have.
    fn holds(&self) -> Result<(), String>;
}

/// What is started, and in which place.
#[derive(Debug, Clone, Copy)]
pub struct Provision<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The slot.
    pub environment: Environment,
    /// The release.
    pub release: &'a Release,
    /// The ids the instances shall have.
    pub instances: &'a [InstanceId],
}

/// Which workers are started, and for what.
#[derive(Debug, Clone, Copy)]
pub struct StartWorkers<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The slot.
    pub environment: Environment,
    /// The release.
    pub release: &'a Release,
    /// The workers with the ids they shall have.
    pub workers: &'a [WorkerInstance],
}

/// An instance that an executor knows of, alive; or a worker, whose address means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its service.
    pub service: ServiceName,
    /// Its slot.
    pub environment: Environment,
    /// What it runs.
    pub release: ReleaseId,
    /// Its id and address.
    pub instance: Instance,
}

/// How the program of an instance ended last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Such as `exit status 1` or `killed by SIGKILL`.
    pub how: String,
    /// When.
    pub at: Timestamp,
    /// The last lines it wrote, oldest first.
    pub last_lines: Vec<String>,
    /// How many times it has been started again since the instance was provisioned, also in vain.
    pub restarts: u32,
}

/// That memory does not hold what shall be started, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What is needed, with its reserve.
    pub needed: u64,
    /// What is free.
    pub free: u64,
    /// How many of the wanted instances would fit, those that run already included.
    pub fitting: u32,
    /// What the instances in each place hold.
    pub held: Vec<(ServiceName, Environment, u64)>,
}

/// Starts and stops instances.
///
/// After a crash of the controller, instances go on; `observe` finds them again, and a repeated `provision` with
/// the same ids adopts those that run and starts only those that do not.
#[async_trait]
pub trait DeploymentExecutor: Send + Sync {
    /// Checks that the host has what one environment of this release needs, before anything is done. What runs of
    /// the service already is no reason for a refusal, and what runs of this release is not needed again; so it
    /// answers too whether an environment can be put back warm.
    ///
    /// # Errors
    /// With the figures, if it has not.
    async fn preflight(&self, service: &ServiceName, release: &Release) -> Result<(), PortError>;

    /// What memory lacks for one environment of this release, and who holds some; `None` if it lacks nothing.
    ///
    /// # Errors
    /// If that cannot be measured.
    async fn shortage(
        &self,
        _service: &ServiceName,
        _release: &Release,
    ) -> Result<Option<Shortage>, PortError> {
        Ok(None)
    }

    /// Starts these instances. Returns when each program was started, not when it is healthy.
    ///
    /// # Errors
    /// If one could not be started; the others may run, and `stop` with all ids cleans up.
    async fn provision(&self, effect: &EffectId, wanted: Provision<'_>) -> Result<Vec<Instance>, PortError>;

    /// Starts these workers; those that run already are adopted. Returns when each program was started.
    ///
    /// # Errors
    /// If one could not be started; the others may run, and `stop` with all ids cleans up.
    async fn start_workers(&self, effect: &EffectId, wanted: StartWorkers<'_>) -> Result<(), PortError>;

    /// Stops these instances or workers; those that are unknown or gone count as stopped.
    ///
    /// # Errors
    /// If one still runs after its stop timeout and a kill.
    async fn stop(&self, effect: &EffectId, instances: &[InstanceId]) -> Result<(), PortError>;

    /// Every instance and worker that runs now.
    ///
    /// # Errors
    /// If that cannot be found out.
    async fn observe(&self) -> Result<Vec<Running>, PortError>;

    /// How the program of this instance or worker ended last since it was provisioned; `None` if it never did. It may run
    /// again by now: an executor starts it again, after pauses that grow to a bound while it ends soon.
    async fn last_exit(&self, instance: &InstanceId) -> Option<Exit>;

    /// Where the programs of an instance accept connections now; `None` if none runs, or that cannot be found out.
    async fn listening(&self, _instance: &InstanceId) -> Option<Vec<SocketAddr>> {
        None
    }

    /// The last lines an instance wrote, oldest first.
    async fn last_lines(&self, instance: &InstanceId, count: usize) -> Vec<String>;

    /// Tells the operating system whom to spare when memory runs out: live before idle.
    ///
    /// # Errors
    /// If it could not be said for one of them; nothing depends on it.
    async fn prioritise(&self, live: &[InstanceId], idle: &[InstanceId]) -> Result<(), PortError>;

    /// Removes what is left of instances that have ended: records and logs. Says of how many. What stays: all of
    /// those that are `known`, of the others the newest `keep` of each service, and whatever still runs or is
    /// being started, known or not.
    ///
    /// # Errors
    /// If some could not be removed; asking again may help.
    async fn prune(&self, known: &[InstanceId], keep: usize) -> Result<usize, PortError>;
}

/// Says how an instance is, once.
#[async_trait]
pub trait HealthValidator: Send + Sync {
    /// Asks an instance for its health by the policy's path and timeout; `Ok` is a pass.
    ///
    /// # Errors
    /// What was wrong, in one sentence that can follow "instance `x`:".
    async fn check(&self, instance: &Instance, check: &HealthCheck) -> Result<(), String>;
}

/// Where the counts come from by which a release is judged.
#[async_trait]
pub trait EvidenceSource: Send + Sync {
    /// Cumulative counts; a changed `boot_id` is a gap.
    ///
    /// # Errors
    /// If there are none to be had: `not_yet`, never zero.
    async fn statistics(&self) -> Result<Statistics, PortError>;
}
