//! Instances that go while their slot stays: out of the table first, then waited for, then stopped.
//!
//! It goes on whatever becomes of the restart or stop that began it, and is tried again until it is done.

use crate::environment::Environment;
use crate::names::InstanceId;
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Clearing, Leaving};
use crate::service::step::draft::{Draft, RETRY_PAUSE};

impl Draft {
    /// Begins to take instances out of a slot, from which they have been removed already; what was leaving it before
    /// and is not done yet goes with them.
    pub(super) fn leave(
        &mut self,
        environment: Environment,
        mut instances: Vec<InstanceId>,
        phase: Clearing,
    ) {
        let slot = self.slot_mut(environment);
        let stay: Vec<InstanceId> = slot.instances.iter().map(|instance| instance.id.clone()).collect();
        let earlier = slot.leaving.take().into_iter().flat_map(|leaving| leaving.instances);
        let earlier: Vec<InstanceId> =
            earlier.filter(|id| !stay.contains(id) && !instances.contains(id)).collect();
        // Of those it is not known here whether they have left the table.
        let phase = if earlier.is_empty() { phase } else { Clearing::Unrouting };
        instances.extend(earlier);
        slot.leaving = Some(Leaving { instances, phase, trouble: None, retry_at: None });
        self.forget(|pending| {
            pending.purpose == Purpose::Leaving(environment)
                && !matches!(pending.effect, Effect::Shift { .. })
        });
        self.go_on_leaving(environment);
    }

    /// Asks for what comes next.
    pub(super) fn go_on_leaving(&mut self, environment: Environment) {
        let purpose = Purpose::Leaving(environment);
        let Some(leaving) = self.slot_mut(environment).leaving.as_mut() else { return };
        (leaving.trouble, leaving.retry_at) = (None, None);
        let (instances, phase) = (leaving.instances.clone(), leaving.phase);
        match phase {
            Clearing::Unrouting => {
                let weights = self.state.weights;
                if !self.publish(purpose, weights) {
                    self.left_to(environment, Clearing::Draining);
                }
            }
            Clearing::Draining if instances.is_empty() => self.have_left(environment),
            Clearing::Draining => {
                let policy = self.state.drain_policy().at_once();
                self.ask(purpose, Effect::Drain { environment, instances, policy, stays: false });
            }
            Clearing::Retiring => self.ask(purpose, Effect::Retire { environment, instances }),
        }
    }

    /// Goes on to the next part.
    pub(super) fn left_to(&mut self, environment: Environment, next: Clearing) {
        if let Some(leaving) = self.slot_mut(environment).leaving.as_mut() {
            leaving.phase = next;
        }
        self.go_on_leaving(environment);
    }

    /// They are stopped.
    pub(super) fn have_left(&mut self, environment: Environment) {
        self.slot_mut(environment).leaving = None;
        self.exchanged(environment);
    }

    pub(super) fn leaving_failed(&mut self, environment: Environment, reason: &str) {
        let retry_at = Some(self.now + RETRY_PAUSE);
        if let Some(leaving) = self.slot_mut(environment).leaving.as_mut() {
            (leaving.trouble, leaving.retry_at) = (Some(reason.to_owned()), retry_at);
        }
    }

    /// A publication failed that would have taken instances out of the table, whatever else it was for.
    pub(super) fn unrouting_failed(&mut self, reason: &str) {
        for environment in Environment::ALL {
            if self.is_cleared_by_a_route(environment) {
                self.clearing_failed(environment, reason);
            }
            if self.is_unrouting(environment) {
                self.leaving_failed(environment, reason);
            }
        }
    }

    /// A receipt came: it proves that what was to leave the table has left it.
    pub(super) fn unrouted_what_leaves(&mut self) {
        for environment in Environment::ALL {
            if self.is_unrouting(environment) {
                self.left_to(environment, Clearing::Draining);
            }
        }
    }

    fn is_unrouting(&self, environment: Environment) -> bool {
        let slot = self.slot(environment);
        let unrouting = |leaving: &Leaving| leaving.phase == Clearing::Unrouting;
        slot.clearing.is_none() && slot.leaving.as_ref().is_some_and(unrouting)
    }

    /// The slot itself is emptied: what was leaving it is stopped with the rest.
    pub(super) fn leave_with_the_slot(&mut self, environment: Environment) {
        self.forget(|pending| pending.purpose == Purpose::Leaving(environment) && pending.route().is_none());
    }

    /// The ids of those that are on their way out.
    pub(super) fn leaving_ids(&self, environment: Environment) -> Vec<InstanceId> {
        self.slot(environment).leaving.iter().flat_map(|leaving| leaving.instances.clone()).collect()
    }
}
