//! The state while it is being decided about, and the few moves everything else is made of.

use std::time::Duration;

use crate::drain::Drain;
use crate::environment::Environment;
use crate::names::InstanceId;
use crate::service::deployment::{Deployment, Outcome, Stage, Status, StepReport};
use crate::service::effect::{Effect, EffectId, PendingEffect, Purpose};
use crate::service::state::{ServiceState, Slot};
use crate::timestamp::Timestamp;

/// Longest time to start instances: what takes longer than this to *start* (not to become healthy) hangs.
pub(super) const PROVISION_TIMEOUT: Duration = Duration::from_secs(60);
/// What whoever awaits health gets on top of the release's own deadline, so that its better reason comes first.
pub(super) const HEALTH_GRACE: Duration = Duration::from_secs(10);
/// What whoever asks a gate gets on top of the times of what it runs, so that its better reason comes first.
pub(super) const GATE_GRACE: Duration = Duration::from_secs(30);
/// Longest time for a shift; one that was not answered by then may or may not have been made.
pub(super) const SHIFT_TIMEOUT: Duration = Duration::from_secs(10);
/// What whoever waits for requests gets on top of their time, so that it can say what is left.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// Of an environment that is kept until the last one has left.
pub(super) const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// What stopping gets on top of the release's stop timeout, after which instances are killed anyway.
pub(super) const RETIRE_GRACE: Duration = Duration::from_secs(30);
/// Longest time to set priorities.
pub(super) const PRIORITISE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before housekeeping that failed is tried again; it doubles with each failure up to [`LONGEST_PAUSE`].
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Housekeeping that fails again and again is tried at least this often.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(320);

/// A state that is being decided about.
pub(super) struct Draft {
    pub(super) state: ServiceState,
    pub(super) now: Timestamp,
    /// A slot that a person has sent the traffic to already: whether it is fit is no question any more.
    pub(super) trusted: Option<Environment>,
    asked: Vec<EffectId>,
    closed: Vec<Deployment>,
    told: Vec<Deployment>,
}

impl Draft {
    pub(super) fn new(state: ServiceState, now: Timestamp) -> Self {
        Self { state, now, trusted: None, asked: Vec::new(), closed: Vec::new(), told: Vec::new() }
    }

    /// The state, what was asked for and is still wanted, the deployments that ended, and those of which there is more
    /// to tell.
    pub(super) fn finish(self) -> (ServiceState, Vec<PendingEffect>, Vec<Deployment>, Vec<Deployment>) {
        let Self { state, asked, closed, told, .. } = self;
        let effects = state.pending.iter().filter(|pending| asked.contains(&pending.id)).cloned().collect();
        (state, effects, closed, told)
    }

    /// Asks for an effect.
    pub(super) fn ask(&mut self, purpose: Purpose, effect: Effect) {
        let id = EffectId { service: self.state.name.clone(), sequence: self.state.next_effect };
        self.state.next_effect += 1;
        let deadline = self.now + self.state.patience(&effect);
        self.asked.push(id.clone());
        self.state.pending.push(PendingEffect { id, purpose, effect, deadline });
    }

    /// Asks again for everything pending: whoever performed it before is gone.
    pub(super) fn ask_again(&mut self) {
        let deadlines: Vec<_> = self
            .state
            .pending
            .iter()
            .map(|pending| self.now + self.state.patience(&pending.effect))
            .collect();
        for (pending, deadline) in self.state.pending.iter_mut().zip(deadlines) {
            pending.deadline = deadline;
            self.asked.push(pending.id.clone());
        }
    }

    /// Asks again for one that is pending, within the time it has.
    pub(super) fn ask_for(&mut self, id: EffectId) {
        self.asked.push(id);
    }

    /// No longer waits for effects; their answers will be ignored.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&PendingEffect) -> bool) {
        self.state.pending.retain(|pending| !unwanted(pending));
    }

    /// Tells the operating system whom to spare, after the live environment has changed.
    pub(super) fn prioritise(&mut self) {
        self.forget(|pending| matches!(pending.effect, Effect::Prioritise { .. }));
        let (live, idle) = (self.state.live, self.state.idle());
        let effect = Effect::Prioritise { live: self.ids(live), idle: self.ids(idle) };
        self.ask(Purpose::Upkeep, effect);
    }

    /// The ids of the instances in a slot.
    pub(super) fn ids(&self, environment: Environment) -> Vec<InstanceId> {
        self.slot(environment).instances.iter().map(|instance| instance.id.clone()).collect()
    }

    pub(super) fn slot(&self, environment: Environment) -> &Slot {
        &self.state.environments[environment]
    }

    pub(super) fn slot_mut(&mut self, environment: Environment) -> &mut Slot {
        &mut self.state.environments[environment]
    }

    /// Notes why housekeeping in a slot did not work, and when it is tried again.
    pub(super) fn try_later(&mut self, environment: Environment, trouble: String) {
        let now = self.now;
        let slot = self.slot_mut(environment);
        let pause = RETRY_PAUSE.saturating_mul(1 << slot.tries.min(10)).min(LONGEST_PAUSE);
        slot.tries = slot.tries.saturating_add(1);
        slot.trouble = Some(trouble);
        slot.retry_at = Some(now + pause);
    }

    /// Changes the open deployment, if there is one.
    pub(super) fn revise(&mut self, change: impl FnOnce(&mut Deployment)) {
        if let Some(deployment) = self.state.deployment.as_mut() {
            change(deployment);
        }
    }

    /// The open deployment, if it is at that stage.
    pub(super) fn deployment_at(&self, stage: Stage) -> Option<&Deployment> {
        self.state.deployment.as_ref().filter(|deployment| deployment.stage == stage)
    }

    /// Begins a line of the deployment's report.
    pub(super) fn begin_step(&mut self, name: &str) {
        let report = StepReport {
            name: name.to_owned(),
            started_at: self.now,
            ended_at: None,
            outcome: None,
            detail: String::new(),
            finding: None,
        };
        self.revise(|deployment| deployment.steps.push(report));
    }

    /// Ends the line that began last under that name, if it is not ended yet.
    pub(super) fn end_step(&mut self, name: &str, outcome: Outcome, detail: impl Into<String>) {
        let now = self.now;
        self.revise(|deployment| {
            let open = |report: &&mut StepReport| report.name == name && report.outcome.is_none();
            if let Some(report) = deployment.steps.iter_mut().rev().find(open) {
                report.ended_at = Some(now);
                report.outcome = Some(outcome);
                report.detail = detail.into();
            }
        });
    }

    /// Ends all lines that go on, when the deployment turns to something else.
    pub(super) fn end_steps(&mut self, outcome: Outcome, detail: &str) {
        let now = self.now;
        self.revise(|deployment| {
            // What trails has an answer of its own.
            let goes_on = |report: &&mut StepReport| report.outcome.is_none() && !report.trails();
            for report in deployment.steps.iter_mut().filter(goes_on) {
                report.ended_at = Some(now);
                report.outcome = Some(outcome);
                // What was found says more than what became of it.
                if report.finding.is_none() {
                    report.detail = detail.to_owned();
                }
            }
        });
    }

    /// Ends the deployment. What it still waits for is only told to people, and nobody would hear it.
    pub(super) fn close(&mut self, status: Status) {
        self.end_step_of_workers();
        self.trail_at_the_end(status);
        self.end_steps(Outcome::Passed, "its end was not waited for");
        self.forget(|pending| pending.purpose == Purpose::Deployment);
        if let Some(mut deployment) = self.state.deployment.take() {
            deployment.status = status;
            deployment.stage = Stage::Ended;
            deployment.ended_at = Some(self.now);
            deployment.incoming = None;
            deployment.displaced = None;
            deployment.undo = None;
            deployment.gates.clear();
            deployment.checks.clear();
            self.keep_while_it_trails(&deployment);
            self.ended(deployment);
        }
    }

    /// Keeps a deployment that has ended for the record.
    pub(super) fn ended(&mut self, deployment: Deployment) {
        self.closed.push(deployment);
    }

    /// Keeps once more what had ended before, with what is known now.
    pub(super) fn tell_again(&mut self, deployment: Deployment) {
        self.told.push(deployment);
    }
}

impl ServiceState {
    /// How those leave who are with an environment that gets no more requests: as what is live says.
    pub(super) fn drain_policy(&self) -> Drain {
        let live = self.environments[self.live].release.as_ref();
        live.map(|live| live.configuration.drain.clone()).unwrap_or_default()
    }

    /// How long an environment that somebody waits for is drained at most.
    pub(in crate::service) fn longest_drain_in_a_hurry(&self) -> Duration {
        self.drain_policy().at_once().longest().unwrap_or_default() + DRAIN_GRACE
    }

    /// How long an effect may take.
    pub(super) fn patience(&self, effect: &Effect) -> Duration {
        match effect {
            Effect::Provision { .. } => PROVISION_TIMEOUT,
            Effect::AwaitHealthy { release, .. } => release.configuration.health_deadline + HEALTH_GRACE,
            Effect::Shift { .. } | Effect::Unroute { .. } => SHIFT_TIMEOUT,
            Effect::Drain { policy, stays: true, .. } => policy.requests + DRAIN_GRACE,
            // For ever is until somebody needs the slot; what is due then is looked at anew.
            Effect::Drain { policy, .. } => {
                policy.longest().map_or(FOR_EVER, |longest| longest + DRAIN_GRACE)
            }
            Effect::Retire { environment, .. } => {
                let release = self.environments[*environment].release.as_ref();
                release.map_or(Duration::ZERO, |release| release.configuration.run.stop_timeout)
                    + RETIRE_GRACE
            }
            Effect::StartWorkers { .. } => PROVISION_TIMEOUT,
            Effect::StopWorkers { workers, .. } => {
                let longest = workers.iter().map(|worker| worker.stop_timeout).max();
                longest.unwrap_or_default() + RETIRE_GRACE
            }
            Effect::Prioritise { .. } => PRIORITISE_TIMEOUT,
            Effect::RunGate { gate, release, .. } => release.configuration.gates.patience(gate) + GATE_GRACE,
        }
    }
}
