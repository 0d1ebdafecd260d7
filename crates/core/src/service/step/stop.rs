//! Instances stopped on a person's word: what is warm, or the whole service.

use crate::environment::Environment;
use crate::routing::Pause;
use crate::service::effect::{Effect, Purpose};
use crate::service::event::StopScope;
use crate::service::state::{Clearing, Health, Stopped};
use crate::service::step::draft::Draft;
use crate::service::step::refusal::Refusal;

impl Draft {
    pub(super) fn stop_requested(
        &mut self,
        actor: &str,
        scope: StopScope,
        meant: Option<Environment>,
        end_bake: bool,
    ) -> Result<(), Refusal> {
        self.is_here_to_stay()?;
        // Traffic may have moved while a person was asked whether it is meant.
        if scope == StopScope::Idle && meant == Some(self.state.live) {
            return Err(Refusal::IsLive { environment: self.state.live });
        }
        self.end_bake_for_a_move(end_bake)?;
        match scope {
            StopScope::Idle => self.stop_the_idle(),
            StopScope::Service => self.stop_everything(actor),
        }
    }

    fn stop_the_idle(&mut self) -> Result<(), Refusal> {
        let idle = self.state.idle();
        if self.slot(idle).instances.is_empty() {
            return Err(Refusal::NothingToStop { what: format!("{idle} is idle and") });
        }
        self.is_whole()?;
        self.clear_now(idle);
        Ok(())
    }

    fn stop_everything(&mut self, actor: &str) -> Result<(), Refusal> {
        let live = self.state.live;
        let cold = self.slot(live).instances.is_empty();
        if cold && self.slot(live.other()).instances.is_empty() {
            return Err(Refusal::NothingToStop { what: format!("`{}`", self.state.name) });
        }
        self.stop_whatever_runs(actor);
        Ok(())
    }

    /// Stops all there is, and nothing starts it again by itself.
    pub(super) fn stop_whatever_runs(&mut self, actor: &str) {
        let live = self.state.live;
        let cold = self.slot(live).instances.is_empty();
        // Whoever stops it wants nothing to start it a moment later.
        self.drop_queue(&format!("dropped from the queue: the service was stopped by {actor}"));
        // There is nothing to wait for any more.
        if self.state.pause.as_ref().is_some_and(|paused| matches!(paused.pause, Pause::Hold(_))) {
            self.state.pause = None;
        }
        self.state.stopped = Some(Stopped { by: actor.to_owned(), at: self.now });
        if !cold {
            self.empty_the_live_slot(live);
        }
        let idle = live.other();
        if !self.slot(idle).instances.is_empty() {
            self.clear_now(idle);
        }
    }

    /// Its release stays: a restart starts it again.
    fn empty_the_live_slot(&mut self, live: Environment) {
        self.put_nothing_back(live);
        let instances = self.ids(live);
        let slot = self.slot_mut(live);
        // A restart brings back as many.
        let count = u32::try_from(instances.len()).ok();
        slot.scaled_to = count.filter(|count| Some(*count) != slot.configured());
        slot.instances.clear();
        slot.health = Health::Unknown;
        (slot.retry_at, slot.trouble, slot.tries) = (None, None, 0);
        self.leave(live, instances, Clearing::Unrouting);
    }

    /// What was missed of a slot is not wanted any more.
    pub(super) fn put_nothing_back(&mut self, slot: Environment) {
        let starts =
            |effect: &Effect| matches!(effect, Effect::Provision { environment, .. } if *environment == slot);
        self.forget(|pending| pending.purpose == Purpose::Upkeep && starts(&pending.effect));
    }
}
