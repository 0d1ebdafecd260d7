//! What people ask for: deploy, roll back, abort.

use crate::environment::Weights;
use crate::gates::{Gate, HookPoint};
use crate::names::DeploymentId;
use crate::release::{Release, RolloutPolicy};
use crate::service::deployment::{Deployment, DeploymentKind, Stage, Status};
use crate::service::effect::Purpose;
use crate::service::event::WhenOpen;
use crate::service::freeze::{Circumstances, WindowVerdict, may_deploy};
use crate::service::readiness::{NoTarget, Target};
use crate::service::step::draft::Draft;
use crate::service::step::refusal::{Asked, Refusal};
use crate::service::step::undo::Cause;

impl Draft {
    pub(super) fn deploy_requested(
        &mut self,
        id: &DeploymentId,
        actor: &str,
        release: &Release,
        rollout: &RolloutPolicy,
        when_open: WhenOpen,
        circumstances: &Circumstances,
    ) -> Result<(), Refusal> {
        self.is_here_to_stay()?;
        self.is_whole()?;
        self.state.is_contracting()?;
        let open = self.state.deployment.as_ref();
        if let Some(setting) = open.filter(|open| open.kind == DeploymentKind::Traffic) {
            return Err(Refusal::open(Asked::Move, &self.state, setting));
        }
        let settled = open.is_none_or(|open| open.is_baking() || open.kind.is_within_live());
        let settled = settled && self.state.queue.is_empty() && self.state.stopped.is_none();
        let live = self.slot(self.state.live).release.as_ref();
        if let Some(live) = live.filter(|live| settled && live.id == release.id) {
            return Err(Refusal::AlreadyLive { version: live.version.clone(), release: live.id.clone() });
        }
        let gates = &release.configuration.gates;
        let waits_twice = rollout.hold.is_some() && rollout.hold_requests.is_some();
        if waits_twice && gates.has(&Gate::Hook(HookPoint::BeforeShift), None) {
            return Err(Refusal::HookBeforeTheHold);
        }
        let overrode = may_deploy(self.state.freeze.as_ref(), circumstances, self.now)?;
        let deployment = Deployment {
            origin: circumstances.origin.clone().map(Box::new),
            window_closes: match circumstances.window {
                WindowVerdict::Open { closes } => closes,
                WindowVerdict::Closed { .. } => None,
            },
            overrode,
            ..self.new_deployment(id, actor, DeploymentKind::Deploy, release, rollout)
        };
        let mut release = release.clone();
        if rollout.hold_requests.is_some() {
            // Both may not serve at the same time: no request goes back to the former one.
            release.configuration.replay.within_release = true;
        }
        self.meet_the_open(deployment, &release, when_open)?;
        self.state.removal = None;
        Ok(())
    }

    /// Brings a certain release back, that of the idle slot or one that is only kept. No bake is a reason to stay on
    /// what is in it.
    pub(super) fn rollback_to_requested(
        &mut self,
        id: &DeploymentId,
        actor: &str,
        release: &Release,
    ) -> Result<(), Refusal> {
        self.is_here_to_stay()?;
        let amid = |open: &&Deployment| !open.is_baking() && !open.kind.is_within_live();
        if let Some(open) = self.state.deployment.as_ref().filter(amid) {
            return Err(Refusal::open(Asked::RollbackTo, &self.state, open));
        }
        let live = self.slot(self.state.live).release.as_ref();
        let live = live.ok_or(Refusal::NothingIsLive)?;
        if live.id == release.id && self.state.stopped.is_none() {
            return Err(Refusal::AlreadyLive { version: live.version.clone(), release: live.id.clone() });
        }
        if let Some(why) = self.state.unfit_for_the_schema(release) {
            return Err(Refusal::NothingToRollBackTo { why });
        }
        let idle = self.slot(self.state.idle());
        let is_former = idle.release.as_ref().is_some_and(|idle| idle.id == release.id);
        let was_taken_back = idle.rolled_back && idle.passed_gates;
        if is_former && (was_taken_back || self.state.rollback_target().is_ok()) {
            return self.rollback_requested(id, actor);
        }
        if self.state.deployment.as_ref().is_some_and(Deployment::is_baking) {
            self.drop_queue(&format!("dropped from the queue: {actor} went back to `{}`", release.version));
            self.end_bake_early();
        } else if self.state.deployment.is_some() {
            self.take_back("ended by a rollback", actor)?;
        }
        self.is_whole()?;
        let rollout = RolloutPolicy::at_once();
        let deployment = self.new_deployment(id, actor, DeploymentKind::Rollback, release, &rollout);
        self.open(deployment, release);
        Ok(())
    }

    /// Rescue: with a deployment open it is taken back; without one the idle slot's release is brought back.
    pub(super) fn rollback_requested(&mut self, id: &DeploymentId, actor: &str) -> Result<(), Refusal> {
        match &self.state.deployment {
            // Asking twice must not take back the taking back.
            Some(open) if open.kind == DeploymentKind::Rollback && open.status != Status::Stuck => Ok(()),
            // What changes only the live slot is no reason to stay on it.
            Some(open) if open.kind.is_within_live() => {
                self.state.rollback_target().map_err(Refusal::from)?;
                self.take_back("ended by a rollback", actor)?;
                self.open_rollback(id, actor)
            }
            // Where everything is to go is a newer word than how it is shared out.
            Some(open) if self.state.is_overtaken(open) => {
                self.give_up_weights("overtaken by a rollback");
                self.open_rollback(id, actor)
            }
            Some(_) => self.take_back("rolled back by hand", actor),
            None => self.open_rollback(id, actor),
        }
    }

    pub(super) fn abort_requested(&mut self, actor: &str, only_queue: bool) -> Result<(), Refusal> {
        match &self.state.deployment {
            Some(_) if only_queue && self.state.queue.is_empty() => Err(Refusal::EmptyQueue),
            Some(_) if only_queue => {
                self.drop_queue(&format!("dropped from the queue by {actor}"));
                Ok(())
            }
            Some(_) => self.take_back("aborted by hand", actor),
            None if !only_queue && self.state.is_contracting().is_err() => {
                self.abort_the_contraction(actor);
                Ok(())
            }
            None => Err(Refusal::NothingToAbort),
        }
    }

    /// Ends one deployment, open or waiting. Whoever names it means no other: what else waits goes on waiting.
    pub(super) fn abort_one(&mut self, wanted: &DeploymentId, actor: &str) -> Result<(), Refusal> {
        if self.state.deployment.as_ref().is_some_and(|open| open.id == *wanted) {
            return self.take_back_alone("aborted by hand", actor);
        }
        if self.drop_queued(wanted, &format!("dropped from the queue by {actor}")) {
            return Ok(());
        }
        Err(Refusal::NotUnderWay { id: wanted.clone() })
    }

    /// Undoes the open deployment on a person's word, and drops what waits behind it.
    fn take_back(&mut self, reason: &str, actor: &str) -> Result<(), Refusal> {
        let Some(deployment) = &self.state.deployment else {
            return Ok(());
        };
        let dropped =
            format!("dropped from the queue: deployment `{}` was {reason} by {actor}", deployment.id);
        self.take_back_alone(reason, actor)?;
        self.drop_queue(&dropped);
        Ok(())
    }

    /// Undoes the open deployment on a person's word: from wherever it is, and again if it is stuck.
    fn take_back_alone(&mut self, reason: &str, actor: &str) -> Result<(), Refusal> {
        let Some(deployment) = &self.state.deployment else {
            return Ok(());
        };
        if deployment.is_baking() {
            self.state.rollback_target().map_err(Refusal::from)?;
        }
        if deployment.status == Status::Stuck {
            self.undo_again();
            return Ok(());
        }
        self.revise(|deployment| {
            if deployment.undo.is_none() {
                deployment.taken_back_by = Some(actor.to_owned());
            }
        });
        self.undo(reason.to_owned(), Cause::ByHand);
        Ok(())
    }

    pub(super) fn open_rollback(&mut self, id: &DeploymentId, actor: &str) -> Result<(), Refusal> {
        let Target { environment, warm, .. } = self.state.rollback_target().map_err(Refusal::from)?;
        let Some(release) = self.slot(environment).release.clone() else {
            return Ok(());
        };
        // A rollback ends when traffic is back: it has no bake, and what it leaves behind is not kept warm.
        let rollout = RolloutPolicy::at_once();
        let deployment = self.new_deployment(id, actor, DeploymentKind::Rollback, &release, &rollout);
        if !warm && self.trusted != Some(environment) {
            self.open(deployment, &release);
            return Ok(());
        }
        self.state.deployment =
            Some(Deployment { status: Status::Shifting, stage: Stage::Shifting, ..deployment });
        self.begin_step("switch");
        self.publish(Purpose::Deployment, Weights::all_to(environment));
        Ok(())
    }

    pub(super) fn new_deployment(
        &self,
        id: &DeploymentId,
        actor: &str,
        kind: DeploymentKind,
        release: &Release,
        rollout: &RolloutPolicy,
    ) -> Deployment {
        let live = self.slot(self.state.live).release.as_ref();
        Deployment {
            id: id.clone(),
            kind,
            actor: actor.to_owned(),
            version: release.version.clone(),
            release: release.id.clone(),
            from: live.map(|release| release.version.clone()),
            environment: self.state.idle(),
            status: Status::NotStarted,
            stage: Stage::Vacating,
            reason: None,
            rollout: rollout.clone(),
            started_at: self.now,
            cutover_at: None,
            hold_until: None,
            bake_until: None,
            ended_at: None,
            steps: Vec::new(),
            receipts: Vec::new(),
            traces: Vec::new(),
            last_lines: Vec::new(),
            taken_back_by: None,
            rounds: Vec::new(),
            incoming: None,
            displaced: None,
            gates: Vec::new(),
            checks: Vec::new(),
            marred: None,
            undo: None,
            undoes: None,
            overrode: None,
            origin: None,
            window_closes: None,
        }
    }
}

impl From<NoTarget> for Refusal {
    fn from(NoTarget { why }: NoTarget) -> Self {
        Self::NothingToRollBackTo { why }
    }
}
