//! What happened.

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, PerEnvironment, Weights};
use crate::epoch::Epoch;
use crate::names::{DeploymentId, InstanceId, ReleaseId};
use crate::receipt::Trace;
use crate::release::{Release, RolloutPolicy};
use crate::routing::Pause;
use crate::service::command::CommandRun;
use crate::service::deployment::Deployment;
use crate::service::effect::{Answer, EffectId};
use crate::service::freeze::{Circumstances, Freeze};
use crate::service::resolve::Way;
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
        /// What becomes of a deployment that is open already.
        #[serde(default, alias = "end_bake")]
        when_open: WhenOpen,
        /// What else is known about the request.
        #[serde(default)]
        circumstances: Box<Circumstances>,
    },
    /// Somebody wants nothing deployed for a time; it replaces a freeze that was said before.
    FreezeRequested {
        /// Who, until when, why.
        freeze: Freeze,
    },
    /// Somebody wants the freeze to end now.
    UnfreezeRequested {
        /// Who.
        actor: String,
    },
    /// Somebody wants the former release back.
    RollbackRequested {
        /// Id for the new deployment, if one is needed.
        deployment: DeploymentId,
        /// Who.
        actor: String,
    },
    /// Somebody wants every instance of the live slot exchanged for a fresh one, or a stopped service started.
    RestartRequested {
        /// Id for the record of it.
        deployment: DeploymentId,
        /// Who.
        actor: String,
        /// Whether the bake of an open deployment is ended for it.
        #[serde(default)]
        end_bake: bool,
    },
    /// Somebody wants another number of instances in the live slot.
    ScaleRequested {
        /// Id for the record of it.
        deployment: DeploymentId,
        /// Who.
        actor: String,
        /// How many, 1 or more.
        instances: u32,
        /// Whether the bake of an open deployment is ended for it.
        #[serde(default)]
        end_bake: bool,
    },
    /// Somebody wants the traffic shared out in another way between the two slots.
    TrafficRequested {
        /// Id for the record of it.
        deployment: DeploymentId,
        /// Who.
        actor: String,
        /// The share of each slot; that of the idle one is below 100.
        weights: Weights,
        /// Which slot was live when that was said: another one would have been meant.
        live: Environment,
    },
    /// Somebody wants instances stopped.
    StopRequested {
        /// Who.
        actor: String,
        /// Which.
        scope: StopScope,
        /// The environment that the idle one is taken for; it is not stopped if it is live by then.
        #[serde(default)]
        environment: Option<Environment>,
        /// Whether the bake of an open deployment is ended for it.
        #[serde(default)]
        end_bake: bool,
    },
    /// Somebody wants the service gone: drained, stopped, routed no more.
    RemoveRequested {
        /// Who.
        actor: String,
        /// Whether the bake of an open deployment is ended for it.
        #[serde(default)]
        end_bake: bool,
    },
    /// Somebody wants a certain release back that was live before.
    RollbackToRequested {
        /// Id for the new deployment.
        deployment: DeploymentId,
        /// Who.
        actor: String,
        /// The release, as it was kept.
        release: Box<Release>,
    },
    /// Somebody wants the open deployment ended and undone.
    AbortRequested {
        /// Who.
        actor: String,
        /// Only what waits in the queue is meant; the open deployment goes on.
        #[serde(default)]
        only_queue: bool,
        /// Only this one is meant, open or waiting; whichever is open, and what waits behind it, if absent.
        #[serde(default)]
        deployment: Option<DeploymentId>,
    },
    /// Somebody lets the deployment that waits for it go on to its shift.
    PromoteRequested {
        /// Which is meant; whichever waits if absent.
        #[serde(default)]
        deployment: Option<DeploymentId>,
        /// Who.
        actor: String,
    },
    /// Somebody chose a way out for a deployment that is stuck.
    ResolveRequested {
        /// Who.
        actor: String,
        /// Which way.
        way: Way,
    },
    /// Somebody wants the schema contracted: there is no way back to the former release then.
    ContractRequested {
        /// Who.
        actor: String,
        /// For which release: another one that has become live is not meant.
        release: ReleaseId,
    },
    /// Somebody wants requests to wait or to be sent away, or that to end.
    PauseRequested {
        /// Who.
        actor: String,
        /// How; absent to end it.
        pause: Option<Pause>,
    },
    /// More is known about a shift.
    ShiftTraced {
        /// Whose shift it was.
        deployment: DeploymentId,
        /// What is known.
        trace: Box<Trace>,
        /// That deployment, if it has ended.
        #[serde(default)]
        ended: Option<Box<Deployment>>,
    },
    /// Somebody runs a command with a release.
    CommandStarted {
        /// What, and who.
        run: CommandRun,
    },
    /// It has ended.
    CommandEnded {
        /// What it was, with its end.
        run: CommandRun,
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
    /// The watch of the live environment's workers came to another conclusion.
    WorkersChanged {
        /// The slot.
        environment: Environment,
        /// Who was watched; stale news is ignored.
        workers: Vec<InstanceId>,
        /// The conclusion.
        health: Health,
    },
    /// Time went on: deadlines, bake and standby are looked at.
    TimePassed,
    /// A controller started, knows its term, and has looked at what is really there.
    ControllerStarted {
        /// The term of this controller.
        term: u32,
        /// What the router has for this service; `None` if it has nothing, or could not be asked.
        route: Option<ObservedRoute>,
        /// Whether the router could not be asked: nothing follows from what it seems to lack.
        #[serde(default)]
        blind: bool,
        /// Instances of this service that run.
        running: Vec<InstanceId>,
        /// Releases that are whole in the store; `None` if nobody has looked.
        #[serde(default)]
        releases: Option<Vec<ReleaseId>>,
    },
}

/// What a person wants stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopScope {
    /// What is kept warm in the idle slot.
    Idle,
    /// Every instance of the service: its clients get errors until somebody starts it again.
    Service,
}

/// What becomes of the open deployment when another is asked for.
///
/// Format 1 had a flag here, `end_bake`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "WhenOpenAsWritten")]
pub enum WhenOpen {
    /// It goes on, and the request is refused.
    #[default]
    Refuse,
    /// It goes on, and the request waits for its end.
    Queue,
    /// It is taken back before its cutover, or its bake is ended after it; what waits in the queue is dropped.
    Supersede,
    /// Its bake is ended, giving up the warmth of its former release; before the bake the request is refused.
    EndBake,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WhenOpenAsWritten {
    EndBake(bool),
    Word(Word),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Refuse,
    Queue,
    Supersede,
    EndBake,
}

impl From<WhenOpenAsWritten> for WhenOpen {
    fn from(written: WhenOpenAsWritten) -> Self {
        match written {
            WhenOpenAsWritten::EndBake(false) | WhenOpenAsWritten::Word(Word::Refuse) => Self::Refuse,
            WhenOpenAsWritten::EndBake(true) | WhenOpenAsWritten::Word(Word::EndBake) => Self::EndBake,
            WhenOpenAsWritten::Word(Word::Queue) => Self::Queue,
            WhenOpenAsWritten::Word(Word::Supersede) => Self::Supersede,
        }
    }
}

/// What a router really does with a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedRoute {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its weights.
    pub weights: Weights,
    /// The instances it knows of; `None` if it does not tell.
    #[serde(default)]
    pub instances: Option<PerEnvironment<Vec<InstanceId>>>,
}
