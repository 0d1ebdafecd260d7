//! Putting back what should run and does not: after a reboot of the host, or when instances were lost.
//!
//! Live comes first. What is only kept warm waits until live is well, or for [`WARM_WAITS`], and starts only if
//! the host has room: memory that warmth takes must not be missing where the users are.

use std::time::Duration;

use crate::environment::Environment;
use crate::service::deployment::Stage;
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Health, Instance};
use crate::service::step::draft::Draft;

/// What is said of a slot whose instances were asked for again and not seen yet.
const COMING_BACK: &str = "its instances are being started again";
/// How long the warm release waits for a live one that does not become well: it may be the rescue.
const WARM_WAITS: Duration = Duration::from_secs(60);

impl Draft {
    /// Whether a slot's instances have to be there: live or warm, and not an attempt that has yet to prove itself.
    pub(super) fn is_kept_up(&self, environment: Environment) -> bool {
        let slot = self.slot(environment);
        let attempt = self.state.deployment.as_ref().is_some_and(|deployment| {
            deployment.environment == environment
                && deployment.cutover_at.is_none()
                && deployment.has_provisioned(slot)
        });
        let reviving = environment != self.state.live && self.deployment_at(Stage::Reviving).is_some();
        slot.passed_gates
            && slot.clearing.is_none()
            && !attempt
            && !reviving
            && !self.state.is_being_restored(environment)
    }

    /// Asks for a slot's own instances again, or waits its turn. Until the watch has seen them they count as
    /// unhealthy, so that nothing switches to them unproved (I8).
    pub(super) fn restore(&mut self, environment: Environment) {
        if environment != self.state.live && self.live_is_coming_back() {
            let retry_at = self.now + WARM_WAITS;
            let slot = self.slot_mut(environment);
            slot.health = Health::unhealthy("its instances are started again once the live ones are well");
            slot.retry_at = Some(retry_at);
            return;
        }
        let instances = self.ids(environment);
        let slot = self.slot_mut(environment);
        slot.retry_at = None;
        slot.health = Health::unhealthy(COMING_BACK);
        let Some(release) = slot.release.clone().map(Box::new) else {
            return;
        };
        let if_room = environment != self.state.live;
        self.ask(Purpose::Upkeep, Effect::Provision { environment, release, instances, if_room });
    }

    /// Live is well: what waited for that begins.
    pub(super) fn restore_what_waits(&mut self) {
        let idle = self.state.idle();
        let slot = self.slot(idle);
        let waits = slot.retry_at.is_some() && slot.tries == 0 && slot.trouble.is_none();
        if waits && self.is_kept_up(idle) {
            self.restore(idle);
        }
    }

    /// Whether a slot's turn to be put back is at a later moment.
    pub(super) fn has_to_wait(&self, environment: Environment) -> bool {
        self.slot(environment).retry_at.is_some_and(|at| at > self.now)
    }

    fn live_is_coming_back(&self) -> bool {
        let live = self.state.live;
        let waited = self.slot(live.other()).retry_at.is_some_and(|at| at <= self.now);
        let unseen = self.slot(live).health == Health::unhealthy(COMING_BACK);
        !waited && (self.state.is_being_restored(live) || unseen)
    }

    /// What should have been there is there again; the router has to know if it is somewhere else now.
    pub(super) fn restored(&mut self, environment: Environment, instances: &[Instance]) {
        let slot = self.slot_mut(environment);
        // What has left the slot meanwhile is none of its own any more.
        let mut moved = false;
        for own in &mut slot.instances {
            if let Some(found) = instances.iter().find(|found| found.id == own.id && *found != own) {
                (*own, moved) = (found.clone(), true);
            }
        }
        slot.trouble = None;
        slot.retry_at = None;
        slot.tries = 0;
        if moved {
            let weights = self.state.weights;
            self.publish(Purpose::Upkeep, weights);
        }
        // What was started anew begins as idle.
        self.prioritise();
    }

    pub(super) fn not_restored(&mut self, environment: Environment, reason: &str) {
        self.try_later(environment, format!("its instances could not be started again: {reason}"));
    }
}

impl Health {
    /// Not healthy, for this reason.
    #[must_use]
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self::Unhealthy { reason: reason.into(), last_lines: Vec::new() }
    }
}
