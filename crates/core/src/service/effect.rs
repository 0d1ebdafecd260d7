//! What the controller wants done, and what is answered.

use serde::{Deserialize, Serialize};

use crate::drain::Drain;
use crate::environment::Environment;
use crate::epoch::Epoch;
use crate::gates::{Finding, Gate, GateContext};
use crate::names::{InstanceId, ServiceName};
use crate::receipt::Receipt;
use crate::release::Release;
use crate::routing::ServiceRoute;
use crate::service::state::Instance;
use crate::service::workers::WorkerInstance;
use crate::timestamp::Timestamp;

/// Identifies an effect for ever: ports use it to do a thing once although it may be asked for twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EffectId {
    /// The service.
    pub service: ServiceName,
    /// Counts the effects of the service.
    pub sequence: u64,
}

/// An effect without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEffect {
    /// Its id.
    pub id: EffectId,
    /// What part of the service's life waits for it.
    pub purpose: Purpose,
    /// What is wanted.
    pub effect: Effect,
    /// Without an answer by then it counts as failed; whoever performs it gives up at that time.
    pub deadline: Timestamp,
}

/// Which line waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The open deployment.
    Deployment,
    /// What is run after a deployment has moved traffic, or has ended. Nothing waits for it.
    Trailing,
    /// The emptying of a slot without weight.
    Clearing(Environment),
    /// The way out of instances whose slot stays.
    Leaving(Environment),
    /// Putting back what should be there and is not: after a restart, and priorities. Never a deployment (I3).
    Upkeep,
}

/// What the controller wants done. Every one is idempotent by its [`EffectId`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Start these instances of a release; those that run already are adopted.
    Provision {
        /// The slot.
        environment: Environment,
        /// What to start.
        release: Box<Release>,
        /// The ids the instances shall have.
        instances: Vec<InstanceId>,
        /// Whether it is only worth doing if the host has room for it.
        #[serde(default)]
        if_room: bool,
    },
    /// Wait until every instance is healthy.
    AwaitHealthy {
        /// The slot.
        environment: Environment,
        /// Whose configuration says how to ask.
        release: Box<Release>,
        /// Whom to ask.
        instances: Vec<Instance>,
        /// They have served before: that a program of theirs has ended since is no verdict on the release.
        #[serde(default)]
        again: bool,
    },
    /// Publish the service's route: weights, instances and epoch.
    Shift {
        /// The whole route as it shall be.
        route: Box<ServiceRoute>,
    },
    /// Wait until these instances hold no request, or the deadline.
    Drain {
        /// The slot.
        environment: Environment,
        /// Who is waited for.
        instances: Vec<InstanceId>,
        /// How long, and how those that last are asked to leave.
        #[serde(default, skip_serializing_if = "Drain::is_default")]
        policy: Drain,
        /// Whether they keep their traffic, which waits elsewhere: only plain requests are waited for then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stays: bool,
    },
    /// Stop these instances; those that are gone count as stopped.
    Retire {
        /// The slot.
        environment: Environment,
        /// Who is stopped.
        instances: Vec<InstanceId>,
    },
    /// Start these workers of a release that is live; those that run already are adopted.
    StartWorkers {
        /// The slot.
        environment: Environment,
        /// What to start.
        release: Box<Release>,
        /// Which workers, under which ids.
        workers: Vec<WorkerInstance>,
    },
    /// Stop these workers; those that are gone count as stopped.
    StopWorkers {
        /// The slot.
        environment: Environment,
        /// Who is stopped.
        workers: Vec<WorkerInstance>,
    },
    /// Have the router forget the service.
    Unroute {
        /// The service's newest: whoever has been told of a newer one has been told otherwise.
        epoch: Epoch,
    },
    /// Ask a gate for its verdict.
    RunGate {
        /// Which.
        gate: Gate,
        /// The slot of the release whose gate it is.
        environment: Environment,
        /// That release.
        release: Box<Release>,
        /// What it is asked for.
        context: Box<GateContext>,
    },
    /// Tell the operating system whom to spare when memory runs out.
    Prioritise {
        /// Instances of the live environment.
        live: Vec<InstanceId>,
        /// Instances of the idle one.
        idle: Vec<InstanceId>,
    },
}

/// The answer to an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The instances run.
    Provisioned {
        /// Where each accepts requests.
        instances: Vec<Instance>,
    },
    /// Every instance passed its checks.
    Healthy {
        /// One line for people, such as `2 of 2, 2 checks each`.
        detail: String,
    },
    /// The route is published.
    Shifted {
        /// The proof.
        receipt: Receipt,
    },
    /// The wait is over.
    Drained {
        /// Requests that were still held when it ended.
        left: u64,
    },
    /// The instances are stopped.
    Retired,
    /// The workers run.
    WorkersStarted,
    /// The workers are stopped.
    WorkersStopped,
    /// The router does not know the service any more.
    Unrouted,
    /// The gate has answered.
    Judged {
        /// How, and why.
        finding: Box<Finding>,
    },
    /// The priorities are set.
    Prioritised,
    /// It could not be done.
    Failed {
        /// Why, in one sentence that names what failed.
        reason: String,
        /// The last lines that the failed thing wrote, oldest first; often none.
        #[serde(default)]
        last_lines: Vec<String>,
    },
}
