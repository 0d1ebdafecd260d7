//! What the watch of instances says, and what a lost health in the bake means.

use std::collections::BTreeSet;

use crate::drain::Drain;
use crate::environment::Environment;
use crate::names::InstanceId;
use crate::release::Release;
use crate::service::deployment::{Deployment, StepReport};
use crate::service::readiness::NoTarget;
use crate::service::state::{Health, Instance, ServiceState};
use crate::service::step::draft::Draft;
use crate::service::step::undo::Cause;

/// An environment whose instances shall be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched<'a> {
    /// The slot.
    pub environment: Environment,
    /// Its release, whose configuration says how to ask.
    pub release: &'a Release,
    /// Whom to ask.
    pub instances: &'a [Instance],
}

/// Instances that get no more requests while they are kept warm: those that last are asked to leave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// Which.
    pub instances: Vec<InstanceId>,
    /// How, as what is live says.
    pub policy: Drain,
}

impl ServiceState {
    /// Those that last are asked to leave a slot as soon as all traffic has moved away from it, whatever else is done.
    #[must_use]
    pub fn parting(&self) -> Option<Parting> {
        let slot = &self.environments[self.idle()];
        let is_warm = slot.passed_gates && slot.clearing.is_none() && !slot.instances.is_empty();
        let has_moved = self.weights.sole() == Some(self.live);
        let instances = slot.instances.iter().map(|instance| instance.id.clone()).collect();
        (is_warm && has_moved).then(|| Parting { instances, policy: self.drain_policy() })
    }

    /// The environments whose health is to be watched: what has passed its gates, or is asked for them, and is not
    /// being emptied.
    ///
    /// Of each, the first conclusion counts as a change and has to be told.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched<'_>> {
        let watched = self.environments.iter().filter_map(|(environment, slot)| {
            let proving =
                |d: &Deployment| d.undo.is_none() && d.stage.is_proving() && d.environment == environment;
            let gates = slot.passed_gates || self.deployment.as_ref().is_some_and(proving);
            let present = gates && slot.clearing.is_none() && !slot.instances.is_empty();
            let release = slot.release.as_ref().filter(|_| present)?;
            Some(Watched { environment, release, instances: &slot.instances })
        });
        watched.collect()
    }
}

impl Draft {
    pub(super) fn health_changed(
        &mut self,
        environment: Environment,
        instances: &[InstanceId],
        health: &Health,
    ) {
        let watched = self.state.watched().into_iter().find(|watched| watched.environment == environment);
        let present: Option<BTreeSet<_>> =
            watched.map(|watched| watched.instances.iter().map(|instance| &instance.id).collect());
        if present != Some(instances.iter().collect()) {
            return;
        }
        self.slot_mut(environment).health = health.clone();
        if environment == self.state.live && *health == Health::Healthy {
            self.restore_what_waits();
        }
        self.weigh_health_of_the_held();
        self.weigh_health();
    }

    /// In the bake, a live environment that lost its health is given up if there is a better one to go to.
    pub(super) fn weigh_health(&mut self) {
        if !self.state.deployment.as_ref().is_some_and(Deployment::is_baking) {
            return;
        }
        let (lost, last_lines) = match (&self.slot(self.state.live).health, &self.workers().health) {
            (Health::Unhealthy { reason, last_lines }, _) => {
                (format!("lost health in the bake: {reason}"), last_lines.clone())
            }
            (_, Health::Unhealthy { reason, last_lines }) => {
                (format!("a worker failed in the bake: {reason}"), last_lines.clone())
            }
            _ => {
                let trouble = self.trouble_with_workers();
                return self.note_in_bake(trouble);
            }
        };
        self.give_up_in_bake(&lost, last_lines);
    }

    /// Takes back what bakes, if that is wanted and there is something better to go back to; else says why not.
    pub(super) fn give_up_in_bake(&mut self, lost: &str, last_lines: Vec<String>) {
        let Some(deployment) = self.state.deployment.as_ref().filter(|d| Deployment::is_baking(d)) else {
            return;
        };
        if !deployment.rollout.auto_rollback {
            return self.stay_in_bake(format!("{lost}; not taken back, because auto_rollback is off"));
        }
        // By itself it goes back only to what is well: both may be sick of the same.
        let hindrance = match self.state.rollback_target() {
            Ok(target) if target.warm => {
                self.revise(|deployment| deployment.last_lines = last_lines);
                return self.undo(lost.to_owned(), Cause::Failure);
            }
            Ok(target) => {
                let reason = self.state.former_is_unfit().unwrap_or_default();
                format!("`{}` is not well either: {reason}", target.version)
            }
            Err(NoTarget { why }) => why,
        };
        self.stay_in_bake(format!("{lost}; not taken back, because {hindrance}"));
    }

    fn stay_in_bake(&mut self, note: String) {
        self.revise(|deployment| {
            deployment.marred.get_or_insert_with(|| note.clone());
        });
        self.note_in_bake(Some(note));
    }

    fn note_in_bake(&mut self, note: Option<String>) {
        self.revise(|deployment| {
            let open = |report: &&mut StepReport| report.name == "bake" && report.outcome.is_none();
            if let Some(report) = deployment.steps.iter_mut().rev().find(open) {
                report.detail = note.clone().unwrap_or_default();
            }
            deployment.reason = note;
        });
    }
}
