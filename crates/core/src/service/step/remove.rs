//! A service taken away: stopped like by [`stop`](super::stop), then forgotten by the router. Its record stays, with
//! its epoch, so that a later deploy of the same name begins anew and is not refused as old.

use crate::environment::{Environment, PerEnvironment};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Removal, ServiceState, Slot};
use crate::service::step::draft::{Draft, RETRY_PAUSE};
use crate::service::step::refusal::Refusal;

impl Draft {
    pub(super) fn remove_requested(&mut self, actor: &str, end_bake: bool) -> Result<(), Refusal> {
        match &self.state.removal {
            Some(removal) if removal.done => return Err(Refusal::Removed { by: removal.by.clone() }),
            // Told twice is told once.
            Some(_) => return Ok(()),
            None => {}
        }
        self.end_bake_for_a_move(end_bake)?;
        self.stop_whatever_runs(actor);
        self.state.standby_until = None;
        self.state.removal =
            Some(Removal { by: actor.to_owned(), at: self.now, done: false, retry_at: None });
        Ok(())
    }

    /// Refuses what makes no sense for a service that goes.
    pub(super) fn is_here_to_stay(&self) -> Result<(), Refusal> {
        match &self.state.removal {
            Some(removal) if !removal.done => Err(Refusal::BeingRemoved { by: removal.by.clone() }),
            _ => Ok(()),
        }
    }

    /// Takes a removal back that is not done, whatever it waits for: what was stopped can be started again.
    pub(super) fn stay_after_all(&mut self) {
        if self.is_here_to_stay().is_err() {
            self.state.removal = None;
            self.forget(|pending| matches!(pending.effect, Effect::Unroute { .. }));
        }
    }

    /// Once nothing of it runs, the router is to forget it.
    pub(super) fn go_on_removing(&mut self) {
        let Some(removal) = self.state.removal.as_ref().filter(|removal| !removal.done) else { return };
        let waits = removal.retry_at.is_some_and(|at| at > self.now);
        if waits || !self.state.is_empty() {
            return;
        }
        if let Some(removal) = &mut self.state.removal {
            removal.retry_at = None;
        }
        self.state.republish_at = None;
        self.ask(Purpose::Upkeep, Effect::Unroute { epoch: self.state.epoch });
    }

    /// The router knows it no more: what is left is the record.
    pub(super) fn unrouted_for_good(&mut self) {
        self.state.environments = PerEnvironment::from_fn(|_| Slot::default());
        self.state.stopped = None;
        self.state.pause = None;
        if let Some(removal) = &mut self.state.removal {
            removal.done = true;
        }
    }

    pub(super) fn not_unrouted(&mut self) {
        let retry_at = Some(self.now + RETRY_PAUSE);
        if let Some(removal) = &mut self.state.removal {
            removal.retry_at = retry_at;
        }
    }

    /// The router has a service that was removed: an older route came late.
    pub(super) fn remove_again(&mut self) {
        if let Some(removal) = &mut self.state.removal {
            removal.done = false;
        }
    }
}

impl ServiceState {
    /// Whether nothing runs, is on its way, or is being changed.
    fn is_empty(&self) -> bool {
        let gone = |environment: &Environment| {
            let slot = &self.environments[*environment];
            slot.instances.is_empty() && slot.leaving.is_none() && slot.clearing.is_none()
        };
        let asks = |effect: &Effect| !matches!(effect, Effect::Prioritise { .. });
        Environment::ALL.iter().all(gone)
            && self.workers_are_settled()
            && !self.pending.iter().any(|pending| asks(&pending.effect))
    }
}
