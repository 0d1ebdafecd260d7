//! Requests that are not granted, in words for the one who asked.

use crate::environment::Environment;
use crate::names::{DeploymentId, ReleaseId, Version};
use crate::service::deployment::{Deployment, Stage, Status};
use crate::service::freeze::Freeze;
use crate::service::resolve::Way;
use crate::service::state::ServiceState;
use crate::timestamp::Timestamp;

/// What was asked for, as far as the ways past an open deployment differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A deploy: it can wait, or take the place of what is open.
    Deploy,
    /// A restart, a scale, a stop, a removal: they can only end a bake.
    Move,
    /// A rollback to a certain release: a bake is not in its way.
    RollbackTo,
}

/// How long a person's promote is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Since when.
    pub since: Timestamp,
    /// When it is taken back if nobody gives it.
    pub until: Timestamp,
}

/// A request that was refused; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another deployment of the service is open (I4).
    #[error("deployment `{id}` of `{version}` by {actor} is open: it is `{}`{}{}", status.label(), in_bake(*baking), waits(held.as_deref()))]
    DeploymentOpen {
        /// What it is in the way of.
        asked: Asked,
        /// Its id.
        id: DeploymentId,
        /// Its version.
        version: Version,
        /// Who asked for it.
        actor: String,
        /// Its status.
        status: Status,
        /// Whether it only waits for the end of its bake, so that `--end-bake` would let the request through.
        baking: bool,
        /// If it waits for a person's promote: for how long.
        held: Option<Box<Held>>,
        /// The version whose warmth would be given up by ending the bake.
        warm: Option<Version>,
    },
    /// The same release is on its way, and less careful than it was asked for.
    #[error("deployment `{id}` brings the same release already, and does not {what}")]
    OtherTerms {
        /// Its id.
        id: DeploymentId,
        /// What was asked for besides, as an infinitive.
        what: &'static str,
        /// Whether it still waits behind another one.
        queued: bool,
    },
    /// Somebody has said that nothing is deployed now.
    #[error("{}", frozen(.0))]
    Frozen(Freeze),
    /// The release's windows are closed.
    #[error("{why}")]
    OutsideWindow {
        /// Why, and when the next one opens.
        why: String,
    },
    /// Nobody means a freeze of decades.
    #[error("a freeze until {until} is too long: ten years are the most")]
    FreezeTooLong {
        /// The moment that was asked for.
        until: Timestamp,
    },
    /// No freeze holds.
    #[error("there is nothing to unfreeze: no freeze holds")]
    NotFrozen,
    /// The identical release is live.
    #[error("`{version}` is live already, with identical content")]
    AlreadyLive {
        /// Its version, as it is known here.
        version: Version,
        /// Its identity.
        release: ReleaseId,
    },
    /// There is no release to go back to.
    #[error("there is nothing to roll back to: {why}")]
    NothingToRollBackTo {
        /// Why not.
        why: String,
    },
    /// No release has ever been made live.
    #[error("nothing is live")]
    NothingIsLive,
    /// A deployment has requests wait for its shift.
    #[error("requests wait for the shift of deployment `{id}`")]
    HoldIsTaken {
        /// Its id.
        id: DeploymentId,
    },
    /// Requests go their way.
    #[error("requests are neither held nor sent away")]
    NotPaused,
    /// Requests are sent away, so none can wait.
    #[error("it is in maintenance: requests are sent away, so none can wait")]
    InMaintenance,
    /// Requests wait, and are not sent away.
    #[error("requests are held, not sent away")]
    IsHeld,
    /// A hook before the shift would run before the hold, with users at work.
    #[error("requests cannot be held for a hook before the shift where a person is waited for")]
    HookBeforeTheHold,
    /// It would be over before it began.
    #[error("the end of the hold has passed already")]
    HoldIsOver,
    /// A service without an instance is one that is stopped.
    #[error("0 instances serve nobody")]
    ScaledToNothing,
    /// It was stopped, and has no instances that could be counted.
    #[error("it was stopped by {by}")]
    Stopped {
        /// By whom.
        by: String,
    },
    /// Both environments get new requests, by a person's word.
    #[error("traffic is split: {percent} % goes to {idle}")]
    Split {
        /// The slot that is not live.
        idle: Environment,
        /// Its share.
        percent: u8,
    },
    /// Weights are not for a person to set while a deployment is open.
    #[error("the weights are those of deployment `{id}` of `{version}`, which is open: it is `{}`", status.label())]
    WeightsAreTaken {
        /// Its id.
        id: DeploymentId,
        /// Its version.
        version: Version,
        /// Its status.
        status: Status,
    },
    /// Whoever asked had seen another one.
    #[error("{live} has become live in the meantime")]
    LiveHasChanged {
        /// Which is live now.
        live: Environment,
    },
    /// One environment has everything already.
    #[error("traffic is not split: everything goes to {live}")]
    NotSplit {
        /// Which.
        live: Environment,
    },
    /// Everything to the other side is more than a share.
    #[error("100 % to {to} would be a switch")]
    WouldSwitch {
        /// The other side.
        to: Environment,
    },
    /// What is idle is not fit for a share.
    #[error("{idle} cannot be given a share: {why}")]
    MayNotShare {
        /// The slot.
        idle: Environment,
        /// Why not.
        why: String,
    },
    /// Instances of an earlier restart, scale or stop are still on their way out.
    #[error("instances that leave {environment} are still being stopped")]
    StillLeaving {
        /// Where.
        environment: Environment,
    },
    /// The service is on its way out.
    #[error("the service is being removed, on the word of {by}")]
    BeingRemoved {
        /// Whose.
        by: String,
    },
    /// The service was removed before.
    #[error("the service was removed by {by}")]
    Removed {
        /// By whom.
        by: String,
    },
    /// What was to be stopped as idle has the traffic now.
    #[error("{environment} is live: it is not stopped without the service")]
    IsLive {
        /// Where.
        environment: Environment,
    },
    /// No instance runs.
    #[error("there is nothing to stop: {what} has no instances")]
    NothingToStop {
        /// What was to be stopped.
        what: String,
    },
    /// No deployment is open.
    #[error("there is nothing to abort: no deployment is open")]
    NothingToAbort,
    /// What was named has ended, or never was.
    #[error("deployment `{id}` is neither open nor waiting")]
    NotUnderWay {
        /// Its id.
        id: DeploymentId,
    },
    /// As many deployments wait already as may.
    #[error("{length} deployments wait already")]
    QueueFull {
        /// How many.
        length: usize,
    },
    /// Nothing waits behind the open deployment.
    #[error("nothing waits in the queue")]
    EmptyQueue,
    /// No deployment waits for a promote.
    #[error("there is nothing to promote: {why}")]
    NothingToPromote {
        /// Why not.
        why: String,
    },
    /// The schema of what is live cannot be contracted, or is already.
    #[error("there is nothing to contract: {why}")]
    NothingToContract {
        /// Why not.
        why: String,
    },
    /// The schema is changing below whatever would be started.
    #[error("the schema is being contracted for `{version}`, on the word of {by}")]
    Contracting {
        /// Whose word.
        by: String,
        /// The version that is live.
        version: Version,
        /// Since when.
        at: Timestamp,
    },
    /// No deployment is stuck.
    #[error("there is nothing to resolve: no deployment is stuck")]
    NothingToResolve,
    /// What is stuck cannot be settled that way.
    #[error("`{}` is no way out here; {} would be", way.label(), labels(possible))]
    NoSuchWay {
        /// What was chosen.
        way: Way,
        /// What could be.
        possible: Vec<Way>,
    },
}

fn labels(ways: &[Way]) -> String {
    let labels: Vec<String> = ways.iter().map(|way| format!("`{}`", way.label())).collect();
    labels.join(" or ")
}

/// A freeze in words, which begin with what is frozen.
pub(super) fn frozen(freeze: &Freeze) -> String {
    let Freeze { by, until, reason, all, .. } = freeze;
    let what = if *all { "every service" } else { "the service" };
    format!("{what} is frozen by {by} until {until}: {reason}")
}

fn waits(held: Option<&Held>) -> String {
    held.map(|Held { since, until }| {
        format!(" and waits for somebody's promote since {since}, until {until}")
    })
    .unwrap_or_default()
}

fn in_bake(baking: bool) -> &'static str {
    if baking { " and in its bake, which `--end-bake` would end" } else { "" }
}

impl Refusal {
    /// The refusal that names the open deployment.
    pub(super) fn open(asked: Asked, state: &ServiceState, deployment: &Deployment) -> Self {
        let baking = deployment.is_baking();
        let old = &state.environments[deployment.environment.other()];
        let warm = old.release.as_ref().filter(|_| baking && !old.instances.is_empty());
        Self::DeploymentOpen {
            asked,
            id: deployment.id.clone(),
            version: deployment.version.clone(),
            actor: deployment.actor.clone(),
            status: deployment.status,
            baking,
            held: deployment.held().map(Box::new),
            warm: warm.map(|release| release.version.clone()),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DeploymentOpen { baking: true, asked: Asked::Move, .. } => Some(
                "`--end-bake` ends the bake now: what goes wrong after that is not taken back by itself"
                    .to_owned(),
            ),
            Self::DeploymentOpen { baking: true, warm: Some(warm), .. } => Some(format!(
                "`--end-bake` ends the bake now and stops `{warm}`: until the next release is live, going back to \
                 it means starting it again; `--queue` waits for the end of the bake"
            )),
            Self::DeploymentOpen { baking: true, warm: None, .. } => Some(
                "`--end-bake` ends the bake now; there is no former release whose warmth would be lost"
                    .to_owned(),
            ),
            Self::DeploymentOpen { held: Some(_), asked: Asked::Deploy, .. } => Some(
                "`cutover promote` lets it go on, `cutover abort` takes it back; `--queue` waits for its end, \
                 `--supersede` replaces it"
                    .to_owned(),
            ),
            Self::DeploymentOpen { held: Some(_), .. } => {
                Some("`cutover promote` lets it go on, `cutover abort` takes it back".to_owned())
            }
            Self::DeploymentOpen { status: Status::Stuck, .. } => {
                Some("`cutover resolve` shows the ways out and what each of them means".to_owned())
            }
            Self::DeploymentOpen { asked: Asked::Move | Asked::RollbackTo, .. } => {
                Some("`cutover abort` takes it back; ask again once it has ended".to_owned())
            }
            Self::DeploymentOpen { .. } => Some(
                "`--queue` waits for its end, `--supersede` replaces it, `cutover abort` takes it back"
                    .to_owned(),
            ),
            Self::OtherTerms { id, queued: true, .. } => Some(format!(
                "`cutover abort --deployment {id}` takes it out of the queue; asked for without that it is followed"
            )),
            Self::OtherTerms { .. } => Some(
                "`--supersede` replaces it, `cutover abort` takes it back; asked for without that it is followed"
                    .to_owned(),
            ),
            Self::Frozen(_) => Some(
                "`--override-freeze REASON` deploys all the same and is recorded, `cutover unfreeze` ends the \
                 freeze; `cutover rollback` and `abort` are never frozen"
                    .to_owned(),
            ),
            Self::OutsideWindow { .. } => Some(
                "`--override-freeze REASON` deploys all the same and is recorded; the windows are those of \
                 `[windows]` in `cutover.toml`"
                    .to_owned(),
            ),
            Self::NothingToRollBackTo { .. } => {
                Some("deploy the version you want; it goes live once it has passed its gates".to_owned())
            }
            Self::NothingIsLive => Some("`cutover deploy` makes a first release live".to_owned()),
            Self::HoldIsTaken { .. } => {
                Some("it ends with the shift, or with `cutover abort`; `cutover status` tells how far it is".to_owned())
            }
            Self::NotPaused | Self::HoldIsOver => None,
            Self::InMaintenance => Some("`cutover maintenance off` ends it".to_owned()),
            Self::IsHeld => Some("`cutover unhold` lets them go on".to_owned()),
            Self::HookBeforeTheHold => Some(
                "that hook runs before the promotion, and so before the hold: leave out the wait for a person, or \
                 the hold"
                    .to_owned(),
            ),
            Self::ScaledToNothing => Some("`cutover stop` stops the whole service".to_owned()),
            Self::Stopped { .. } => Some("`cutover restart` starts it again".to_owned()),
            Self::Split { idle, .. } => Some(format!(
                "`cutover traffic {idle}=0` ends the split, `cutover rollback` sends everything to {idle}"
            )),
            Self::WeightsAreTaken { .. } => {
                Some("`cutover status` tells what it waits for; weights can be set once it has ended".to_owned())
            }
            Self::LiveHasChanged { .. } => {
                Some("`cutover traffic` shows how it is; say again what is meant".to_owned())
            }
            Self::WouldSwitch { .. } => Some(
                "`cutover rollback` switches to it, with all that belongs to a switch; 1 to 99 is a share".to_owned(),
            ),
            Self::MayNotShare { .. } => Some(
                "only a release that runs in the idle environment, has passed its gates and is healthy can be given \
                 one; `cutover status` tells how it is"
                    .to_owned(),
            ),
            Self::StillLeaving { .. } => {
                Some("ask again in a moment; `cutover status` tells how far it is".to_owned())
            }
            Self::BeingRemoved { .. } => Some(
                "`cutover restart` takes that back and starts it again; once it is gone, `cutover deploy` begins it \
                 anew"
                    .to_owned(),
            ),
            Self::IsLive { .. } => Some(
                "`cutover stop SERVICE` stops the whole service, `cutover stop SERVICE idle` what is warm".to_owned(),
            ),
            Self::Removed { .. } => Some("`cutover history` tells what it was".to_owned()),
            Self::Contracting { .. } => {
                Some("`cutover status` tells how far it is; ask again once it has ended".to_owned())
            }
            Self::NothingToContract { .. } => {
                Some("`cutover status` tells whether there is a way back to the former release".to_owned())
            }
            Self::FreezeTooLong { .. } => Some("`--until` names an earlier moment".to_owned()),
            Self::NothingToStop { .. } => None,
            Self::NotUnderWay { id } => Some(format!("`cutover show {id}` tells how it ended")),
            Self::NothingToPromote { .. } => {
                Some("`cutover status` tells what is open, and what it waits for".to_owned())
            }
            Self::QueueFull { .. } => {
                Some("`--supersede` replaces them all, `cutover abort --only-queue` drops them, `cutover abort --deployment ID` one of them".to_owned())
            }
            Self::AlreadyLive { .. }
            | Self::NothingToAbort
            | Self::EmptyQueue
            | Self::NothingToResolve
            | Self::NotSplit { .. }
            | Self::NotFrozen
            | Self::NoSuchWay { .. } => None,
        }
    }
}

impl Deployment {
    /// Whether traffic has moved and nothing but the end of the bake is awaited.
    #[must_use]
    pub fn is_baking(&self) -> bool {
        self.stage == Stage::Baking && self.status == Status::Live
    }
}
