//! What happened.

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, Weights};
use crate::epoch::Epoch;
use crate::names::{DeploymentId, InstanceId};
use crate::release::{Release, RolloutPolicy};
use crate::service::effect::{Answer, EffectId};
use crate::service::state::Health;

/// What happened to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Somebody wants a release deployed.
    DeployRequested {
        /// Id for the new deployment.
        deployment: DeploymentId,
        /// Who.
        actor: String,
        /// The snapshot.
        release: Box<Release>,
        /// How it goes on after its gates.
        rollout: RolloutPolicy,
        /// End an open bake first, giving up its warmth.
        end_bake: bool,
    },
    /// Somebody wants the former release back.
    RollbackRequested {
        /// Id for the new deployment, if one is needed.
        deployment: DeploymentId,
        /// Who.
        actor: String,
    },
    /// Somebody wants the open deployment ended and undone.
    AbortRequested {
        /// Who.
        actor: String,
    },
    /// An effect was answered.
    Answered {
        /// Which.
        effect: EffectId,
        /// How.
        answer: Answer,
    },
    /// The watch of an environment came to another conclusion.
    HealthChanged {
        /// The slot.
        environment: Environment,
        /// The release whose instances were watched is identified by these; stale news is ignored.
        instances: Vec<InstanceId>,
        /// The conclusion.
        health: Health,
    },
    /// Time went on: deadlines, bake and standby are looked at.
    TimePassed,
    /// A controller started, knows its term, and has looked at what is really there.
    ControllerStarted {
        /// The term of this controller.
        term: u32,
        /// What the router has for this service; `None` if it has nothing.
        route: Option<ObservedRoute>,
        /// Instances of this service that run.
        running: Vec<InstanceId>,
    },
}

/// What a router really does with a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedRoute {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its weights.
    pub weights: Weights,
}
