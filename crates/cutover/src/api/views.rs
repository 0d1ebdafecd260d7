//! The objects of the API and of `--json`.

use cutover_controller::{Snapshot, SubmitOptions, Submitted};
use cutover_core::gates::Finding;
use cutover_core::receipt::{Receipt, Trace};
use cutover_core::release::{DeploymentSpec, Origin};
use cutover_core::routing::Lasting;
use cutover_core::service::{
    Deployment, DeploymentKind, Effect, Health, Recovery, ServiceState, Slot, Status, StepReport, Way,
    WayOut, WhenOpen,
};
use cutover_core::{
    DeploymentId, Environment, InstanceId, PerEnvironment, ReleaseId, ServiceName, Timestamp, Version,
    WorkerName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::api::VERSION;
use crate::api::calendar::{FreezeView, NotifyTroubleView};
use crate::api::certificates::CertificateView;
use crate::api::exec::CommandView;
use crate::api::gates::ContractionView;
use crate::api::pause::PauseView;

/// The last millisecond that RFC 3339 can write.
const LAST_OF_9999: Duration = Duration::from_millis(253_402_300_799_999);

/// A moment as people and machines read it: RFC 3339 in UTC with milliseconds. It is read from journals too, where any
/// number may stand: what is later than the year 9999 is told as its end.
pub(crate) fn moment(timestamp: Timestamp) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(timestamp.as_millis()).min(LAST_OF_9999);
    humantime::format_rfc3339_millis(time).to_string()
}

/// What is sent to open a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployRequest {
    pub(crate) spec: DeploymentSpec,
    /// The id that the deployment shall have: asked for a second time, it is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<DeploymentId>,
    #[serde(default)]
    pub(crate) when_open: WhenOpen,
    #[serde(default)]
    pub(crate) force: bool,
    /// Deploy in spite of a freeze and outside of windows, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) override_freeze: Option<String>,
    /// Switch while new requests wait, this long at most. Not within `spec`, where a controller that knows no holds would
    /// pass over it and switch without one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    pub(crate) hold_requests: Option<Duration>,
}

impl DeployRequest {
    /// What is to be deployed, and in which way.
    pub(crate) fn into_parts(self) -> (DeploymentSpec, SubmitOptions) {
        let Self { mut spec, deployment, when_open, force, override_freeze, hold_requests } = self;
        spec.rollout.hold_requests = hold_requests.or(spec.rollout.hold_requests);
        (spec, SubmitOptions { deployment, when_open, force, override_freeze })
    }
}

/// What became of it. `AlreadyLive` names the deployment while its bake lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum DeployAnswer {
    Opened { deployment: DeploymentId, notes: Vec<String> },
    Following { deployment: DeploymentId },
    AlreadyLive { version: Version, baking: Option<DeploymentId> },
}

impl From<Submitted> for DeployAnswer {
    fn from(submitted: Submitted) -> Self {
        match submitted {
            Submitted::Opened { deployment, notes } => Self::Opened { deployment, notes },
            Submitted::Following { deployment } => Self::Following { deployment },
            Submitted::AlreadyLive { version, baking } => Self::AlreadyLive { version, baking },
        }
    }
}

/// What an abort is about.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AbortRequest {
    /// Only what waits in the queue.
    #[serde(default)]
    pub(crate) only_queue: bool,
    /// Only this one, open or waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<DeploymentId>,
}

/// Which deployment is to go on; whichever waits for it if none is named.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteRequest {
    #[serde(default)]
    pub(crate) deployment: Option<DeploymentId>,
}

/// Where a rollback goes; the former release if nothing is said.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<ReleaseId>,
}

/// A way out that somebody has chosen.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveRequest {
    pub(crate) way: Way,
}

/// The ways out of what is stuck.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WaysView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    /// Why it is stuck; absent if nothing is.
    pub(crate) stuck: Option<String>,
    pub(crate) ways: Vec<WayOut>,
}

/// The deployment that a rollback or an abort is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) deployment: DeploymentId,
}

/// Where this controller is and what it listens on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ControllerView {
    pub(crate) v: u32,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) http: Vec<SocketAddr>,
    #[serde(default)]
    pub(crate) https: Vec<SocketAddr>,
    /// Where figures are given to Prometheus; absent if nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<SocketAddr>,
    /// First and last port that instances are given; an older controller does not say it.
    #[serde(default)]
    pub(crate) instance_ports: Option<(u16, u16)>,
    pub(crate) state_directory: String,
}

/// A service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    /// The status of the newest deployment; `not_started` before the first.
    pub(crate) status: Status,
    pub(crate) live: Environment,
    pub(crate) environments: PerEnvironment<EnvironmentView>,
    pub(crate) rollback: RollbackView,
    /// The newest deployment.
    pub(crate) deployment: Option<DeploymentView>,
    /// Who stopped the whole service, and when; absent unless it is stopped.
    #[serde(default)]
    pub(crate) stopped: Option<StoppedView>,
    /// Deployments that wait for the end of the open one, the next one first.
    #[serde(default)]
    pub(crate) queue: Vec<QueuedView>,
    /// What the last start of the controller, or its last look at what is there, led to.
    #[serde(default)]
    pub(crate) recovery: Option<RecoveryView>,
    /// Seconds that the host's clock is ahead of the times told here, if somebody has set it since the controller
    /// started.
    #[serde(default)]
    pub(crate) clock_ahead_seconds: Option<i64>,
    /// Why decisions cannot be recorded, while that is so.
    pub(crate) journal_trouble: Option<String>,
    /// The freeze that holds.
    #[serde(default)]
    pub(crate) freeze: Option<FreezeView>,
    /// Why requests do not go their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<PauseView>,
    /// Receivers of notifications that cannot be told at present.
    #[serde(default)]
    pub(crate) notify_trouble: Vec<NotifyTroubleView>,
    /// The last time the schema was made unfit for older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) contraction: Option<ContractionView>,
    /// The certificates of its hosts.
    #[serde(default)]
    pub(crate) certificates: Vec<CertificateView>,
    /// What is wrong with TLS besides, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tls_notes: Vec<String>,
    /// Commands that people run now.
    #[serde(default)]
    pub(crate) commands: Vec<CommandView>,
}

/// A person's stop of the whole service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoppedView {
    pub(crate) by: String,
    pub(crate) at: String,
}

/// A deployment that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueuedView {
    pub(crate) deployment: DeploymentId,
    pub(crate) version: Version,
    pub(crate) actor: String,
    pub(crate) since: String,
}

/// What was found and decided when a controller compared what was recorded with what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecoveryView {
    pub(crate) at: String,
    pub(crate) decision: String,
}

/// One slot of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EnvironmentView {
    pub(crate) color: Environment,
    pub(crate) version: Option<Version>,
    pub(crate) release: Option<ReleaseId>,
    /// `unknown`, `healthy` or `unhealthy`.
    pub(crate) health: String,
    pub(crate) health_reason: Option<String>,
    /// The last lines that it wrote, if its program keeps ending.
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
    pub(crate) weight: u8,
    pub(crate) last_deployed: Option<String>,
    pub(crate) instances: Vec<InstanceView>,
    /// Instances that are on their way out and still run.
    #[serde(default)]
    pub(crate) leaving: usize,
    /// Its workers, if it has any: what is live, and what was live while they stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<WorkersView>,
    /// Why emptying or restoring it did not work.
    pub(crate) trouble: Option<String>,
    pub(crate) rolled_back: bool,
    pub(crate) traffic: Option<TrafficView>,
    /// What is left there after all traffic has moved away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draining: Option<DrainingView>,
}

/// What is left on an environment that gets no more requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DrainingView {
    /// Requests that end by themselves.
    pub(crate) requests: u64,
    /// Those that last, by kind.
    pub(crate) connections: BTreeMap<Lasting, u64>,
    /// How many of those were asked to leave.
    pub(crate) asked: u64,
    /// When whoever is left is cut off; absent if nobody is asked.
    pub(crate) until: Option<String>,
}

/// The workers of one slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkersView {
    pub(crate) instances: Vec<WorkerView>,
    /// `unknown`, `healthy` or `unhealthy`.
    pub(crate) health: String,
    /// Why they are not healthy, or cannot be stopped.
    pub(crate) reason: Option<String>,
    /// The last lines of the one that keeps ending, or could not be started.
    pub(crate) last_lines: Vec<String>,
}

/// One running copy of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerView {
    pub(crate) worker: WorkerName,
    pub(crate) id: InstanceId,
    /// `starting`, `running` or `stopping`.
    pub(crate) state: String,
}

/// One instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InstanceView {
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    /// As the proxy's probes see it; absent if the proxy does not route to it.
    pub(crate) in_rotation: Option<bool>,
    pub(crate) in_flight: Option<u64>,
}

/// What went through a release in the last seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TrafficView {
    pub(crate) requests_per_second: f64,
    /// Share of requests that were answered with 5xx or not at all, 0 to 1.
    pub(crate) error_rate: f64,
    /// 95th percentile from request head to answer head; absent without requests.
    pub(crate) p95_ms: Option<f64>,
}

/// Whether a rollback is possible.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RollbackView {
    pub(crate) ready: bool,
    pub(crate) to: Option<Version>,
    pub(crate) seconds: f64,
    pub(crate) warm: bool,
    pub(crate) why_not: Option<String>,
    /// When the former release stops being warm.
    pub(crate) warm_until: Option<String>,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeploymentView {
    pub(crate) v: u32,
    pub(crate) deployment: DeploymentId,
    pub(crate) service: ServiceName,
    pub(crate) kind: DeploymentKind,
    pub(crate) version: Version,
    pub(crate) release: ReleaseId,
    pub(crate) from: Option<Version>,
    pub(crate) environment: Environment,
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    /// What it waits for, while it is open.
    pub(crate) waiting_for: Option<String>,
    /// The last lines that an instance wrote before it failed the deployment.
    pub(crate) last_lines: Vec<String>,
    pub(crate) actor: String,
    pub(crate) taken_back_by: Option<String>,
    pub(crate) started_at: String,
    pub(crate) cutover_at: Option<String>,
    /// When it is taken back unless somebody promotes it; only while it waits for that.
    #[serde(default)]
    pub(crate) hold_until: Option<String>,
    pub(crate) bake_until: Option<String>,
    pub(crate) ended_at: Option<String>,
    pub(crate) duration_seconds: Option<f64>,
    pub(crate) undoes: Option<DeploymentId>,
    pub(crate) undone_by: Option<DeploymentId>,
    pub(crate) steps: Vec<StepView>,
    pub(crate) receipts: Vec<ReceiptView>,
    /// The reason for which it was let through a freeze or begun outside of its windows, if it was.
    #[serde(default)]
    pub(crate) overrode: Option<String>,
    /// Where its release comes from.
    #[serde(default)]
    pub(crate) origin: Option<Origin>,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepView {
    pub(crate) name: String,
    /// `passed` or `failed`; absent while it goes on.
    pub(crate) outcome: Option<cutover_core::service::Outcome>,
    pub(crate) detail: String,
    pub(crate) started_at: String,
    pub(crate) seconds: Option<f64>,
    /// What was found, if it is a gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finding: Option<Finding>,
}

/// A list of deployments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HistoryView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    pub(crate) deployments: Vec<DeploymentView>,
}

/// Every service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServicesView {
    pub(crate) v: u32,
    pub(crate) services: Vec<ServiceView>,
}

impl DeploymentView {
    pub(crate) fn new(service: &ServiceName, deployment: &Deployment) -> Self {
        let ended = deployment.ended_at;
        Self {
            v: VERSION,
            deployment: deployment.id.clone(),
            service: service.clone(),
            kind: deployment.kind,
            version: deployment.version.clone(),
            release: deployment.release.clone(),
            from: deployment.from.clone(),
            environment: deployment.environment,
            status: deployment.status,
            reason: deployment.reason.clone(),
            waiting_for: None,
            last_lines: deployment.last_lines.clone(),
            actor: deployment.actor.clone(),
            taken_back_by: deployment.taken_back_by.clone(),
            started_at: moment(deployment.started_at),
            cutover_at: deployment.cutover_at.map(moment),
            hold_until: deployment.hold_until.map(moment),
            bake_until: deployment.bake_until.map(moment),
            ended_at: ended.map(moment),
            duration_seconds: ended.map(|ended| ended.since(deployment.started_at).as_secs_f64()),
            undoes: deployment.undoes.clone(),
            undone_by: None,
            steps: deployment.steps.iter().map(StepView::new).collect(),
            receipts: ReceiptView::all(deployment),
            overrode: deployment.overrode.clone(),
            origin: deployment.origin.as_deref().cloned(),
        }
    }

    /// The views of a history, newest first, with each deployment told by which other it was undone.
    pub(crate) fn history(service: &ServiceName, deployments: &[Deployment]) -> Vec<Self> {
        let undone_by = |id: &DeploymentId| {
            let undoes =
                |other: &&Deployment| other.undoes.as_ref() == Some(id) && other.cutover_at.is_some();
            deployments.iter().find(undoes).map(|other| other.id.clone())
        };
        let view = |deployment: &Deployment| Self {
            undone_by: undone_by(&deployment.id),
            ..Self::new(service, deployment)
        };
        deployments.iter().map(view).collect()
    }
}

impl StepView {
    fn new(step: &StepReport) -> Self {
        Self {
            name: step.name.clone(),
            outcome: step.outcome,
            detail: step.detail.clone(),
            started_at: moment(step.started_at),
            seconds: step.took().map(|took| took.as_secs_f64()),
            finding: step.finding.as_deref().cloned(),
        }
    }
}

impl ServiceView {
    /// A service from what the controller knows; `traffic` adds what the data plane saw.
    pub(crate) fn new(snapshot: &Snapshot, newest: Option<DeploymentView>, now: Timestamp) -> Self {
        let state = &snapshot.state;
        let readiness = state.rollback_readiness(now);
        let status = newest.as_ref().map_or(Status::NotStarted, |newest| newest.status);
        Self {
            v: VERSION,
            service: state.name.clone(),
            status,
            live: state.live,
            environments: PerEnvironment::from_fn(|environment| EnvironmentView::new(state, environment)),
            rollback: RollbackView {
                ready: readiness.ready,
                to: readiness.to,
                seconds: readiness.seconds,
                warm: readiness.warm,
                why_not: readiness.why_not,
                warm_until: state.standby_until.filter(|_| readiness.warm).map(moment),
            },
            deployment: newest,
            stopped: state
                .stopped
                .as_ref()
                .map(|stopped| StoppedView { by: stopped.by.clone(), at: moment(stopped.at) }),
            queue: state.queue.iter().map(QueuedView::new).collect(),
            recovery: state.recovery.as_ref().map(RecoveryView::new),
            clock_ahead_seconds: None,
            contraction: state
                .contraction
                .as_ref()
                .map(|one| ContractionView::new(one, state.contraction_waits())),
            certificates: Vec::new(),
            tls_notes: Vec::new(),
            commands: state.commands.iter().filter(|run| run.ended.is_none()).map(CommandView::new).collect(),
            journal_trouble: snapshot.journal_trouble.clone(),
            freeze: state.frozen(now).map(FreezeView::new),
            pause: state.pause.as_ref().map(PauseView::from),
            notify_trouble: Vec::new(),
        }
    }
}

impl QueuedView {
    fn new(queued: &Deployment) -> Self {
        Self {
            deployment: queued.id.clone(),
            version: queued.version.clone(),
            actor: queued.actor.clone(),
            since: moment(queued.started_at),
        }
    }
}

impl RecoveryView {
    fn new(recovery: &Recovery) -> Self {
        Self { at: moment(recovery.at), decision: recovery.decision.clone() }
    }
}

impl WorkersView {
    fn new(state: &ServiceState, color: Environment) -> Option<Self> {
        let workers = &state.workers[color];
        if workers.asked.is_empty() {
            return None;
        }
        let leaves = |id: &InstanceId| {
            state.pending.iter().any(|pending| match &pending.effect {
                Effect::StopWorkers { workers, .. } => workers.iter().any(|worker| worker.id == *id),
                _ => false,
            })
        };
        let instances = workers.asked.iter().map(|worker| WorkerView {
            worker: worker.worker.clone(),
            id: worker.id.clone(),
            state: match &worker.id {
                id if leaves(id) => "stopping",
                id if workers.started.contains(id) => "running",
                _ => "starting",
            }
            .to_owned(),
        });
        let (health, reason, last_lines) = told(&workers.health);
        Some(Self {
            instances: instances.collect(),
            health: health.to_owned(),
            reason: workers.trouble.clone().or(reason),
            last_lines,
        })
    }
}

/// The word for a health, why it is not good, and the last lines that were written.
fn told(health: &Health) -> (&'static str, Option<String>, Vec<String>) {
    match health {
        Health::Unknown => ("unknown", None, Vec::new()),
        Health::Healthy => ("healthy", None, Vec::new()),
        Health::Unhealthy { reason, last_lines } => ("unhealthy", Some(reason.clone()), last_lines.clone()),
    }
}

impl EnvironmentView {
    fn new(state: &ServiceState, color: Environment) -> Self {
        let slot: &Slot = &state.environments[color];
        let (health, health_reason, last_lines) = told(&slot.health);
        let instance = |instance: &cutover_core::service::Instance| InstanceView {
            id: instance.id.clone(),
            address: instance.address,
            in_rotation: None,
            in_flight: None,
        };
        Self {
            color,
            version: slot.release.as_ref().map(|release| release.version.clone()),
            release: slot.release.as_ref().map(|release| release.id.clone()),
            health: health.to_owned(),
            health_reason,
            last_lines,
            weight: state.weights.of(color),
            last_deployed: slot.last_deployed.map(moment),
            instances: slot.instances.iter().map(instance).collect(),
            leaving: slot.leaving.as_ref().map_or(0, |leaving| leaving.instances.len()),
            trouble: slot.trouble.clone().or_else(|| slot.leaving.as_ref()?.trouble.clone()),
            workers: WorkersView::new(state, color),
            rolled_back: slot.rolled_back,
            traffic: None,
            draining: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_moment_is_too_late_to_be_told() {
        assert_eq!(moment(Timestamp::from_millis(1)), "1970-01-01T00:00:00.001Z");
        for late in [253_402_300_800_000, u64::MAX] {
            assert_eq!(moment(Timestamp::from_millis(late)), "9999-12-31T23:59:59.999Z");
        }
    }
}

/// The proof of a shift, with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceiptView {
    #[serde(flatten)]
    pub(crate) receipt: Receipt,
    /// What was found out about it since; absent while nothing is known, and of an exchange of instances.
    #[serde(default)]
    pub(crate) trace: Option<Trace>,
}

impl ReceiptView {
    fn all(deployment: &Deployment) -> Vec<Self> {
        let of = |receipt: &Receipt| {
            let trace = deployment.traces.iter().find(|trace| trace.report.epoch == receipt.epoch);
            Self { receipt: receipt.clone(), trace: trace.cloned() }
        };
        deployment.receipts.iter().map(of).collect()
    }
}
