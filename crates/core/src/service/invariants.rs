//! The design's invariants as code: what must be true of a state, and of a step from one to the next.
//!
//! Checked after each step in debug builds, in the model and in the simulation. I5 and I9 are about the journal
//! and about refusals; they are held by tests of the rooms that can break them.

use std::collections::BTreeSet;

use crate::environment::Environment;
use crate::gates::{Gate, Verdict};
use crate::names::{DeploymentId, InstanceId};
use crate::release::Release;
use crate::routing::ServiceRoute;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status};
use crate::service::effect::{Answer, Effect, PendingEffect, Purpose};
use crate::service::event::Event;
use crate::service::state::{Clearing, ServiceState};
use crate::service::step::Transition;
use crate::service::workers::WorkerInstance;

/// An invariant that does not hold: a bug of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant {rule} is violated: {what}")]
pub struct InvariantViolation {
    /// Its name in the design; `progress` and `form` for those that are only of this crate.
    pub rule: &'static str,
    /// What is wrong.
    pub what: String,
}

type Checked = Result<(), InvariantViolation>;

fn hold(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(InvariantViolation { rule, what: what() }) }
}

impl ServiceState {
    /// Checks what must be true between any two events.
    ///
    /// # Errors
    /// The first [`InvariantViolation`] found.
    pub fn check_invariants(&self) -> Checked {
        self.check_live()?;
        self.check_gates()?;
        self.check_deployment()?;
        self.check_pending()?;
        self.check_workers()?;
        self.check_pause()?;
        self.check_gone()?;
        self.check_progress()
    }

    /// A hold of a deployment is that of the open one, and ends with its shift or its end.
    fn check_pause(&self) -> Checked {
        let Some(id) = self.pause.as_ref().and_then(|paused| paused.deployment.as_ref()) else {
            return Ok(());
        };
        let is_its = self.deployment.as_ref().is_some_and(|open| {
            let is_before =
                open.stage == Stage::Quieting || open.stage.is_proving() || open.stage == Stage::Shifting;
            open.id == *id && open.undo.is_none() && is_before
        });
        hold("form", is_its, || format!("requests wait for {id}, which is not about to be switched"))
    }

    /// Checks what must be true of a step that began here.
    ///
    /// # Errors
    /// The first [`InvariantViolation`] found.
    pub fn check_transition(&self, event: &Event, transition: &Transition) -> Checked {
        let after = &transition.state;
        for asked in &transition.effects {
            // What begins with this step, from the queue, begins after the cutover that the step may be.
            let begins = asked.purpose == Purpose::Deployment && self.open_id() != after.open_id();
            let sides = [if begins { after.live } else { self.live }, after.live];
            hold("I3", !after.is_touched_by(asked, &sides), || format!("{asked:?} touches {sides:?}"))?;
            hold("form", after.pending.contains(asked), || {
                format!("{asked:?} is asked for and not pending")
            })?;
        }
        let epochs: Vec<_> = transition.effects.iter().filter_map(|e| e.route()?.epoch).collect();
        hold("I7", epochs.first().is_none_or(|first| *first > self.epoch), || {
            format!("{epochs:?} are not new")
        })?;
        hold("I7", epochs.is_sorted_by(|a, b| a < b), || format!("{epochs:?} do not grow"))?;
        hold("I7", after.epoch >= self.epoch, || "the epoch went back".to_owned())?;
        hold("form", after.next_effect >= self.next_effect, || "effects are counted back".to_owned())?;

        let shifted = matches!(event, Event::Answered { answer: Answer::Shifted { .. }, .. });
        let stays = self.live == after.live && self.weights == after.weights;
        hold("I1", shifted || stays, || "traffic moved without a receipt".to_owned())?;
        for environment in Environment::ALL {
            self.check_gate_passed(environment, event, after)?;
        }
        let over = |deployment: &Deployment| {
            matches!(deployment.status, Status::Live | Status::RolledBack | Status::Failed)
                && deployment.stage == Stage::Ended
                && deployment.ended_at.is_some()
        };
        if let (Some(was), Some(is)) = (&self.deployment, &after.deployment)
            && is.kind == DeploymentKind::Restart
            && was.id == is.id
        {
            let count = |state: &Self| state.environments[state.live].instances.len();
            hold("I3", count(after) >= count(self), || {
                "a restart takes instances from who serves".to_owned()
            })?;
        }
        hold("I4", transition.closed.iter().all(over), || {
            "a deployment was closed that has not ended".to_owned()
        })
    }

    /// A slot's gates are passed by an answer that says so, or were passed by what is put back.
    fn check_gate_passed(&self, environment: Environment, event: &Event, after: &Self) -> Checked {
        let newly =
            after.environments[environment].passed_gates && !self.environments[environment].passed_gates;
        let healthy = match event {
            Event::Answered { answer: Answer::Healthy { .. }, .. } => true,
            Event::Answered { answer: Answer::Judged { finding }, .. } => finding.verdict == Verdict::Pass,
            // What was asked before stands; requests had to end first.
            Event::Answered { answer: Answer::Drained { left: 0 }, .. } => {
                self.deployment.as_ref().is_some_and(|open| open.stage == Stage::Quieting)
            }
            _ => false,
        };
        let held = after.deployment.as_ref().is_some_and(|d| d.is_held() && d.environment == environment);
        let promoted = matches!(event, Event::PromoteRequested { .. })
            && self.deployment.as_ref().is_some_and(|d| d.is_held() && d.environment == environment);
        let displaced = self.deployment.as_ref().and_then(|deployment| deployment.displaced.as_ref());
        let put_back = displaced.is_some_and(|slot| slot.release == after.environments[environment].release);
        hold("I8", !newly || (healthy && !held) || promoted || put_back, || {
            format!("{environment} passed its gates without an answer")
        })?;
        let missed = after.deployment.as_ref().filter(|_| newly && !put_back).and_then(|open| {
            let slot = &after.environments[open.environment];
            slot.release.as_ref().and_then(|release| open.missed_gate(release))
        });
        hold("I8", missed.is_none(), || format!("{environment} has not passed {missed:?}"))
    }

    fn check_live(&self) -> Checked {
        let (live, idle) = (self.live, &self.environments[self.idle()]);
        hold("I1", self.weights.of(live) > 0, || format!("{live} is live with {:?}", self.weights))?;
        if self.is_split() && self.stopped.is_none() {
            // A stop ends the split with the next receipt, and everything else asks for that first.
            hold("I6", idle.clearing.is_none(), || format!("{} has traffic and is cleared", self.idle()))?;
            let ends =
                |open: &Deployment| matches!(open.kind, DeploymentKind::Traffic | DeploymentKind::Rollback);
            let open = self.deployment.as_ref();
            let fit = || idle.release.is_some() && idle.unfit_to_share().is_none();
            hold("I1", open.map_or_else(fit, ends), || {
                format!(
                    "{} has {:?} and may not, with {:?}",
                    self.idle(),
                    self.weights,
                    open.map(|open| open.kind)
                )
            })?;
        }
        hold("I3", self.environments[live].clearing.is_none(), || format!("{live} is live and cleared"))
    }

    fn check_gates(&self) -> Checked {
        for environment in Environment::ALL {
            let slot = &self.environments[environment];
            let weighty = |route: &ServiceRoute| route.weights.of(environment) > 0;
            let routed = self.weights.of(environment) > 0 || self.routes().any(weighty);
            let proved = slot.release.is_none() || slot.passed_gates;
            hold("I2", !routed || proved, || {
                format!("{environment} has weight and has not passed its gates")
            })?;
            hold("form", slot.release.is_some() || slot.instances.is_empty(), || {
                format!("{environment} has instances of no release")
            })?;
        }
        Ok(())
    }

    fn check_deployment(&self) -> Checked {
        let waits = |queued: &Deployment| queued.status == Status::NotStarted && queued.incoming.is_some();
        hold("I4", self.queue.iter().all(waits), || "something in the queue has begun".to_owned())?;
        let changes = self.contraction.as_ref().is_some_and(|contraction| contraction.finding.is_none());
        hold("progress", self.queue.is_empty() || self.deployment.is_some() || changes, || {
            "the queue waits for nothing".to_owned()
        })?;
        let Some(deployment) = &self.deployment else {
            let orphan = self.pending.iter().find(|pending| pending.purpose == Purpose::Deployment);
            return hold("I4", orphan.is_none(), || format!("{orphan:?} belongs to no deployment"));
        };
        let ended = matches!(deployment.status, Status::RolledBack | Status::Failed | Status::NotStarted);
        let open = !ended && deployment.stage != Stage::Ended && deployment.ended_at.is_none();
        hold("I4", open, || format!("{} has ended and is open", deployment.id))?;
        let at_home = deployment.cutover_at.is_some() || deployment.kind.is_within_live();
        let at_home = if at_home { self.live } else { self.idle() };
        let environment = deployment.environment;
        hold("I1", environment == at_home, || {
            format!("{} is in {environment}, not {at_home}", deployment.id)
        })?;
        let slot = &self.environments[environment];
        let proved = !matches!(deployment.stage, Stage::Shifting | Stage::Baking) || slot.passed_gates;
        hold("I8", proved, || format!("{} goes on without its gates", deployment.id))?;
        let warm = deployment.cutover_at.is_none() || self.environments[self.idle()].clearing.is_none();
        hold("I6", warm, || format!("{} is cleared in the bake", self.idle()))
    }

    fn check_pending(&self) -> Checked {
        for pending in &self.pending {
            let touches = self.is_touched_by(pending, &[self.live]);
            hold("I3", !touches, || format!("{pending:?} touches the live environment"))?;
            hold("form", pending.id.sequence < self.next_effect, || {
                format!("{:?} is not counted", pending.id)
            })?;
        }
        let ids: BTreeSet<_> = self.pending.iter().map(|pending| &pending.id).collect();
        hold("form", ids.len() == self.pending.len(), || "two pending effects have one id".to_owned())?;
        hold("I7", self.routes().count() <= 1, || "two shifts are pending at once".to_owned())?;
        let known = self.routes().all(|route| route.epoch.is_some_and(|epoch| epoch <= self.epoch));
        hold("I7", known, || "a pending shift is newer than the service".to_owned())
    }

    /// What was stopped is started by nothing but a person's word, which opens a deployment; what was removed holds
    /// nothing, and nothing of it is on its way but its being forgotten.
    fn check_gone(&self) -> Checked {
        let rests = self.deployment.is_none();
        let starts = |pending: &&PendingEffect| {
            matches!(pending.effect, Effect::Provision { .. } | Effect::StartWorkers { .. })
        };
        if self.stopped.is_some() && rests {
            let started = self.pending.iter().find(starts);
            hold("stopped", started.is_none(), || format!("{started:?} starts what was stopped"))?;
            let left = &self.environments[self.live].instances;
            hold("stopped", left.is_empty(), || format!("{left:?} are live and were stopped"))?;
        }
        if self.removal.as_ref().is_some_and(|removal| removal.done) && rests {
            let held = self.environments.iter().find(|(_, slot)| slot.release.is_some());
            hold("removed", held.is_none(), || format!("{held:?} is held of what was removed"))?;
            let moves = |pending: &&PendingEffect| starts(pending) || pending.route().is_some();
            let moving = self.pending.iter().find(moves);
            hold("removed", moving.is_none(), || format!("{moving:?} is about what was removed"))?;
        }
        Ok(())
    }

    /// Workers run for the live environment, and for another one only while they are stopped; two releases' workers
    /// are there at once only if both say that they may.
    fn check_workers(&self) -> Checked {
        let wanted = self.wanted_workers();
        let is_wanted = |worker: &WorkerInstance| wanted.iter().any(|wanted| wanted.id == worker.id);
        let all = || self.workers.iter().flat_map(|(_, workers)| &workers.asked);
        for leaving in all().filter(|worker| !is_wanted(worker)) {
            let beside = all().filter(|worker| is_wanted(worker));
            let alone = beside.filter(|staying| !(leaving.overlap && staying.overlap)).count() == 0;
            hold("workers", alone, || format!("`{}` runs beside those of another release", leaving.id))?;
        }
        for pending in &self.pending {
            let Effect::StartWorkers { environment, workers, .. } = &pending.effect else { continue };
            let proved = *environment == self.live && self.environments[self.live].passed_gates;
            hold("workers", proved && workers.iter().all(is_wanted), || {
                format!("{environment} gets workers and is not live")
            })?;
        }
        let awaited = |environment| {
            self.workers_are_changing(environment) || self.workers[environment].retry_at.is_some()
        };
        let goes_on = self.workers_are_settled() || Environment::ALL.into_iter().any(awaited);
        hold("progress", goes_on, || "the change of workers waits for nothing".to_owned())
    }

    /// Whatever is open waits for an effect or a moment, or says that it is stuck.
    fn check_progress(&self) -> Checked {
        for environment in Environment::ALL {
            let slot = &self.environments[environment];
            let stuck = self.deployment.as_ref().is_some_and(|d| d.status == Status::Stuck);
            let unrouting = slot.clearing == Some(Clearing::Unrouting) && self.routes().count() > 0;
            let awaited =
                self.pending.iter().any(|p| p.purpose == Purpose::Clearing(environment)) || unrouting;
            let goes_on = slot.clearing.is_none() || awaited || slot.retry_at.is_some() || stuck;
            hold("progress", goes_on, || format!("the clearing of {environment} waits for nothing"))?;
        }
        hold("progress", !self.contraction_waits() || self.will_publish(), || {
            "the contraction waits for nothing".to_owned()
        })?;
        let removing = self.removal.as_ref().is_some_and(|removal| !removal.done);
        let goes_on = self.next_deadline().is_some();
        hold("progress", !removing || goes_on, || "the removal waits for nothing".to_owned())?;
        for (environment, slot) in self.environments.iter() {
            let Some(leaving) = &slot.leaving else { continue };
            let unrouting = leaving.phase == Clearing::Unrouting && self.routes().count() > 0;
            let awaited =
                self.pending.iter().any(|p| p.purpose == Purpose::Leaving(environment)) || unrouting;
            let goes_on = awaited || leaving.retry_at.is_some() || slot.clearing.is_some();
            hold("progress", goes_on, || format!("what leaves {environment} waits for nothing"))?;
        }
        let Some(deployment) = &self.deployment else {
            return Ok(());
        };
        let clearing = self.environments[deployment.environment].clearing.is_some();
        let asked = |wanted: fn(&Effect) -> bool| {
            self.pending
                .iter()
                .any(|pending| pending.purpose == Purpose::Deployment && wanted(&pending.effect))
        };
        let goes_on = deployment.status == Status::Stuck
            || match deployment.stage {
                Stage::Vacating | Stage::Retiring => clearing,
                Stage::Preparing | Stage::Expanding | Stage::Provisioned | Stage::Validating => {
                    asked(|effect| matches!(effect, Effect::RunGate { .. }))
                }
                Stage::Admitting => asked(|effect| matches!(effect, Effect::Shift { .. })),
                Stage::Provisioning => asked(|effect| matches!(effect, Effect::Provision { .. })),
                Stage::Adding => asked(|effect| matches!(effect, Effect::Provision { .. })),
                Stage::Exchanging => self.environments[deployment.environment].leaving.is_some(),
                Stage::AwaitingHealth | Stage::Proving => {
                    asked(|effect| matches!(effect, Effect::AwaitHealthy { .. }))
                }
                Stage::AwaitingPromotion => deployment.hold_until.is_some(),
                Stage::Quieting => {
                    asked(|effect| matches!(effect, Effect::Shift { .. } | Effect::Drain { .. }))
                }
                Stage::Shifting | Stage::ShiftingBack => {
                    asked(|effect| matches!(effect, Effect::Shift { .. }))
                }
                Stage::Reviving => {
                    asked(|effect| matches!(effect, Effect::Provision { .. } | Effect::AwaitHealthy { .. }))
                }
                Stage::Baking => deployment.bake_until.is_some(),
                Stage::Ended => false,
            };
        hold("progress", goes_on, || format!("{} waits for nothing at {:?}", deployment.id, deployment.stage))
    }

    /// Whether a deployment, or what follows from one, would start or stop instances in one of these slots.
    ///
    /// A restart, a scale and a stop are about the live slot: they start only what does not serve yet, and stop only
    /// what does not serve any more.
    fn is_touched_by(&self, pending: &PendingEffect, slots: &[Environment]) -> bool {
        let serves = |environment: Environment, ids: &[InstanceId]| {
            self.environments[environment].instances.iter().any(|instance| ids.contains(&instance.id))
        };
        let within = self.deployment.as_ref().is_some_and(|open| open.kind.is_within_live());
        match (&pending.effect, pending.purpose) {
            // Upkeep puts back what is the slot's own, and stops only what is in no slot.
            (_, Purpose::Upkeep) => false,
            (Effect::Provision { environment, instances, .. }, Purpose::Deployment) if within => {
                serves(*environment, instances)
            }
            (Effect::Retire { environment, instances }, Purpose::Leaving(_)) => {
                serves(*environment, instances)
            }
            (Effect::Provision { environment, .. } | Effect::Retire { environment, .. }, _) => {
                slots.contains(environment)
            }
            _ => false,
        }
    }

    fn open_id(&self) -> Option<&DeploymentId> {
        self.deployment.as_ref().map(|open| &open.id)
    }

    fn routes(&self) -> impl Iterator<Item = &ServiceRoute> {
        self.pending.iter().filter_map(PendingEffect::route)
    }
}

impl Deployment {
    /// A gate of a release that a deploy's report does not tell as passed.
    fn missed_gate(&self, release: &Release) -> Option<Gate> {
        if self.kind != DeploymentKind::Deploy {
            return None;
        }
        // What the old release had to show is told by the report alone: it may have no suites.
        let own = &release.configuration.gates;
        let mut gates = Gate::BEFORE_THE_SHIFT.into_iter().filter(|gate| own.has(gate, None));
        let passed = |gate: &Gate| {
            let report = self.steps.iter().rev().find(|report| report.name == gate.label());
            report.is_some_and(|report| report.outcome == Some(Outcome::Passed) && report.finding.is_some())
        };
        gates.find(|gate| !passed(gate))
    }
}

impl PendingEffect {
    pub(crate) fn route(&self) -> Option<&ServiceRoute> {
        match &self.effect {
            Effect::Shift { route } => Some(route),
            _ => None,
        }
    }
}
