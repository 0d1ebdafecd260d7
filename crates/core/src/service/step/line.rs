//! The line of a deployment: `Vacating → Provisioning → AwaitingHealth (→ AwaitingPromotion) → Shifting → Baking
//! → ended`, with the stages of `gates` between.

use std::collections::BTreeSet;

use std::time::Duration;

use crate::environment::{Environment, Weights};
use crate::gates::HookPoint;
use crate::names::{DeploymentId, InstanceId, ServiceName};
use crate::receipt::Receipt;
use crate::release::Release;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Health, Instance, ServiceState, Slot};
use crate::service::step::draft::Draft;
use crate::service::step::undo::Cause;

impl Draft {
    /// Opens a deployment whose release has to be started.
    pub(super) fn open(&mut self, deployment: Deployment, release: &Release) {
        let incoming = Some(Box::new(release.clone()));
        self.state.deployment = Some(Deployment { status: Status::Deploying, incoming, ..deployment });
        self.prepare();
    }

    /// Has the slot emptied, or goes on at once if it is.
    pub(super) fn vacate(&mut self) {
        let Some(environment) = self.state.deployment.as_ref().map(|open| open.environment) else {
            return;
        };
        self.revise(|deployment| {
            deployment.stage = Stage::Vacating;
            deployment.status = Status::Deploying;
        });
        let slot = self.slot(environment);
        if slot.instances.is_empty() && slot.clearing.is_none() && slot.leaving.is_none() {
            self.provision();
        } else {
            self.begin_step("vacate");
            self.clear_now(environment);
        }
    }

    /// The slot is empty: gives it to the new release and asks for its instances.
    pub(super) fn provision(&mut self) {
        let Some(deployment) = self.state.deployment.as_mut() else {
            return;
        };
        let Some(release) = deployment.incoming.take() else {
            return;
        };
        let (environment, id) = (deployment.environment, deployment.id.clone());
        let slot = &mut self.state.environments[environment];
        // Brought back it has as many instances as it had.
        let same = deployment.kind == DeploymentKind::Rollback
            && slot.release.as_ref().is_some_and(|former| former.id == release.id);
        let taken = Slot {
            release: Some((*release).clone()),
            deployed_by: Some(id.clone()),
            scaled_to: slot.scaled_to.filter(|_| same),
            ..Slot::default()
        };
        let count = taken.count();
        deployment.displaced = Some(std::mem::replace(slot, taken)).filter(|slot| slot.release.is_some());
        deployment.stage = Stage::Provisioning;
        deployment.status = Status::Deploying;
        self.state.standby_until = None;
        self.begin_step("provision");
        let instances = instance_ids(&self.state.name, environment, &id, count);
        self.ask(Purpose::Deployment, Effect::Provision { environment, release, instances, if_room: false });
    }

    /// The instances run; now they have to become healthy.
    pub(super) fn provisioned(&mut self, asked: &[InstanceId], instances: &[Instance]) {
        let Some(environment) = self.deployment_at(Stage::Provisioning).map(|d| d.environment) else {
            return;
        };
        if !are_the_same(asked, instances) {
            return self
                .undo("the instances that were started are not those asked for".to_owned(), Cause::Failure);
        }
        let count = instances.len();
        self.end_step(
            "provision",
            Outcome::Passed,
            format!("{count} instance{}", if count == 1 { "" } else { "s" }),
        );
        let now = self.now;
        let slot = self.slot_mut(environment);
        slot.instances = instances.to_vec();
        slot.last_deployed = Some(now);
        self.ask_after_the_start();
    }

    /// Asks for the health of what runs.
    pub(super) fn await_health(&mut self) {
        let Some(environment) = self.state.deployment.as_ref().map(|open| open.environment) else {
            return;
        };
        let slot = self.slot(environment);
        let Some(release) = slot.release.clone().map(Box::new) else {
            return;
        };
        let instances = slot.instances.clone();
        self.revise(|deployment| {
            deployment.status = Status::Validating;
            deployment.stage = Stage::AwaitingHealth;
        });
        self.begin_step("healthy");
        self.ask(Purpose::Deployment, Effect::AwaitHealthy { environment, release, instances, again: false });
    }

    /// The gate of health has passed: the others are asked.
    pub(super) fn became_healthy(&mut self, detail: &str) {
        let Some(deployment) = self.deployment_at(Stage::AwaitingHealth) else {
            return;
        };
        let environment = deployment.environment;
        let start = deployment.steps.iter().rev().find(|report| report.name == "provision");
        let took = start.map(|report| self.now.since(report.started_at));
        self.end_step("healthy", Outcome::Passed, detail);
        let slot = self.slot_mut(environment);
        slot.health = Health::Healthy;
        slot.start_took = took;
        self.validate();
    }

    /// Every gate has passed but a person's, if there is to be one.
    pub(super) fn await_promotion(&mut self) {
        let Some(open) = &self.state.deployment else { return };
        let (hold, environment) = (open.rollout.hold, open.environment);
        match hold {
            Some(hold) => self.hold(hold),
            // Without a person who is waited for, requests wait already.
            None if self.needs_quiet() => {}
            None => self.pass_gates(environment),
        }
    }

    /// Every gate has passed: traffic comes.
    pub(super) fn pass_gates(&mut self, environment: Environment) {
        let slot = self.slot_mut(environment);
        slot.passed_gates = true;
        slot.private = false;
        self.revise(|deployment| {
            deployment.status = Status::Shifting;
            deployment.stage = Stage::Shifting;
        });
        self.begin_step("switch");
        if let Some(id) = self.state.deployment.as_ref().map(|open| open.id.clone()) {
            self.lift_hold_of(&id);
        }
        self.publish(Purpose::Deployment, Weights::all_to(environment));
    }

    /// Traffic has moved.
    pub(super) fn cut_over(&mut self, receipt: &Receipt) {
        let Some(deployment) = self.deployment_at(Stage::Shifting) else {
            return;
        };
        let (environment, kind, bake) = (deployment.environment, deployment.kind, deployment.rollout.bake);
        let old = environment.other();
        // Nothing is kept warm beside a first release, so there is nothing that its bake could decide.
        let bake = if self.slot(old).release.is_none() { Duration::ZERO } else { bake };
        self.note_switch("switch", environment, receipt);
        self.go_live(environment);
        if kind == DeploymentKind::Deploy {
            self.note_fitness(environment);
        }
        let (now, undoes) = (self.now, self.slot(old).deployed_by.clone());
        self.revise(|deployment| {
            deployment.status = Status::Live;
            deployment.cutover_at = Some(now);
            deployment.displaced = None;
        });
        if kind == DeploymentKind::Rollback {
            self.revise(|deployment| deployment.undoes = undoes);
            self.slot_mut(old).rolled_back = true;
            self.close(Status::Live);
            self.clear(old);
            return;
        }
        self.revise(|deployment| {
            deployment.stage = Stage::Baking;
            deployment.bake_until = Some(now + bake);
        });
        self.trail(&[HookPoint::AfterEachStep, HookPoint::AfterCutover]);
        if bake.is_zero() {
            return self.end_bake();
        }
        self.begin_step("bake");
        self.begin_checks();
        if !self.slot(old).instances.is_empty() {
            self.begin_step("drain");
            let instances = self.ids(old);
            let policy = self.state.drain_policy();
            self.ask(
                Purpose::Deployment,
                Effect::Drain { environment: old, instances, policy, stays: false },
            );
        }
        // The watch may have spoken between the gate and the receipt.
        self.weigh_health();
    }

    /// Makes a slot the live one, after its receipt.
    pub(super) fn go_live(&mut self, environment: Environment) {
        let now = self.now;
        self.state.live = environment;
        self.state.stopped = None;
        (self.state.standby_until, self.state.standby_left) = (None, None);
        let slot = self.slot_mut(environment);
        slot.last_deployed = Some(now);
        slot.rolled_back = false;
        self.prioritise();
        self.workers_change_hands();
    }

    /// Puts a receipt and its figures into the deployment's record.
    pub(super) fn note_switch(&mut self, step: &str, to: Environment, receipt: &Receipt) {
        let started = self.state.deployment.as_ref().and_then(|deployment| {
            deployment.steps.iter().rev().find(|report| report.name == step).map(|report| report.started_at)
        });
        self.state.last_switch = started.map(|started| self.now.since(started));
        let mut detail = format!("100 % to {to} within {} µs", receipt.fenced_after_us);
        let from = to.other();
        if !self.slot(from).instances.is_empty() {
            detail.push_str(&format!(", {} in flight on {from}", receipt.in_flight[from]));
        }
        self.end_step(step, Outcome::Passed, detail);
        self.revise(|deployment| deployment.receipts.push(receipt.clone()));
    }

    /// The bake is over: the deployment ends as `live`, and the old environment's standby begins.
    pub(super) fn end_bake(&mut self) {
        // The verdict of a check is worth the moment.
        if !self.is_checking() {
            self.end_bake_now();
        }
    }

    /// The same, whatever is being checked.
    pub(super) fn end_bake_now(&mut self) {
        let Some(standby) = self.deployment_at(Stage::Baking).map(|d| d.rollout.standby) else {
            return;
        };
        let marred = self.deployment_at(Stage::Baking).and_then(|baking| baking.marred.clone());
        let contracts = self.contracts_by_policy();
        if let Some(marred) = marred.as_ref().filter(|_| contracts) {
            self.begin_step("contract");
            let detail = format!("not done by itself, because of what the bake showed: {marred}");
            self.end_step("contract", Outcome::Failed, detail);
        }
        self.end_bake_early();
        if contracts && marred.is_none() {
            self.contract_by_policy();
        }
        let idle = self.state.idle();
        if self.slot(idle).instances.is_empty() && self.slot(idle).leaving.is_none() {
            return;
        }
        if standby.is_zero() {
            self.clear(idle);
        } else {
            self.state.standby_until = Some(self.now + standby);
        }
    }

    /// Ends the bake for the next deployment, which empties the old environment itself.
    pub(super) fn end_bake_early(&mut self) {
        let trouble = self.state.deployment.as_ref().and_then(|deployment| deployment.reason.clone());
        self.end_step("bake", Outcome::Passed, trouble.unwrap_or_default());
        self.end_checks();
        self.close(Status::Live);
    }
}

impl ServiceState {
    /// The ids that were asked for when a slot's release was brought there, answered or not.
    pub(crate) fn asked_for(&self, environment: Environment) -> Vec<InstanceId> {
        let slot = &self.environments[environment];
        match (&slot.deployed_by, &slot.release) {
            (Some(deployment), Some(_)) => instance_ids(&self.name, environment, deployment, slot.count()),
            _ => Vec::new(),
        }
    }
}

/// The ids of the instances of an attempt: the same whenever they are asked for.
fn instance_ids(
    service: &ServiceName,
    environment: Environment,
    deployment: &DeploymentId,
    count: u32,
) -> Vec<InstanceId> {
    (1..=count).map(|n| instance_id(service, environment, deployment, n)).collect()
}

/// The id of the n-th instance that a deployment starts in a slot.
pub(super) fn instance_id(
    service: &ServiceName,
    environment: Environment,
    deployment: &DeploymentId,
    n: u32,
) -> InstanceId {
    InstanceId::try_from(format!("{service}-{environment}-{deployment}-{n}"))
        .unwrap_or_else(|_| unreachable!("a label each and a number are printable and short"))
}

impl Slot {
    /// How many instances its release asks for by itself.
    pub(super) fn configured(&self) -> Option<u32> {
        self.release.as_ref().map(|release| release.configuration.run.instances.max(1))
    }

    /// How many instances it is to have when it is started.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.scaled_to.or(self.configured()).unwrap_or(1)
    }
}

/// Whether these are the instances with these ids, in whatever order.
pub(super) fn are_the_same(ids: &[InstanceId], instances: &[Instance]) -> bool {
    let found: BTreeSet<_> = instances.iter().map(|instance| &instance.id).collect();
    found.len() == instances.len() && found == ids.iter().collect()
}
