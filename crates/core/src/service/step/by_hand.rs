//! Traffic that somebody moved past the controller, while it was dead or did not answer.
//!
//! An epoch that is newer than the last one asked for here can only come from a person at the router itself, as
//! with `rollback --break-glass`: another controller would have left its records. Whoever did it saw more than
//! the controller does; so traffic stays where it was moved to, if what is there may serve at all.
//!
//! One hand cannot be told from an older table: that which follows a controller of a later term whose shift never
//! arrived. Its epoch is older than that shift's, and the later word holds (I7).

use crate::environment::{Environment, Weights};
use crate::epoch::Epoch;
use crate::names::DeploymentId;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::event::ObservedRoute;
use crate::service::state::Clearing;
use crate::service::step::draft::Draft;
use crate::service::step::undo::Cause;

/// Who asked, as far as is known here.
const ACTOR: &str = "somebody at the proxy";

impl Draft {
    /// Where traffic was moved to by hand, if it was: under an epoch that nobody here asked for, or under one that
    /// was asked for with other weights. To be asked before anything is asked for anew.
    pub(super) fn moved_by_hand(&self, route: Option<&ObservedRoute>) -> Option<Environment> {
        let route = route?;
        let asked = self.state.pending.iter().find_map(|pending| match &pending.effect {
            Effect::Shift { route: asked } if asked.epoch == Some(route.epoch) => Some(asked.weights),
            _ => None,
        });
        let newer = route.epoch > self.state.epoch;
        let other = route.epoch == self.state.epoch
            && route.epoch > Epoch::ZERO
            && route.weights != asked.unwrap_or(self.state.weights);
        if !newer && !other {
            return None;
        }
        Environment::ALL.into_iter().find(|environment| route.weights == Weights::all_to(*environment))
    }

    /// Makes what a person did the recorded truth; answers what was decided, in one sentence.
    pub(super) fn follow_the_hand(&mut self, to: Environment, epoch: Epoch) -> String {
        let reason = format!("traffic was moved to {to} by hand, past the controller");
        // Whoever rescues wants no surprise a moment later.
        self.drop_queue(&format!("dropped from the queue: {reason}"));
        match self.state.deployment.clone() {
            Some(open) if open.undo.is_some() => self.go_on_undoing(&open, to, &reason),
            Some(open) => self.end_for_the_hand(&open, to, &reason, epoch),
            None => self.roll_back_for_the_hand(to, &reason, epoch),
        }
    }

    /// An undo was begun before the hand moved: it ends on its own side, and the hand's if that is the same.
    fn go_on_undoing(&mut self, open: &Deployment, to: Environment, reason: &str) -> String {
        let home = if open.cutover_at.is_some() { open.environment.other() } else { self.state.live };
        if to != home {
            self.undo_again_if_stuck();
            return format!("{reason}, and is moved back, because the deployment there is being taken back");
        }
        if open.stage == Stage::Reviving {
            // It need not become well any more to be sent the traffic: it has it.
            self.forget(|pending| pending.purpose == Purpose::Deployment);
            self.end_step("revive", Outcome::Passed, reason);
            self.revise(|deployment| deployment.stage = Stage::ShiftingBack);
            self.undo_again();
        } else {
            self.undo_again_if_stuck();
        }
        format!("{reason}, where it was going: the undo ends there")
    }

    fn undo_again_if_stuck(&mut self) {
        if self.state.deployment.as_ref().is_some_and(|open| open.status == Status::Stuck) {
            self.undo_again();
        }
    }

    fn end_for_the_hand(&mut self, open: &Deployment, to: Environment, reason: &str, epoch: Epoch) -> String {
        let is_overtaken = open.kind == DeploymentKind::Traffic && to != self.state.live;
        match (open.stage, to == self.state.live) {
            _ if is_overtaken => {
                self.give_up_weights(reason);
                self.roll_back_for_the_hand(to, reason, epoch)
            }
            (Stage::Shifting, true) => {
                self.undo(reason.to_owned(), Cause::ByHand);
                format!("{reason}, and stays there: the deployment is taken back")
            }
            (_, true) => format!("{reason}, where it was"),
            (Stage::Shifting, false) => format!("{reason}, where it was going"),
            (Stage::Baking, false) => {
                self.trust(to);
                self.undo(reason.to_owned(), Cause::ByHand);
                format!("{reason}: the deployment counts as taken back")
            }
            (_, false) => {
                self.undo(reason.to_owned(), Cause::ByHand);
                if self.state.deployment.is_some() {
                    return format!(
                        "{reason}, and is moved back, because what is there is no more than tried"
                    );
                }
                self.roll_back_for_the_hand(to, reason, epoch)
            }
        }
    }

    fn roll_back_for_the_hand(&mut self, to: Environment, reason: &str, epoch: Epoch) -> String {
        if to == self.state.live && self.state.is_split() {
            self.end_the_split(ACTOR, reason);
            return format!("{reason}, and nothing is split any more");
        }
        if to == self.state.live {
            return format!("{reason}, where it was");
        }
        if self.is_here_to_stay().is_err() {
            return format!("{reason}, and the service is removed all the same");
        }
        self.trust(to);
        let id = DeploymentId::try_from(format!("hand-{}", epoch.get()));
        if id.is_ok_and(|id| self.trusted == Some(to) && self.open_rollback(&id, ACTOR).is_ok()) {
            return format!("{reason}, and stays there");
        }
        format!("{reason}, and is moved back, because what is on {to} may not serve")
    }

    /// A slot that has the traffic again is not emptied if nothing of it was stopped yet, and what is thought of its
    /// health does not count.
    fn trust(&mut self, environment: Environment) {
        let slot = self.slot(environment);
        if slot.clearing == Some(Clearing::Retiring) || slot.rolled_back || slot.instances.is_empty() {
            return;
        }
        self.forget(|pending| pending.purpose == Purpose::Clearing(environment));
        let slot = self.slot_mut(environment);
        slot.clearing = None;
        slot.trouble = None;
        slot.retry_at = None;
        slot.tries = 0;
        if self.slot(environment).leaving.is_some() {
            self.go_on_leaving(environment);
        }
        self.trusted = Some(environment);
    }
}
