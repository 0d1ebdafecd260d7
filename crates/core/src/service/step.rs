//! The decisions: one pure function from what was true and what happened to what is true now and what is wanted.
//!
//! The line forward is in `line`, its wait for a person in `hold`, the way back in `undo`, the emptying of a slot in
//! `clearing`, its filling again after a loss in `restore`, the exchange of instances within the live slot in `rounds`
//! and `leaving`, what runs beside live in `workers`, what waits its turn in `queue`, the share of the idle slot in
//! `traffic`, requests that wait in `pause`, every publication in `route`, what is learned of it afterwards in `traced`. `request`, `stop`, `remove`, `freeze`, `command`, `resolve`, `answer`,
//! `health`, `time` and `recover` hold one kind of event each, `by_hand` what `recover` finds moved, and `refusal` why
//! something is not granted. All of them work on a [`Draft`]. The same function serves the live run and the replay,
//! so it may depend on nothing but its arguments.
//!
//! Three rules hold everywhere and keep the cases few. *One shift at a time*: a route is always whole, so a newer
//! shift replaces the pending one and says what that one would have said. *What is no longer awaited is no longer
//! pending*: its answer is ignored, whatever it is. *Nothing waits without a deadline*: whatever is open has a
//! pending effect or a moment at which it is looked at again, or is stuck and says so.

mod answer;
mod by_hand;
mod checks;
mod clearing;
mod command;
mod contract;
mod draft;
mod freeze;
mod gates;
mod health;
mod hold;
mod leaving;
mod line;
mod pause;
mod queue;
mod recover;
mod refusal;
mod remove;
mod request;
mod resolve;
mod restore;
mod rounds;
mod route;
mod stop;
mod time;
mod traced;
mod traffic;
mod trailing;
mod undo;
mod workers;

pub use health::{Parting, Watched};
pub use refusal::{Asked, Held, Refusal};

use crate::service::deployment::{Deployment, DeploymentKind};
use crate::service::effect::PendingEffect;
use crate::service::event::Event;
use crate::service::state::ServiceState;
use crate::timestamp::Timestamp;
use draft::Draft;

/// What an event led to.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The service after the event.
    pub state: ServiceState,
    /// What is asked for now; all of it is in `state.pending` too. What is in neither any more need not go on.
    pub effects: Vec<PendingEffect>,
    /// The deployments that ended with this event: the open one, or what waited in the queue.
    pub closed: Vec<Deployment>,
    /// Deployments that had ended before, of which there is more to tell.
    pub told: Vec<Deployment>,
    /// Whether it is part of a rescue: asked for by a person, or taking something back. It is never refused for
    /// want of disk (I9).
    pub is_rescue: bool,
    changed: bool,
}

impl Transition {
    /// The deployments whose record is to be kept as it is now: those that ended, and those of which there is more to
    /// tell.
    pub fn to_keep(&self) -> impl Iterator<Item = &Deployment> {
        self.closed.iter().chain(&self.told)
    }

    /// Whether nothing came of the event, so that it need not be journalled: stale news, late and unknown answers.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        !self.changed
    }
}

/// Decides what an event means.
///
/// # Errors
/// [`Refusal`] if the event was a request that cannot be granted; nothing has changed then. Answers and news are
/// never refused: what is late or unknown gives a transition that [is a no-op](Transition::is_noop).
pub fn step(state: &ServiceState, event: &Event, now: Timestamp) -> Result<Transition, Refusal> {
    let mut draft = Draft::new(state.clone(), now);
    match event {
        Event::DeployRequested { deployment, actor, release, rollout, when_open, circumstances } => {
            draft.deploy_requested(deployment, actor, release, rollout, *when_open, circumstances)?;
        }
        Event::FreezeRequested { freeze } => draft.freeze_requested(freeze)?,
        Event::UnfreezeRequested { .. } => draft.unfreeze_requested()?,
        Event::RollbackRequested { deployment, actor } => draft.rollback_requested(deployment, actor)?,
        Event::RestartRequested { deployment, actor, end_bake } => {
            draft.restart_requested(deployment, actor, *end_bake)?;
        }
        Event::ScaleRequested { deployment, actor, instances, end_bake } => {
            draft.scale_requested(deployment, actor, *instances, *end_bake)?;
        }
        Event::RemoveRequested { actor, end_bake } => draft.remove_requested(actor, *end_bake)?,
        Event::RollbackToRequested { deployment, actor, release } => {
            draft.rollback_to_requested(deployment, actor, release)?;
        }
        Event::TrafficRequested { deployment, actor, weights, live } => {
            draft.traffic_requested(deployment, actor, *weights, *live)?;
        }
        Event::StopRequested { actor, scope, environment, end_bake } => {
            draft.stop_requested(actor, *scope, *environment, *end_bake)?;
        }
        Event::AbortRequested { actor, deployment: Some(one), .. } => draft.abort_one(one, actor)?,
        Event::AbortRequested { actor, only_queue, .. } => draft.abort_requested(actor, *only_queue)?,
        Event::PromoteRequested { deployment, actor } => {
            draft.promote_requested(deployment.as_ref(), actor)?
        }
        Event::ResolveRequested { actor, way } => draft.resolve_requested(actor, *way)?,
        Event::ContractRequested { actor, release } => draft.contract_requested(actor, release)?,
        Event::PauseRequested { actor, pause } => draft.pause_requested(actor, pause.as_ref())?,
        Event::ShiftTraced { deployment, trace, ended } => draft.traced(deployment, trace, ended.as_deref()),
        Event::CommandStarted { run } => draft.command_started(run),
        Event::CommandEnded { run } => draft.command_ended(run),
        Event::Answered { effect, answer } => draft.answered(effect, answer),
        Event::HealthChanged { environment, instances, health } => {
            draft.health_changed(*environment, instances, health);
        }
        Event::WorkersChanged { environment, workers, health } => {
            draft.workers_changed(*environment, workers, health);
        }
        Event::TimePassed => draft.time_passed(),
        Event::ControllerStarted { term, route, blind, running, releases } => {
            draft.commands_lost(*term);
            draft.controller_started(*term, route.as_ref(), *blind, running, releases.as_deref());
        }
    }
    draft.weigh_the_split();
    draft.go_on_contracting(false);
    draft.start_queued();
    draft.go_on_removing();
    draft.follow_with_workers();
    let (after, effects, closed, told) = draft.finish();
    let changed = after != *state || !effects.is_empty() || !closed.is_empty() || !told.is_empty();
    let is_rescue = event.is_rescue() || state.is_being_rescued() || after.is_being_rescued();
    let transition = Transition { state: after, effects, closed, told, is_rescue, changed };
    debug_assert_eq!(transition.state.check_invariants(), Ok(()), "after {event:?}");
    debug_assert_eq!(state.check_transition(event, &transition), Ok(()), "after {event:?}");
    Ok(transition)
}

impl Event {
    /// Whether a person asks for something to be taken back or settled.
    #[must_use]
    pub fn is_rescue(&self) -> bool {
        matches!(
            self,
            Self::RollbackRequested { .. }
                | Self::RollbackToRequested { .. }
                | Self::AbortRequested { .. }
                | Self::ResolveRequested { .. }
                | Self::PauseRequested { pause: None, .. }
        )
    }
}

impl ServiceState {
    fn is_being_rescued(&self) -> bool {
        let taken_back = |open: &Deployment| open.undo.is_some() || open.kind == DeploymentKind::Rollback;
        self.deployment.as_ref().is_some_and(taken_back) || self.is_ending_the_split()
    }
}
