//! A person's choice for what is stuck.

use crate::service::deployment::{Outcome, Status};
use crate::service::effect::Purpose;
use crate::service::resolve::Way;
use crate::service::step::draft::Draft;
use crate::service::step::refusal::Refusal;

impl Draft {
    pub(super) fn resolve_requested(&mut self, actor: &str, way: Way) -> Result<(), Refusal> {
        let stuck = self.state.deployment.as_ref().filter(|open| open.status == Status::Stuck);
        let Some(stuck) = stuck else { return Err(Refusal::NothingToResolve) };
        let possible = Way::of(stuck);
        if !possible.contains(&way) {
            return Err(Refusal::NoSuchWay { way, possible: possible.to_vec() });
        }
        match way {
            Way::Retry => self.undo_again(),
            Way::Keep => self.keep(actor),
            Way::Abandon => self.abandon(actor),
        }
        Ok(())
    }

    /// The new release stays live although it was being taken back.
    fn keep(&mut self, actor: &str) {
        let standby = self.state.deployment.as_ref().map(|stuck| stuck.rollout.standby).unwrap_or_default();
        self.end_as_told(Status::Live, &format!("kept live by {actor} when taking it back had failed"));
        if !self.slot(self.state.idle()).instances.is_empty() {
            self.state.standby_until = Some(self.now + standby);
        }
        self.publish_anew();
    }

    /// The router may or may not have done what was asked last; now it is told anew where traffic belongs.
    fn publish_anew(&mut self) {
        let weights = self.state.weights;
        self.publish(Purpose::Upkeep, weights);
    }

    /// What could not be undone stays as it is: nothing of it is ever switched to, and what was being stopped goes
    /// on being stopped.
    fn abandon(&mut self, actor: &str) {
        let Some(stuck) = &self.state.deployment else { return };
        let environment = stuck.environment;
        let trouble = stuck.reason.clone().unwrap_or_default();
        let standby = stuck.rollout.standby;
        self.slot_mut(environment).rolled_back = true;
        self.end_as_told(Status::Failed, &format!("its undo was given up by {actor}"));
        if self.slot(environment).clearing.is_some() {
            self.try_later(environment, trouble);
        } else {
            // Either side may have the traffic now; a while after it was told where to go nobody needs this one.
            self.state.standby_until = Some(self.now + standby);
        }
        self.publish_anew();
    }

    fn end_as_told(&mut self, status: Status, because: &str) {
        self.revise(|deployment| {
            let trouble = deployment.reason.take().unwrap_or_default();
            deployment.reason = Some(format!("{because}; {trouble}"));
        });
        self.end_steps(Outcome::Failed, because);
        self.close(status);
    }
}
