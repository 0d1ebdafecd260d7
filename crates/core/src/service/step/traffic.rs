//! A share of the traffic for the idle environment, by a person's word: a split.
//!
//! It lasts until somebody ends it or the idle environment is unfit for it; then everything goes to live again, by
//! itself. Nothing is stored of it but the weights: whether there is a split can always be seen by them. While there is
//! one the idle environment is in use: its standby stands still, and what would change either environment waits for
//! the end of the split. A change of weights that goes wrong ends it too, because all to live is always right.

use crate::environment::{Environment, Weights};
use crate::names::DeploymentId;
use crate::receipt::Receipt;
use crate::release::RolloutPolicy;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status};
use crate::service::effect::{PendingEffect, Purpose};
use crate::service::state::{Health, Recovery, ServiceState, Slot};
use crate::service::step::draft::Draft;
use crate::service::step::refusal::Refusal;

/// Who ends a split that nobody has ended.
const ACTOR: &str = "the controller";

impl Draft {
    pub(super) fn traffic_requested(
        &mut self,
        id: &DeploymentId,
        actor: &str,
        weights: Weights,
        seen_live: Environment,
    ) -> Result<(), Refusal> {
        self.is_here_to_stay()?;
        let live = self.state.live;
        if self.slot(live).release.is_none() {
            return Err(Refusal::NothingIsLive);
        }
        if let Some(stopped) = &self.state.stopped {
            return Err(Refusal::Stopped { by: stopped.by.clone() });
        }
        if let Some(open) = &self.state.deployment {
            return Err(Refusal::WeightsAreTaken {
                id: open.id.clone(),
                version: open.version.clone(),
                status: open.status,
            });
        }
        if seen_live != live {
            return Err(Refusal::LiveHasChanged { live });
        }
        let idle = live.other();
        match weights.of(idle) {
            0 if !self.state.is_split() => return Err(Refusal::NotSplit { live }),
            0 => {}
            100 => return Err(Refusal::WouldSwitch { to: idle }),
            _ => {
                let release = self.slot(idle).release.as_ref();
                let unfit = release.and_then(|release| self.state.unfit_for_the_schema(release));
                let may = unfit.map_or_else(|| self.slot(idle).may_share(), Err);
                may.map_err(|why| Refusal::MayNotShare { idle, why })?;
            }
        }
        self.share(id, actor, weights, None);
        Ok(())
    }

    fn share(&mut self, id: &DeploymentId, actor: &str, weights: Weights, reason: Option<String>) {
        let Some(release) = self.slot(self.state.idle()).release.clone() else { return };
        let policy = RolloutPolicy::at_once();
        let deployment = self.new_deployment(id, actor, DeploymentKind::Traffic, &release, &policy);
        self.state.deployment =
            Some(Deployment { status: Status::Shifting, stage: Stage::Shifting, reason, ..deployment });
        self.begin_step("weights");
        self.publish(Purpose::Deployment, weights);
    }

    /// The router has the weights that were asked for.
    pub(super) fn weights_are_set(&mut self, receipt: &Receipt) {
        let live = self.state.live;
        let share = |environment| format!("{} % to {environment}", receipt.weights.of(environment));
        let (ours, theirs) = (share(live), share(live.other()));
        let detail = format!("{ours}, {theirs} within {} µs", receipt.fenced_after_us);
        self.end_step("weights", Outcome::Passed, detail);
        self.revise(|deployment| deployment.receipts.push(receipt.clone()));
        self.close(Status::Live);
    }

    /// Everything goes to live again if what shares the traffic is unfit for it, or if somebody has sent it there.
    pub(super) fn weigh_the_split(&mut self) {
        let settled = self.state.deployment.is_none() && self.state.stopped.is_none();
        let idle = self.state.idle();
        let Some(why) = self.slot(idle).unfit_to_share().filter(|_| settled && self.state.is_split()) else {
            return;
        };
        let reason = format!("{idle}, which shared the traffic, lost its share: {why}");
        self.end_the_split(ACTOR, &reason);
        let decision = match self.state.recovery.take().filter(|recovery| recovery.at == self.now) {
            Some(recovery) => format!("{}; {reason}", recovery.decision),
            None => reason,
        };
        self.state.recovery = Some(Recovery { at: self.now, decision });
    }

    /// Sends everything to live, with a record of its own.
    pub(super) fn end_the_split(&mut self, actor: &str, reason: &str) {
        let id = DeploymentId::try_from(format!("unsplit-{}", self.state.epoch.next()));
        if let Ok(id) = id {
            self.share(&id, actor, Weights::all_to(self.state.live), Some(reason.to_owned()));
        }
    }

    /// Gives up setting weights for a word that says where everything goes; that is newer than what was asked for.
    pub(super) fn give_up_weights(&mut self, reason: &str) {
        self.end_steps(Outcome::Failed, reason);
        self.revise(|deployment| deployment.reason = Some(reason.to_owned()));
        self.close(Status::RolledBack);
    }

    /// Refuses what would change an environment that shares the traffic.
    pub(super) fn is_whole(&self) -> Result<(), Refusal> {
        let idle = self.state.idle();
        match self.state.weights.of(idle) {
            0 => Ok(()),
            percent => Err(Refusal::Split { idle, percent }),
        }
    }

    /// The standby of what has traffic stands still, and goes on where it stood when that is over.
    pub(super) fn pace_the_standby(&mut self) {
        let now = self.now;
        let state = &mut self.state;
        if state.is_split() {
            let left = state.standby_until.take().map(|until| until.since(now));
            state.standby_left = left.or(state.standby_left);
        } else if let Some(left) = state.standby_left.take() {
            state.standby_until = Some(now + left);
        }
    }
}

impl ServiceState {
    /// Whether both environments get new requests.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.weights.sole().is_none()
    }

    /// Whether weights are being set so that live has everything.
    pub(super) fn is_ending_the_split(&self) -> bool {
        let setting = self.deployment.as_ref().is_some_and(|open| open.kind == DeploymentKind::Traffic);
        setting && self.pending.iter().filter_map(PendingEffect::route).any(|r| r.weights.sole().is_some())
    }
}

impl Slot {
    /// Whether its release may be given a share of the traffic; if not, why.
    fn may_share(&self) -> Result<(), String> {
        match (&self.release, &self.health) {
            (None, _) => Err("it holds no release".to_owned()),
            (Some(release), _) if self.instances.is_empty() => {
                Err(format!("`{}` is cold there", release.version))
            }
            (Some(_), Health::Unknown) if self.unfit_to_share().is_none() => {
                Err("nothing is known of its health yet".to_owned())
            }
            _ => self.unfit_to_share().map_or(Ok(()), Err),
        }
    }

    /// Why its release may not keep a share of the traffic.
    pub(crate) fn unfit_to_share(&self) -> Option<String> {
        let version = self.release.as_ref().map(|release| &release.version)?;
        if self.rolled_back {
            return Some(format!("`{version}` was taken back"));
        }
        if !self.passed_gates {
            return Some(format!("`{version}` has not passed its gates"));
        }
        self.unfit()
    }
}
