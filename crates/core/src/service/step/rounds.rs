//! A restart or a scale: instances of the live slot are exchanged in rounds, and traffic stays where it is.
//!
//! A round is `Adding → Proving → Exchanging`: what is to come is started beside what serves, becomes healthy, and
//! gets its place in the table in the same publication in which what is to go loses it. So there are never fewer
//! instances in the table than before, and none that has not proved itself. What goes is then waited for and stopped
//! ([`leaving`](super::leaving)). One that does not become healthy ends the whole with what serves as it is.

use crate::environment::Environment;
use crate::names::{DeploymentId, InstanceId};
use crate::release::RolloutPolicy;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Round, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Clearing, Instance, Leaving};
use crate::service::step::draft::Draft;
use crate::service::step::line::{are_the_same, instance_id};
use crate::service::step::refusal::{Asked, Refusal};
use crate::service::step::undo::Cause;

impl Draft {
    pub(super) fn restart_requested(
        &mut self,
        id: &DeploymentId,
        actor: &str,
        end_bake: bool,
    ) -> Result<(), Refusal> {
        self.stay_after_all();
        let (environment, count) = self.may_change_live(end_bake)?;
        let fresh = self.fresh_ids(environment, id, count);
        let present = self.slot(environment).instances.clone();
        let rounds = if present.is_empty() {
            // It was stopped: nobody is served who could be harmed by all of them at once.
            vec![Round { coming: fresh, started: Vec::new(), leaving: Vec::new() }]
        } else {
            let round = |(old, new)| Round { coming: vec![new], started: Vec::new(), leaving: vec![old] };
            present.into_iter().zip(fresh).map(round).collect()
        };
        self.open_rounds(id, actor, DeploymentKind::Restart, rounds);
        Ok(())
    }

    pub(super) fn scale_requested(
        &mut self,
        id: &DeploymentId,
        actor: &str,
        wanted: u32,
        end_bake: bool,
    ) -> Result<(), Refusal> {
        if wanted == 0 {
            return Err(Refusal::ScaledToNothing);
        }
        if let Some(stopped) = &self.state.stopped {
            return Err(Refusal::Stopped { by: stopped.by.clone() });
        }
        let (environment, _) = self.may_change_live(end_bake)?;
        let present = self.slot(environment).instances.clone();
        let keep = usize::try_from(wanted).unwrap_or(usize::MAX).min(present.len());
        let more = wanted.saturating_sub(u32::try_from(present.len()).unwrap_or(u32::MAX));
        let (coming, leaving) = (self.fresh_ids(environment, id, more), present[keep..].to_vec());
        let changes = !coming.is_empty() || !leaving.is_empty();
        let rounds = changes.then_some(Round { coming, started: Vec::new(), leaving });
        self.open_rounds(id, actor, DeploymentKind::Scale, rounds.into_iter().collect());
        Ok(())
    }

    /// Whether the live slot may be changed now: which it is, and how many instances it has or had.
    fn may_change_live(&mut self, end_bake: bool) -> Result<(Environment, u32), Refusal> {
        self.is_here_to_stay()?;
        let environment = self.state.live;
        if self.slot(environment).release.is_none() {
            return Err(Refusal::NothingIsLive);
        }
        self.end_bake_for_a_move(end_bake)?;
        // A stop may be taken back before it is done.
        if self.slot(environment).leaving.is_some() && self.state.stopped.is_none() {
            return Err(Refusal::StillLeaving { environment });
        }
        self.is_whole()?;
        let present = u32::try_from(self.slot(environment).instances.len()).unwrap_or(u32::MAX);
        Ok((environment, if present == 0 { self.slot(environment).count() } else { present }))
    }

    /// Ends the bake of an open deployment if that is wanted, and refuses everything else that is open. As with a
    /// deployment that ends a bake, what waits behind it in the queue goes on waiting.
    pub(super) fn end_bake_for_a_move(&mut self, end_bake: bool) -> Result<(), Refusal> {
        match &self.state.deployment {
            Some(open) if end_bake && open.is_baking() => {
                if self.is_checking() {
                    let unanswered = || "it was ended while a check was under way".to_owned();
                    self.revise(|deployment| {
                        deployment.marred.get_or_insert_with(unanswered);
                    });
                }
                self.end_bake_now();
            }
            Some(open) => return Err(Refusal::open(Asked::Move, &self.state, open)),
            None => {}
        }
        Ok(())
    }

    /// Ids that no instance has had: those of the deployment that starts them.
    pub(super) fn fresh_ids(
        &self,
        environment: Environment,
        id: &DeploymentId,
        count: u32,
    ) -> Vec<InstanceId> {
        (1..=count).map(|n| instance_id(&self.state.name, environment, id, n)).collect()
    }

    fn open_rounds(&mut self, id: &DeploymentId, actor: &str, kind: DeploymentKind, rounds: Vec<Round>) {
        let environment = self.state.live;
        let Some(release) = self.slot(environment).release.clone() else { return };
        let deployment = self.new_deployment(id, actor, kind, &release, &RolloutPolicy::at_once());
        self.state.deployment = Some(Deployment {
            environment,
            from: None,
            status: Status::Deploying,
            stage: Stage::Adding,
            rounds,
            ..deployment
        });
        self.next_round();
    }

    /// Begins the round that is next, or ends with the last.
    pub(super) fn next_round(&mut self) {
        let Some(open) = &self.state.deployment else { return };
        let (environment, kind) = (open.environment, open.kind);
        let Some(round) = open.rounds.first() else {
            let slot = self.slot_mut(environment);
            if kind == DeploymentKind::Scale {
                slot.scaled_to = u32::try_from(slot.instances.len()).ok();
            } else {
                self.renew_workers();
            }
            return self.close(Status::Live);
        };
        if round.coming.is_empty() {
            return self.exchange();
        }
        let instances = round.coming.clone();
        let Some(release) = self.slot(environment).release.clone().map(Box::new) else { return };
        self.revise(|deployment| {
            deployment.status = Status::Deploying;
            deployment.stage = Stage::Adding;
        });
        self.begin_step("start");
        self.ask(Purpose::Deployment, Effect::Provision { environment, release, instances, if_room: false });
    }

    /// What was started runs; now it has to become healthy.
    pub(super) fn added(&mut self, asked: &[InstanceId], instances: &[Instance]) {
        let Some(environment) = self.deployment_at(Stage::Adding).map(|open| open.environment) else {
            return;
        };
        if !are_the_same(asked, instances) {
            let reason = "the instances that were started are not those asked for".to_owned();
            return self.undo(reason, Cause::Failure);
        }
        let ids: Vec<String> = asked.iter().map(|id| format!("`{id}`")).collect();
        self.end_step("start", Outcome::Passed, ids.join(", "));
        let Some(release) = self.slot(environment).release.clone().map(Box::new) else { return };
        self.revise(|deployment| {
            deployment.status = Status::Validating;
            deployment.stage = Stage::Proving;
            if let Some(round) = deployment.rounds.first_mut() {
                round.started = instances.to_vec();
            }
        });
        self.begin_step("healthy");
        let instances = instances.to_vec();
        self.ask(Purpose::Deployment, Effect::AwaitHealthy { environment, release, instances, again: false });
    }

    /// What was started is well: it gets its place.
    pub(super) fn proved(&mut self, detail: &str) {
        self.end_step("healthy", Outcome::Passed, detail);
        self.exchange();
    }

    fn exchange(&mut self) {
        let Some(open) = &self.state.deployment else { return };
        let environment = open.environment;
        let Some(round) = open.rounds.first().cloned() else { return };
        let goes = |instance: &Instance| round.leaving.iter().any(|leaving| leaving.id == instance.id);
        let slot = self.slot_mut(environment);
        slot.instances.retain(|instance| !goes(instance));
        slot.instances.extend(round.started.iter().cloned());
        let instances = round.leaving.iter().map(|instance| instance.id.clone()).collect();
        self.revise(|deployment| {
            deployment.status = Status::Shifting;
            deployment.stage = Stage::Exchanging;
        });
        self.begin_step("exchange");
        self.prioritise();
        self.leave(environment, instances, Clearing::Unrouting);
    }

    /// What had to go is gone, and what has come is routed to.
    pub(super) fn exchanged(&mut self, environment: Environment) {
        let within = |open: &&Deployment| open.environment == environment;
        let Some(open) = self.deployment_at(Stage::Exchanging).filter(within) else { return };
        let round = open.rounds.first().cloned();
        let gone = round.iter().flat_map(|round| &round.leaving).map(|instance| format!("`{}`", instance.id));
        let gone: Vec<String> = gone.collect();
        let said = if gone.is_empty() { String::new() } else { format!("{} stopped", gone.join(", ")) };
        self.end_step("exchange", Outcome::Passed, said);
        self.state.stopped = None;
        self.revise(|deployment| {
            deployment.rounds.remove(0);
        });
        self.next_round();
    }

    /// Ends a restart or a scale where it is: what serves goes on, what was only tried is stopped, and what was to go
    /// and still runs stays. If nothing is left to take back, it has ended well.
    pub(super) fn end_rounds(&mut self) {
        let Some(open) = &self.state.deployment else { return };
        let (environment, stage, open_rounds) = (open.environment, open.stage, open.rounds.len());
        let round = open.rounds.first().cloned();
        if let Some(round) = round {
            let stopping = |leaving: &Leaving| leaving.phase == Clearing::Retiring;
            let stopped = self.slot(environment).leaving.as_ref().is_none_or(stopping);
            match stage {
                // Never in the table.
                Stage::Adding | Stage::Proving => self.leave(environment, round.coming, Clearing::Retiring),
                // It may be in the table, and only a receipt proves that it has left it.
                Stage::Exchanging if !stopped => {
                    let came = |instance: &Instance| round.coming.contains(&instance.id);
                    let slot = self.slot_mut(environment);
                    slot.instances.retain(|instance| !came(instance));
                    slot.instances.extend(round.leaving);
                    if slot.instances.is_empty() {
                        // It was stopped before, and is again.
                        self.put_nothing_back(environment);
                    }
                    self.leave(environment, round.coming, Clearing::Unrouting);
                }
                Stage::Exchanging if open_rounds == 1 => {
                    // What has come serves, so this is no service that was stopped.
                    self.state.stopped = None;
                    self.revise(|deployment| {
                        deployment.rounds.clear();
                        deployment.taken_back_by = None;
                        let reason = deployment.reason.take().unwrap_or_default();
                        deployment.reason =
                            Some(format!("{reason}, too late to keep what was being stopped"));
                    });
                    return self.next_round();
                }
                _ => {}
            }
        }
        self.close(Status::RolledBack);
    }
}
