//! The gates of a deployment: at some stages of its line there are things to ask before it goes on.
//!
//! A stage begins with the gates that the release has for it, asks one after the other, and goes on when none is left.
//! Whatever is not a pass takes the deployment back. Only a deploy has gates: a rollback is to what has passed its own.

use crate::gates::{Finding, Gate, GateContext, HookPoint, Verdict};
use crate::names::DeploymentId;
use crate::release::Release;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::step::draft::Draft;
use crate::service::step::undo::Cause;

impl Draft {
    /// Asks what there is to ask before anything is done; then the schema is expanded.
    pub(super) fn prepare(&mut self) {
        self.ask_at(Stage::Preparing, Status::Deploying, [Gate::Hook(HookPoint::BeforeDeploy)]);
    }

    /// Has the schema made fit for both releases; then the slot is emptied, and the new one started, which may look at
    /// its schema at once.
    pub(super) fn expand(&mut self) {
        self.ask_at(Stage::Expanding, Status::Migrating, [Gate::Expand]);
    }

    /// Asks what there is to ask of what was started; then its health is awaited.
    pub(super) fn ask_after_the_start(&mut self) {
        self.ask_at(Stage::Provisioned, Status::Deploying, [Gate::Hook(HookPoint::AfterProvision)]);
    }

    /// The release is healthy: has the router told of the private way to it, by which its gates are asked.
    pub(super) fn validate(&mut self) {
        // All but those of the stages before: hooks before anything is done, the expansion, hooks after the start.
        let [_, _, _, gates @ ..] = Gate::BEFORE_THE_SHIFT;
        let gates = self.those_that_it_has(gates);
        let Some(open) = &self.state.deployment else { return };
        let environment = open.environment;
        if gates.is_empty() && open.rollout.hold.is_none() {
            return self.await_promotion();
        }
        self.revise(|deployment| {
            deployment.stage = Stage::Admitting;
            deployment.gates = gates;
        });
        self.slot_mut(environment).private = true;
        self.begin_step("preview");
        self.publish(Purpose::Deployment, self.state.weights);
    }

    /// The router knows the private way.
    pub(super) fn admitted(&mut self) {
        self.end_step("preview", Outcome::Passed, "it can be reached by a private way");
        self.revise(|deployment| deployment.stage = Stage::Validating);
        self.ask_next();
    }

    fn ask_at<const N: usize>(&mut self, stage: Stage, status: Status, gates: [Gate; N]) {
        let gates = self.those_that_it_has(gates);
        if gates.is_empty() {
            return self.go_on_from(stage);
        }
        self.revise(|deployment| {
            deployment.stage = stage;
            deployment.status = status;
            deployment.gates = gates;
        });
        self.ask_next();
    }

    fn those_that_it_has<const N: usize>(&self, gates: [Gate; N]) -> Vec<Gate> {
        let open = self.state.deployment.as_ref().filter(|open| open.kind == DeploymentKind::Deploy);
        let Some(release) = open.and_then(|open| self.release_of(open)) else { return Vec::new() };
        let live = self.slot(self.state.live).release.as_ref().filter(|_| self.state.stopped.is_none());
        let live = live.map(|live| &live.configuration.gates);
        gates.into_iter().filter(|gate| release.configuration.gates.has(gate, live)).collect()
    }

    pub(super) fn ask_next(&mut self) {
        let Some(open) = &self.state.deployment else { return };
        let (next, stage, waits) = (open.gates.first().cloned(), open.stage, open.rollout.hold.is_some());
        // What is done right before the shift may be what bears no overlap.
        let is_last = next == Some(Gate::Hook(HookPoint::BeforeShift));
        if is_last && !waits && self.needs_quiet() {
            return;
        }
        match next {
            None => self.go_on_from(stage),
            Some(gate) => {
                self.begin_step(gate.label());
                self.ask_gate(Purpose::Deployment, gate);
            }
        }
    }

    /// Asks a gate of the open deployment.
    pub(super) fn ask_gate(&mut self, purpose: Purpose, gate: Gate) {
        let Some(open) = &self.state.deployment else { return };
        let (environment, release) = match gate {
            Gate::StillWorks => (self.state.live, self.slot(self.state.live).release.clone()),
            _ => (open.environment, self.release_of(open).cloned()),
        };
        let Some(mut release) = release.map(Box::new) else { return };
        if let Gate::DuringBake { suite } = &gate {
            // It is asked often, and each time is recorded: with what it needs and no more.
            let own = &mut release.configuration.gates;
            own.smoke.retain(|one| one.name == *suite);
            own.hooks.clear();
        }
        let context = Box::new(self.context_of(open));
        self.ask(purpose, Effect::RunGate { gate, environment, release, context });
    }

    fn go_on_from(&mut self, stage: Stage) {
        match stage {
            Stage::Preparing => self.expand(),
            Stage::Expanding => self.vacate(),
            Stage::Provisioned => self.await_health(),
            Stage::Validating => self.await_promotion(),
            _ => {}
        }
    }

    /// A gate was answered, or nobody could.
    pub(super) fn judged(&mut self, purpose: Purpose, gate: &Gate, about: &DeploymentId, finding: Finding) {
        match (purpose, gate) {
            (Purpose::Trailing, Gate::Contract) => {
                self.contracted(finding);
                self.go_on_trailing();
            }
            (Purpose::Trailing, _) => {
                self.trailed(about, gate, finding);
                self.go_on_trailing();
            }
            (_, Gate::DuringBake { suite }) => self.checked(suite, finding),
            _ => self.gate_answered(gate, finding),
        }
    }

    fn gate_answered(&mut self, gate: &Gate, finding: Finding) {
        let Some(stage) = self.state.deployment.as_ref().map(|open| open.stage) else { return };
        let passed = finding.verdict == Verdict::Pass;
        let said = match (gate, self.slot(self.state.live).release.as_ref()) {
            // Whoever reads that shall not believe that everything is as it was.
            (Gate::StillWorks, Some(live)) => format!(
                "{}; that is `{}`, which is live: the expanded schema may be what it cannot bear",
                said(gate.label(), &finding),
                live.version
            ),
            _ => said(gate.label(), &finding),
        };
        self.end_gate(gate.label(), finding);
        if !passed {
            return self.undo(said, Cause::Failure);
        }
        self.revise(|deployment| {
            deployment.gates.remove(0);
        });
        debug_assert!(stage.asks_gates(), "{stage:?} asks no gates");
        self.ask_next();
    }

    /// Ends the line of a gate in the report with what was found.
    pub(super) fn end_gate(&mut self, name: &str, finding: Finding) {
        let now = self.now;
        self.revise(|deployment| deployment.end_gate(name, finding, now));
    }

    /// The release that a deployment brings: while its slot is still another's, as long as that is its own, and `None`
    /// after that.
    pub(super) fn release_of<'a>(&'a self, deployment: &'a Deployment) -> Option<&'a Release> {
        let slot = self.slot(deployment.environment);
        let provisioned = slot.release.as_ref().filter(|_| deployment.has_provisioned(slot));
        deployment.incoming.as_deref().or(provisioned)
    }

    pub(super) fn context_of(&self, deployment: &Deployment) -> GateContext {
        GateContext {
            service: self.state.name.clone(),
            deployment: deployment.id.clone(),
            kind: deployment.kind.label().to_owned(),
            status: deployment.status.label().to_owned(),
            actor: deployment.actor.clone(),
            version: deployment.version.clone(),
            from: deployment.from.clone(),
            environment: deployment.environment,
            live: self.state.live,
            reason: deployment.reason.clone(),
        }
    }
}

/// What a gate that has not passed is to people, in one sentence.
pub(super) fn said(name: &str, finding: &Finding) -> String {
    match finding.verdict {
        Verdict::NotYet => format!("`{name}` gave no verdict: {}", finding.reason),
        Verdict::Fail | Verdict::Pass => format!("`{name}` failed: {}", finding.reason),
    }
}

impl Deployment {
    pub(super) fn end_gate(&mut self, name: &str, finding: Finding, now: crate::timestamp::Timestamp) {
        let open = self.steps.iter_mut().rev().find(|report| report.name == name && report.outcome.is_none());
        if let Some(report) = open {
            let passed = finding.verdict == Verdict::Pass;
            report.ended_at = Some(now);
            report.outcome = Some(if passed { Outcome::Passed } else { Outcome::Failed });
            report.detail.clone_from(&finding.reason);
            report.finding = Some(Box::new(finding));
        }
    }
}

impl Stage {
    /// Whether gates are asked there, one after the other.
    pub(crate) fn asks_gates(self) -> bool {
        matches!(self, Self::Preparing | Self::Expanding | Self::Provisioned | Self::Validating)
    }

    /// Whether the attempt's instances run and have not got the traffic yet.
    pub(crate) fn is_before_the_shift(self) -> bool {
        matches!(self, Self::Provisioned | Self::AwaitingHealth) || self.is_proving()
    }

    /// Whether its instances are healthy, and have to stay so.
    pub(crate) fn is_proving(self) -> bool {
        matches!(self, Self::Admitting | Self::Validating | Self::AwaitingPromotion | Self::Quieting)
    }
}
