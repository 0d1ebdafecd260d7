//! What is true about a service between two events.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, PerEnvironment, Weights};
use crate::epoch::Epoch;
use crate::gates::Finding;
use crate::names::{DeploymentId, InstanceId, ReleaseId, ServiceName, Version};
use crate::release::Release;
use crate::routing::Pause;
use crate::service::command::CommandRun;
use crate::service::deployment::Deployment;
use crate::service::effect::{Effect, PendingEffect};
use crate::service::freeze::Freeze;
use crate::service::workers::Workers;
use crate::timestamp::Timestamp;

/// The aggregate: everything the controller knows about one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its name.
    pub name: ServiceName,
    /// Which slot has production traffic. Before the first cutover it is green and empty, so that the first
    /// release goes to blue.
    pub live: Environment,
    /// The weights of the last shift that was answered.
    pub weights: Weights,
    /// The term of the controller that decided last; every epoch it asks for is of it.
    #[serde(default)]
    pub term: u32,
    /// The epoch of the last shift that was asked for, or the newer one that was found at the router.
    pub epoch: Epoch,
    /// The two slots.
    pub environments: PerEnvironment<Slot>,
    /// The workers of each slot's releases that run, or may run: normally of the live one alone.
    #[serde(default)]
    pub workers: PerEnvironment<Workers>,
    /// The open deployment: from submission to the end of its bake.
    pub deployment: Option<Deployment>,
    /// Deployments that wait for the end of the open one, the next one first.
    #[serde(default)]
    pub queue: Vec<Deployment>,
    /// Deployments that have ended and whose last hooks still run.
    #[serde(default)]
    pub trailing: Vec<Deployment>,
    /// What is run after the trailing effect that is pending, in this order.
    #[serde(default)]
    pub to_trail: Vec<Effect>,
    /// Effects that were asked for and not answered.
    pub pending: Vec<PendingEffect>,
    /// Number of the next effect of this service.
    pub next_effect: u64,
    /// Whether, and since when, all its instances are stopped on a person's word.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    /// Whether it is being removed, or was.
    #[serde(default)]
    pub removal: Option<Removal>,
    /// When the standby of the idle slot ends and it is cleared.
    pub standby_until: Option<Timestamp>,
    /// What is left of the standby of the idle slot, while that stands still because the slot has traffic.
    #[serde(default)]
    pub standby_left: Option<Duration>,
    /// When the route is published again, because the last time it was only put right and that failed.
    #[serde(default)]
    pub republish_at: Option<Timestamp>,
    /// How long the last switch of traffic took, from the asking to the receipt: the estimate for the next.
    #[serde(default)]
    pub last_switch: Option<Duration>,
    /// What the last start of a controller, or the last look at what is really there, led to.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// The freeze that was said last and not taken back; it may have run out since.
    #[serde(default)]
    pub freeze: Option<Freeze>,
    /// The last time the schema was made unfit for older releases.
    #[serde(default)]
    pub contraction: Option<Contraction>,
    /// Why its requests do not go to its instances, on a person's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Paused>,
    /// Commands that people run with a release of the service, and those that ended last, oldest first.
    #[serde(default)]
    pub commands: Vec<CommandRun>,
}

/// What was found and decided when a controller compared what was recorded with what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// When.
    pub at: Timestamp,
    /// The decision and its reason, in one sentence.
    pub decision: String,
}

/// A contraction of the schema, from the moment at which it was asked for: half of one is as good as all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contraction {
    /// Who asked for it; the service's policy if nobody did.
    pub by: String,
    /// The version that was live.
    pub version: Version,
    /// When it was asked for.
    pub at: Timestamp,
    /// What came of it; absent while it goes on.
    #[serde(default)]
    pub finding: Option<Box<Finding>>,
    /// Releases that may run on the schema: the one that was live then, and those that were live since, oldest first.
    pub fit: Vec<ReleaseId>,
    /// The one before, until this one has begun: whoever ends it earlier has changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Box<Self>>,
}

/// A slot and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slot {
    /// The release it holds.
    pub release: Option<Release>,
    /// The instances of that release that were provisioned and not retired. Empty with a release: cold.
    pub instances: Vec<Instance>,
    /// Whether the present release has passed every gate before the shift, or was live before (I2).
    pub passed_gates: bool,
    /// Whether the router may have been told of a private way to the present release.
    #[serde(default)]
    pub private: bool,
    /// Whether the present release was taken back; a rollback never goes to it.
    pub rolled_back: bool,
    /// What the watch of its instances says.
    pub health: Health,
    /// The deployment that brought the release here.
    pub deployed_by: Option<DeploymentId>,
    /// When the release was last made live, or provisioned if it never was.
    pub last_deployed: Option<Timestamp>,
    /// How long provisioning and becoming healthy took: the estimate for starting it again.
    pub start_took: Option<Duration>,
    /// How far the emptying of this slot is, while it is being emptied.
    pub clearing: Option<Clearing>,
    /// Instances that are on their way out of it while the slot itself stays.
    #[serde(default)]
    pub leaving: Option<Leaving>,
    /// How many instances somebody has scaled it to, whatever the release's own number.
    #[serde(default)]
    pub scaled_to: Option<u32>,
    /// Why the last emptying, or restoring of its instances, did not work, until it does.
    pub trouble: Option<String>,
    /// When that is tried again.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// How often that was tried in vain, for the pause before the next time.
    #[serde(default)]
    pub tries: u32,
}

/// Instances that are taken out of a slot one batch at a time: out of the table, waited for, stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Which; none if only the table is waited for.
    pub instances: Vec<InstanceId>,
    /// How far they are: `unrouting`, `draining`, `retiring`, in this order.
    pub phase: Clearing,
    /// Why that did not work the last time it was tried.
    #[serde(default)]
    pub trouble: Option<String>,
    /// When it is tried again.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}

/// A service whose instances were all stopped on a person's word; nothing starts them again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Who stopped it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A pause, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who asked for it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What it is.
    pub pause: Pause,
    /// The deployment that it is part of, if it ends with the shift of one.
    #[serde(default)]
    pub deployment: Option<DeploymentId>,
    /// A person's hold that goes on after that of a deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<Self>>,
}

/// A service that a person takes away for good. What was recorded of it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Who.
    pub by: String,
    /// When that was asked for.
    pub at: Timestamp,
    /// Whether nothing of it runs and the router knows it no more.
    pub done: bool,
    /// When the router is asked again to forget it.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}

/// The steps of emptying a slot that has no weight: wait, take out of the table, stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clearing {
    /// Waiting for what its instances still hold.
    Draining,
    /// Taking its instances out of the route table.
    Unrouting,
    /// Stopping its instances.
    Retiring,
}

/// What the watch of an environment says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Health {
    /// Nobody has asked yet, or there is nothing to ask.
    #[default]
    Unknown,
    /// Every instance is healthy.
    Healthy,
    /// At least one instance is not.
    Unhealthy {
        /// Which and why, in one sentence.
        reason: String,
        /// The last lines it wrote, oldest first, if its program has ended.
        #[serde(default)]
        last_lines: Vec<String>,
    },
}

/// One running copy of a release.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Where it accepts requests.
    pub address: SocketAddr,
}

impl ServiceState {
    /// A service that never had a release.
    #[must_use]
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            live: Environment::Green,
            weights: Weights::all_to(Environment::Green),
            term: 0,
            epoch: Epoch::ZERO,
            environments: PerEnvironment::default(),
            workers: PerEnvironment::default(),
            deployment: None,
            queue: Vec::new(),
            pending: Vec::new(),
            next_effect: 1,
            stopped: None,
            removal: None,
            standby_until: None,
            standby_left: None,
            republish_at: None,
            last_switch: None,
            recovery: None,
            freeze: None,
            commands: Vec::new(),
            pause: None,
            trailing: Vec::new(),
            to_trail: Vec::new(),
            contraction: None,
        }
    }

    /// The slot without production traffic.
    #[must_use]
    pub fn idle(&self) -> Environment {
        self.live.other()
    }
}
