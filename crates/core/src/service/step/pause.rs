//! Requests that wait, or are sent away, on a person's word or for the sake of a shift that bears no overlap.
//!
//! What is said is part of the route, so it holds once a receipt came, also while the controller is dead; a hold ends by itself
//! at the router. A hold of a deployment ends with its shift, in the same publication: no request of the old release is left then
//! and the first one of the new comes after it.

use crate::names::DeploymentId;
use crate::routing::{Hold, Pause};
use crate::service::deployment::{Deployment, Outcome, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Paused, ServiceState};
use crate::service::step::draft::Draft;
use crate::service::step::refusal::Refusal;
use crate::service::step::undo::Cause;

/// The word of the step in which requests begin to wait.
const HOLD: &str = "hold";
/// The word of the step in which those that are under way end.
const QUIET: &str = "quiet";

impl Draft {
    /// Somebody wants a pause, or none any more.
    pub(super) fn pause_requested(&mut self, actor: &str, pause: Option<&Pause>) -> Result<(), Refusal> {
        self.is_here_to_stay()?;
        if self.state.environments[self.state.live].release.is_none() {
            return Err(Refusal::NothingIsLive);
        }
        if let Some(deployment) = self.state.pausing_deployment() {
            return Err(Refusal::HoldIsTaken { id: deployment.clone() });
        }
        if let Some(open) = self.quiet_deployment().filter(|_| pause.is_none()) {
            return Err(Refusal::HoldIsTaken { id: open.id.clone() });
        }
        let in_maintenance = matches!(&self.state.pause, Some(Paused { pause: Pause::Maintenance(_), .. }));
        match pause {
            None if self.state.pause.is_none() => return Err(Refusal::NotPaused),
            Some(Pause::Hold(_)) if in_maintenance => return Err(Refusal::InMaintenance),
            Some(Pause::Hold(Hold { until, .. })) if *until <= self.now => return Err(Refusal::HoldIsOver),
            _ => {}
        }
        let (by, at) = (actor.to_owned(), self.now);
        self.state.pause =
            pause.map(|pause| Paused { by, at, pause: pause.clone(), deployment: None, after: None });
        self.publish(Purpose::Upkeep, self.state.weights);
        Ok(())
    }

    /// The time of a hold is over: the router has ended it already, and is told that nobody wants it any more.
    pub(super) fn pause_ends(&mut self) {
        let id = self.state.pausing_deployment().cloned();
        self.end_pause();
        if self.state.deployment.as_ref().is_some_and(|open| Some(&open.id) == id.as_ref()) {
            let reason = "the time for which requests could be held was over before it could be switched; \
                          `--hold TIME` gives it more";
            self.undo(reason.to_owned(), Cause::Failure);
        }
        // A service that goes is about to be forgotten, or is already.
        if self.state.removal.is_none() {
            self.publish(Purpose::Upkeep, self.state.weights);
        }
    }

    /// Whether the open deployment still has to have requests wait before it goes on; if so that begins.
    pub(super) fn needs_quiet(&mut self) -> bool {
        let Some(open) = &self.state.deployment else { return false };
        let Some(time) = open.rollout.hold_requests else { return false };
        if self.state.pausing_deployment() == Some(&open.id) || open.is_quiet() {
            return false;
        }
        if self.slot(self.state.live).instances.is_empty() {
            // There is nobody whom it could overlap with.
            return false;
        }
        let pause = Pause::Hold(Hold::until(self.now + time));
        let by = open.actor.clone();
        let after = self.state.pause.clone().map(Box::new);
        let own = Paused { by, at: self.now, pause, deployment: Some(open.id.clone()), after };
        self.revise(|deployment| {
            deployment.stage = Stage::Quieting;
            deployment.status = Status::Shifting;
        });
        if matches!(&self.state.pause, Some(Paused { pause: Pause::Maintenance(_), .. })) {
            // Nobody gets in, and that is for a person to end.
            self.await_quiet();
            return true;
        }
        self.state.pause = Some(own);
        self.begin_step(HOLD);
        self.publish(Purpose::Deployment, self.state.weights);
        true
    }

    /// Requests wait: those that are under way get their time to end.
    pub(super) fn held_requests(&mut self) {
        self.end_step(HOLD, Outcome::Passed, "new requests wait");
        self.await_quiet();
    }

    fn await_quiet(&mut self) {
        let live = self.state.live;
        self.begin_step(QUIET);
        let instances = self.ids(live);
        let policy = self.state.drain_policy();
        self.ask(Purpose::Deployment, Effect::Drain { environment: live, instances, policy, stays: true });
    }

    /// They have ended, or not.
    pub(super) fn quieted(&mut self, outcome: Outcome, left: u64, detail: &str) {
        if outcome == Outcome::Failed || left > 0 {
            self.end_step(QUIET, Outcome::Failed, detail);
            let reason = format!("the old release is not quiet: {detail}");
            return self.undo(reason, Cause::Failure);
        }
        self.end_step(QUIET, Outcome::Passed, "no request is under way");
        match self.state.deployment.as_ref().map(|open| (open.environment, open.rollout.hold)) {
            // Somebody has promoted it, and nothing is asked after that.
            Some((environment, Some(_))) => self.pass_gates(environment),
            _ => {
                self.revise(|deployment| {
                    deployment.stage = Stage::Validating;
                    deployment.status = Status::Validating;
                });
                self.ask_next();
            }
        }
    }

    /// The open deployment, if requests have begun to be kept out for its shift.
    fn quiet_deployment(&self) -> Option<&Deployment> {
        let begun = |open: &&Deployment| open.stage == Stage::Quieting || open.is_quiet();
        self.state
            .deployment
            .as_ref()
            .filter(|open| open.undo.is_none() && open.cutover_at.is_none())
            .filter(begun)
    }

    /// What holds ends; a person's hold that it had covered goes on, if its time is not over.
    fn end_pause(&mut self) {
        let now = self.now;
        let after = self.state.pause.take().and_then(|paused| paused.after).map(|after| *after);
        self.state.pause = after.filter(|after| match &after.pause {
            Pause::Hold(hold) => hold.until > now,
            Pause::Maintenance(_) => true,
        });
    }

    /// The hold of a deployment ends with whatever is published next.
    pub(super) fn lift_hold_of(&mut self, id: &DeploymentId) -> bool {
        let is_its = self.state.pausing_deployment() == Some(id);
        if is_its {
            self.end_pause();
        }
        is_its
    }
}

impl Deployment {
    /// Whether the requests of the old release have ended for its shift.
    fn is_quiet(&self) -> bool {
        self.steps.iter().any(|report| report.name == QUIET && report.outcome == Some(Outcome::Passed))
    }
}

impl ServiceState {
    /// The deployment that a present hold is part of.
    pub(super) fn pausing_deployment(&self) -> Option<&DeploymentId> {
        self.pause.as_ref()?.deployment.as_ref()
    }
}
