//! The way back: what was done is undone in reverse, traffic first.

use crate::environment::{Environment, Weights};
use crate::receipt::Receipt;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status, Undo};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Health, Instance, Slot};
use crate::service::step::draft::Draft;

/// Who wants a deployment undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A person.
    ByHand,
    /// Something went wrong.
    Failure,
}

impl Draft {
    /// Takes the open deployment back from wherever it is; one that is being undone goes on with that.
    pub(super) fn undo(&mut self, reason: String, cause: Cause) {
        let Some(deployment) = &self.state.deployment else {
            return;
        };
        if deployment.undo.is_some() {
            return;
        }
        let stage = deployment.stage;
        let ends_as = deployment.ends_as(cause, self.slot(deployment.environment));
        self.forget(|pending| pending.purpose == Purpose::Deployment);
        self.end_step("drain", Outcome::Passed, "requests in flight end meanwhile");
        self.end_steps(Outcome::Failed, &reason);
        self.revise(|deployment| {
            deployment.status = Status::RollingBack;
            deployment.hold_until = None;
            deployment.gates.clear();
            deployment.checks.clear();
            deployment.reason = Some(reason.clone());
            deployment.undo = Some(Undo { reason, ends_as, by_hand: cause == Cause::ByHand });
        });
        // Whoever waits goes on to what is live, whatever becomes of the rest.
        let id = self.state.deployment.as_ref().map(|open| open.id.clone());
        if id.is_some_and(|id| self.lift_hold_of(&id)) {
            self.publish(Purpose::Upkeep, self.state.weights);
        }
        match stage {
            Stage::Adding | Stage::Proving | Stage::Exchanging => self.end_rounds(),
            // Nothing of its own runs. A slot goes on being emptied: half of it cannot be taken back.
            Stage::Preparing | Stage::Expanding | Stage::Vacating => self.close(ends_as),
            stage if stage.is_before_the_shift() && ends_as == Status::Failed => {
                self.keep_for_inspection();
                self.close(ends_as);
            }
            Stage::Provisioning
            | Stage::Provisioned
            | Stage::AwaitingHealth
            | Stage::Admitting
            | Stage::Validating
            | Stage::AwaitingPromotion
            | Stage::Quieting => self.retire_attempt(),
            Stage::Baking if !self.is_former_fit() => self.revive(),
            Stage::Shifting | Stage::Baking => {
                if ends_as == Status::Failed {
                    self.keep_for_inspection();
                }
                self.shift_back();
            }
            Stage::Reviving | Stage::ShiftingBack | Stage::Retiring | Stage::Ended => {}
        }
    }

    /// Tries the part of an undo again that failed.
    pub(super) fn undo_again(&mut self) {
        let Some(deployment) = self.state.deployment.as_mut() else {
            return;
        };
        let Some(undo) = &deployment.undo else { return };
        deployment.status = Status::RollingBack;
        deployment.reason = Some(undo.reason.clone());
        match deployment.stage {
            Stage::Reviving => self.revive(),
            Stage::ShiftingBack => self.shift_back(),
            Stage::Retiring => {
                let environment = deployment.environment;
                self.begin_step("stop");
                self.clear_now(environment);
            }
            _ => {}
        }
    }

    fn is_former_fit(&self) -> bool {
        let target = self.state.rollback_target();
        target.is_ok_and(|target| target.warm || self.trusted == Some(target.environment))
    }

    /// Brings the former release back to health before traffic goes to it: what of it runs is kept, what does not
    /// is started. Until then the new release serves, however badly; it may still be better than nothing.
    pub(super) fn revive(&mut self) {
        let environment = self.state.idle();
        let Some(release) = self.slot(environment).release.clone().map(Box::new) else {
            return self.get_stuck("traffic could not be moved back", "there is no former release");
        };
        self.forget(|pending| {
            let starts =
                matches!(&pending.effect, Effect::Provision { environment: e, .. } if *e == environment);
            pending.purpose == Purpose::Deployment || (pending.purpose == Purpose::Upkeep && starts)
        });
        self.revise(|deployment| deployment.stage = Stage::Reviving);
        self.slot_mut(environment).retry_at = None;
        self.end_step("revive", Outcome::Failed, "begun again");
        self.begin_step("revive");
        let mut instances = self.ids(environment);
        if instances.is_empty() {
            // It was stopped when the other went live. Its former instances may still be on their way out.
            let count = self.slot(environment).count();
            let open = self.state.deployment.as_ref().map(|open| open.id.clone());
            instances = open.map(|id| self.fresh_ids(environment, &id, count)).unwrap_or_default();
        }
        self.ask(Purpose::Deployment, Effect::Provision { environment, release, instances, if_room: false });
    }

    /// The former release runs; now it has to answer well.
    pub(super) fn revived(&mut self, environment: Environment, instances: &[Instance]) {
        let slot = self.slot_mut(environment);
        slot.instances = instances.to_vec();
        let Some(release) = slot.release.clone().map(Box::new) else {
            return;
        };
        let instances = instances.to_vec();
        self.ask(Purpose::Deployment, Effect::AwaitHealthy { environment, release, instances, again: true });
    }

    /// The former release is well again: traffic can go back.
    pub(super) fn former_became_healthy(&mut self, detail: &str) {
        let environment = self.state.idle();
        let slot = self.slot_mut(environment);
        slot.health = Health::Healthy;
        slot.trouble = None;
        slot.tries = 0;
        self.end_step("revive", Outcome::Passed, detail);
        self.shift_back();
    }

    /// Asks for traffic to go where it was. Also if the shift there was refused or not answered: only a receipt
    /// with a newer epoch proves that it cannot be made any more.
    fn shift_back(&mut self) {
        let Some(environment) = self.state.deployment.as_ref().map(|d| d.environment) else {
            return;
        };
        self.revise(|deployment| deployment.stage = Stage::ShiftingBack);
        self.begin_step("switch back");
        self.publish(Purpose::Deployment, Weights::all_to(environment.other()));
    }

    /// Traffic is where it was before.
    pub(super) fn shifted_back(&mut self, receipt: &Receipt) {
        let Some(deployment) = self.deployment_at(Stage::ShiftingBack) else {
            return;
        };
        let (environment, moved) = (deployment.environment, deployment.cutover_at.is_some());
        let ends_as = deployment.undo.as_ref().map_or(Status::RolledBack, |undo| undo.ends_as);
        let own = deployment.has_provisioned(self.slot(environment));
        self.note_switch("switch back", environment.other(), receipt);
        if moved {
            self.go_live(environment.other());
            self.slot_mut(environment).rolled_back = true;
            self.close(ends_as);
            self.clear(environment);
        } else if own && ends_as == Status::RolledBack {
            self.retire_attempt();
        } else {
            self.close(ends_as);
        }
    }

    /// Stops what this attempt has started or may have started.
    fn retire_attempt(&mut self) {
        let Some(environment) = self.state.deployment.as_ref().map(|d| d.environment) else {
            return;
        };
        self.revise(|deployment| deployment.stage = Stage::Retiring);
        self.begin_step("stop");
        self.clear(environment);
    }

    /// Everything the attempt has started is gone: what the slot held before is put back, cold.
    pub(super) fn attempt_retired(&mut self) {
        let Some(deployment) = self.state.deployment.as_mut() else {
            return;
        };
        let environment = deployment.environment;
        let before = deployment.displaced.take().unwrap_or_default();
        let ends_as = deployment.undo.as_ref().map_or(Status::RolledBack, |undo| undo.ends_as);
        self.end_step("stop", Outcome::Passed, "");
        self.close(ends_as);
        *self.slot_mut(environment) = before;
    }

    /// An undo failed: from here only a person, or a restart, goes on.
    pub(super) fn get_stuck(&mut self, what: &str, why: &str) {
        self.end_steps(Outcome::Failed, why);
        self.revise(|deployment| {
            let first = deployment.undo.as_ref().map(|undo| undo.reason.as_str()).unwrap_or_default();
            deployment.status = Status::Stuck;
            deployment.reason = Some(format!("{what}: {why}; it was being taken back because: {first}"));
        });
    }

    /// With `auto_rollback = false` the instances stay for inspection; nothing may ever switch to them. A warm
    /// rollback's target is not an attempt: it stays what it was.
    fn keep_for_inspection(&mut self) {
        let Some(deployment) = &self.state.deployment else {
            return;
        };
        let environment = deployment.environment;
        if deployment.has_provisioned(self.slot(environment)) {
            let slot = self.slot_mut(environment);
            slot.passed_gates = false;
            slot.rolled_back = true;
            slot.health = Health::Unknown;
        }
    }
}

impl Deployment {
    /// Whether the slot's present content is this deployment's doing; not so for a warm rollback.
    pub(crate) fn has_provisioned(&self, slot: &Slot) -> bool {
        slot.deployed_by.as_ref() == Some(&self.id)
    }

    fn ends_as(&self, cause: Cause, slot: &Slot) -> Status {
        let failure = cause == Cause::Failure;
        let keep = failure && !self.rollout.auto_rollback && self.kind == DeploymentKind::Deploy;
        match self.stage {
            Stage::Preparing | Stage::Vacating | Stage::Expanding if failure => Status::Failed,
            // A start that failed leaves nothing worth an inspection, and nobody knows what of it runs.
            Stage::Shifting if keep => Status::Failed,
            stage if keep && stage.is_before_the_shift() => Status::Failed,
            Stage::Shifting if failure && !self.has_provisioned(slot) => Status::Failed,
            _ => Status::RolledBack,
        }
    }
}
