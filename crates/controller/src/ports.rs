//! What the controller needs from the outside, small and idempotent by effect id.
//!
//! Each port says what is true after a crash. Nothing here knows who implements it.

mod console;
mod logs;
mod rehearsal;

pub use console::{Console, Control, Ending, Invocation, Session, Terminal, Unrunnable, WindowSize, Written};
pub use logs::{InstanceLogs, LogLine, LogOrigin, LogQuery, Stream, WantedOrigin};
pub use rehearsal::{InstanceUsage, Meter, Rehearsal, Rehearsed, Usage};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cutover_core::health::HealthPolicy;
use cutover_core::receipt::Receipt;
use cutover_core::release::{DeploymentSpec, NewsKind, NotifySpec, Release, SecretValue};
use cutover_core::routing::ServiceRoute;
use cutover_core::service::{Deployment, EffectId, Instance, WorkerInstance};
use cutover_core::statistics::Statistics;
use cutover_core::{Environment, Epoch, InstanceId, ReleaseId, ServiceName, Timestamp};

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
}

impl Ports {
    /// Asks for the health of an instance; a validator that hangs has not passed it.
    pub(crate) async fn check_health(
        &self,
        instance: &Instance,
        policy: &HealthPolicy,
    ) -> Result<(), String> {
        let limit = policy.timeout + HEALTH_GRACE;
        let checked = tokio::time::timeout(limit, self.health.check(instance, policy)).await;
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

/// Why a router did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// It has refused: asking again would be refused again.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked: asking again may help.
    #[error("{0}")]
    Unreachable(String),
}

/// What a router answered to a wanted route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It routes so, from now on.
    Routed(Receipt),
    /// It has accepted it and will route so; `observe` tells when.
    Pending,
}

/// What a router has for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The service.
    pub service: ServiceName,
    /// Its epoch and weights.
    pub route: cutover_core::service::ObservedRoute,
}

/// Moves traffic.
///
/// An epoch that was answered is never undone by an older one (I7), also after a crash of either side.
#[async_trait]
pub trait TrafficRouter: Send + Sync {
    /// Makes this the route of the service. The same epoch with the same content is answered alike again.
    ///
    /// # Errors
    /// If the router refused it, for example because it has seen a newer epoch, or cannot be reached.
    async fn apply(&self, route: &ServiceRoute) -> Result<Applied, RouterError>;

    /// Routes the service no more, unless its route is newer than this epoch; one that is not routed counts as
    /// forgotten. Its last epoch is remembered, and an older one refused.
    ///
    /// # Errors
    /// If the router refused it, for example because its route is newer, or cannot be reached.
    async fn forget(&self, service: &ServiceName, epoch: Epoch) -> Result<(), RouterError>;

    /// The weights as they really are.
    ///
    /// # Errors
    /// If the router cannot be reached.
    async fn observe(&self) -> Result<Vec<Routed>, RouterError>;

    /// Requests that these instances still hold, as far as the router knows.
    ///
    /// # Errors
    /// If the router cannot be reached.
    async fn in_flight(&self, instances: &[InstanceId]) -> Result<u64, RouterError>;
}

/// Says how an instance is, once.
#[async_trait]
pub trait HealthValidator: Send + Sync {
    /// Asks an instance for its health by the policy's path and timeout; `Ok` is a pass.
    ///
    /// # Errors
    /// What was wrong, in one sentence that can follow "instance `x`:".
    async fn check(&self, instance: &Instance, policy: &HealthPolicy) -> Result<(), String>;
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
