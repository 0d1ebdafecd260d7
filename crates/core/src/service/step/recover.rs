//! A controller started: what was wanted is compared with what is there, and asked for again.

use std::collections::BTreeSet;

use crate::environment::Environment;
use crate::epoch::Epoch;
use crate::names::InstanceId;
use crate::service::deployment::{Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::event::ObservedRoute;
use crate::service::state::Health;
use crate::service::step::draft::Draft;
use crate::service::step::undo::Cause;

impl Draft {
    pub(super) fn controller_started(
        &mut self,
        term: u32,
        route: Option<&ObservedRoute>,
        running: &[InstanceId],
    ) {
        let running: BTreeSet<_> = running.iter().collect();
        let last_epoch = self.state.epoch;
        let observed = route.map_or(Epoch::ZERO, |route| route.epoch);
        self.state.epoch = last_epoch.max(Epoch::start_of(term)).max(observed);
        let strays: Vec<_> =
            running.iter().filter(|id| !self.is_known(id)).map(|id| (**id).clone()).collect();

        let shifting = self.renew_shift();
        self.ask_again();
        self.undo_if_broken(&running);
        for environment in Environment::ALL {
            let gone =
                self.slot(environment).instances.iter().any(|instance| !running.contains(&instance.id));
            if gone && self.is_kept_up(environment) {
                self.restore(environment);
            }
        }
        self.retire_strays(strays);
        self.undo_again_if_stuck();
        // What the router has is not what was asked for last: it lost it, or somebody else has been there.
        let astray = route.is_none_or(|r| r.weights != self.state.weights || r.epoch < last_epoch);
        let routed = self.slot(self.state.live).release.is_some();
        if astray && routed && !shifting && !self.is_shifting() {
            let weights = self.state.weights;
            self.publish(Purpose::Upkeep, weights);
        }
    }

    fn is_shifting(&self) -> bool {
        self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Shift { .. }))
    }

    /// An attempt whose instances went away did not pass its gates with those that would replace them (I2).
    fn undo_if_broken(&mut self, running: &BTreeSet<&InstanceId>) {
        let Some(deployment) = &self.state.deployment else {
            return;
        };
        if !matches!(deployment.stage, Stage::AwaitingHealth | Stage::Shifting) {
            return;
        }
        let slot = self.slot(deployment.environment);
        let gone = slot.instances.iter().find(|instance| !running.contains(&instance.id));
        if let Some(gone) = gone.map(|instance| instance.id.clone()) {
            self.undo(
                format!("instance `{gone}` was gone after a restart of the controller"),
                Cause::Failure,
            );
        }
    }

    /// A restart is as good as a person's word: what blocked the undo may be gone, and leaving the route to be
    /// put right by its weights alone could put back the release that was being taken back.
    fn undo_again_if_stuck(&mut self) {
        if self.state.deployment.as_ref().is_some_and(|deployment| deployment.status == Status::Stuck) {
            self.undo_again();
        }
    }

    /// Whether a slot's instances have to be there: live or warm, and not an attempt that has yet to prove itself.
    fn is_kept_up(&self, environment: Environment) -> bool {
        let slot = self.slot(environment);
        let attempt = self.state.deployment.as_ref().is_some_and(|deployment| {
            deployment.environment == environment
                && deployment.cutover_at.is_none()
                && deployment.has_provisioned(slot)
        });
        slot.passed_gates && slot.clearing.is_none() && !attempt && !self.state.is_being_restored(environment)
    }

    /// Asks for a slot's own instances again. Until the watch has seen them they count as unhealthy, so that
    /// nothing switches to them unproved (I8).
    pub(super) fn restore(&mut self, environment: Environment) {
        let instances = self.ids(environment);
        let slot = self.slot_mut(environment);
        slot.retry_at = None;
        slot.health = Health::Unhealthy { reason: "its instances are being started again".to_owned() };
        let Some(release) = slot.release.clone().map(Box::new) else {
            return;
        };
        self.ask(Purpose::Upkeep, Effect::Provision { environment, release, instances });
    }

    /// Whether the state knows of an instance: it is in a slot, or part of the open attempt.
    fn is_known(&self, id: &InstanceId) -> bool {
        Environment::ALL.into_iter().any(|environment| {
            let slot = self.slot(environment);
            slot.instances.iter().any(|instance| instance.id == *id) || self.attempt_ids(slot).contains(id)
        })
    }

    /// Stops what runs under the service's name and nobody knows: a start that outlived its undo (I5).
    fn retire_strays(&mut self, strays: Vec<InstanceId>) {
        self.forget(|pending| {
            pending.purpose == Purpose::Upkeep && matches!(pending.effect, Effect::Retire { .. })
        });
        if !strays.is_empty() {
            let environment = self.state.idle();
            self.ask(Purpose::Upkeep, Effect::Retire { environment, instances: strays });
        }
    }
}
