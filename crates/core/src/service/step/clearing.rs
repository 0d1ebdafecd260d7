//! Emptying a slot that has no weight: wait for what it holds, take it out of the table, stop it.
//!
//! Three lines wait for its end: a deployment that needs the slot, the undo of one that has started something
//! there, and nobody (the standby's end, the leftovers of a rollback). Only for the last two tries are repeated.

use crate::environment::Environment;
use crate::service::deployment::{Deployment, Outcome, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Clearing, Health};
use crate::service::step::draft::Draft;
use crate::service::step::undo::Cause;

impl Draft {
    /// Begins to empty a slot; never the live one.
    pub(super) fn clear(&mut self, environment: Environment) {
        if environment == self.state.live {
            debug_assert!(false, "the live environment is never cleared");
            return;
        }
        (self.state.standby_until, self.state.standby_left) = (None, None);
        let restoring =
            |effect: &Effect| matches!(effect, Effect::Provision { environment: e, .. } if *e == environment);
        self.forget(|pending| pending.purpose == Purpose::Upkeep && restoring(&pending.effect));
        self.leave_with_the_slot(environment);
        let slot = self.slot_mut(environment);
        slot.clearing = Some(match (slot.passed_gates, slot.rolled_back || slot.private) {
            (true, _) => Clearing::Draining,
            // It may have been in the table, and only a receipt proves that it has left it.
            (false, true) => Clearing::Unrouting,
            // What never passed its gates was never in the table, so nobody can hold on to it.
            (false, false) => Clearing::Retiring,
        });
        slot.health = Health::Unknown;
        self.go_on_clearing(environment);
    }

    /// Empties a slot for somebody who waits: begins, or stops pausing after a failure.
    pub(super) fn clear_now(&mut self, environment: Environment) {
        if self.slot(environment).clearing.is_none() {
            self.clear(environment);
        } else if !self.is_awaited(environment) {
            self.go_on_clearing(environment);
        } else if self.slot(environment).clearing == Some(Clearing::Draining) {
            // It was in no hurry.
            self.forget(|pending| pending.purpose == Purpose::Clearing(environment));
            self.go_on_clearing(environment);
        }
    }

    /// Whether somebody waits for the end of the clearing.
    fn is_needed(&self, environment: Environment) -> bool {
        let waits = matches!(self.waiting_for(environment), Some(Stage::Vacating | Stage::Retiring));
        waits || self.state.stopped.is_some() || self.state.removal.is_some()
    }

    fn is_awaited(&self, environment: Environment) -> bool {
        self.state.pending.iter().any(|pending| pending.purpose == Purpose::Clearing(environment))
    }

    /// Asks for what the slot's clearing needs next.
    pub(super) fn go_on_clearing(&mut self, environment: Environment) {
        let purpose = Purpose::Clearing(environment);
        let slot = self.slot_mut(environment);
        slot.trouble = None;
        slot.retry_at = None;
        match slot.clearing {
            Some(Clearing::Draining) => {
                let mut instances = self.ids(environment);
                instances.extend(self.leaving_ids(environment));
                // Whoever waits for the slot waits for plain requests and no longer.
                let policy = self.state.drain_policy();
                let policy = if self.is_needed(environment) { policy.at_once() } else { policy };
                self.ask(purpose, Effect::Drain { environment, instances, policy, stays: false });
            }
            Some(Clearing::Unrouting) => {
                let weights = self.state.weights;
                if !self.publish(purpose, weights) {
                    self.cleared_to(environment, Clearing::Retiring);
                }
            }
            Some(Clearing::Retiring) => {
                // Also those that were asked for and never answered.
                let mut instances = self.ids(environment);
                let mut asked = self.state.asked_for(environment);
                asked.extend(self.leaving_ids(environment));
                instances.extend(asked.into_iter().filter(|id| !instances.contains(id)).collect::<Vec<_>>());
                self.ask(purpose, Effect::Retire { environment, instances });
            }
            None => {}
        }
    }

    /// Goes on to the next part of a clearing.
    pub(super) fn cleared_to(&mut self, environment: Environment, next: Clearing) {
        self.slot_mut(environment).clearing = Some(next);
        self.go_on_clearing(environment);
    }

    /// A receipt came. Every route is whole, so it proves that what was to leave the table has left it.
    pub(super) fn unrouted(&mut self) {
        for environment in Environment::ALL {
            if self.is_cleared_by_a_route(environment) {
                self.cleared_to(environment, Clearing::Retiring);
            }
        }
    }

    /// Whether a slot's clearing waits for a publication, no matter what that is for besides.
    pub(super) fn is_cleared_by_a_route(&self, environment: Environment) -> bool {
        self.slot(environment).clearing == Some(Clearing::Unrouting) && !self.is_stuck_on(environment)
    }

    fn is_stuck_on(&self, environment: Environment) -> bool {
        let stuck = |d: &Deployment| d.environment == environment && d.status == Status::Stuck;
        self.state.deployment.as_ref().is_some_and(stuck)
    }

    /// The instances are stopped: the slot is cold, and whoever waited for it goes on.
    pub(super) fn cleared(&mut self, environment: Environment) {
        let slot = self.slot_mut(environment);
        slot.instances.clear();
        slot.leaving = None;
        slot.clearing = None;
        slot.trouble = None;
        slot.retry_at = None;
        slot.tries = 0;
        match self.waiting_for(environment) {
            Some(Stage::Vacating) => {
                self.end_step("vacate", Outcome::Passed, "");
                self.provision();
            }
            Some(Stage::Retiring) => self.attempt_retired(),
            _ => {}
        }
    }

    /// A part of a clearing failed.
    pub(super) fn clearing_failed(&mut self, environment: Environment, reason: &str) {
        let waiting = self.waiting_for(environment);
        self.try_later(environment, reason.to_owned());
        if waiting == Some(Stage::Retiring) {
            // Stuck: a person decides when it is tried again.
            self.slot_mut(environment).retry_at = None;
        }
        match waiting {
            Some(Stage::Vacating) => {
                self.undo(format!("{environment} could not be emptied: {reason}"), Cause::Failure);
            }
            Some(Stage::Retiring) => self.get_stuck("its instances could not be stopped", reason),
            _ => {}
        }
    }

    fn waiting_for(&self, environment: Environment) -> Option<Stage> {
        self.state.deployment.as_ref().filter(|d| d.environment == environment).map(|d| d.stage)
    }
}
