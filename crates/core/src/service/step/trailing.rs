//! Hooks that are run after something has happened. Nothing waits for them: what they find is told, and changes nothing.
//!
//! A deployment may have ended before its last hooks have. Then its record is kept beside until they are answered, and
//! is told once more with each.

use crate::gates::{Finding, Gate, HookPoint};
use crate::names::DeploymentId;
use crate::release::Release;
use crate::service::deployment::{Deployment, DeploymentKind, Status, StepReport};
use crate::service::effect::{Effect, Purpose};
use crate::service::step::draft::Draft;
use crate::timestamp::Timestamp;

/// Deployments whose last hooks are waited for; of more, the oldest are given up.
const MOST: usize = 4;

impl Draft {
    /// Has the hooks of these points run, as far as the open deployment's release has some.
    pub(super) fn trail(&mut self, points: &[HookPoint]) {
        let Some(open) = &self.state.deployment else { return };
        if open.kind != DeploymentKind::Deploy {
            return;
        }
        let Some(release) = self.release_of(open).cloned() else { return };
        self.trail_with(points, &release);
    }

    fn trail_with(&mut self, points: &[HookPoint], release: &Release) {
        for point in points {
            if release.configuration.gates.hooks_at(*point).next().is_none() {
                continue;
            }
            self.begin_step(point.label());
            let Some(open) = &self.state.deployment else { return };
            let (environment, context) = (open.environment, Box::new(self.context_of(open)));
            let release = Box::new(release.clone());
            self.ask_trailing(Effect::RunGate { gate: Gate::Hook(*point), environment, release, context });
        }
    }

    /// Asks for an effect of those that are run one after the other while everything else goes on.
    pub(super) fn ask_trailing(&mut self, effect: Effect) {
        if self.state.pending.iter().any(|pending| pending.purpose == Purpose::Trailing) {
            self.state.to_trail.push(effect);
        } else {
            self.ask(Purpose::Trailing, effect);
        }
    }

    /// One was answered, or given up.
    pub(super) fn go_on_trailing(&mut self) {
        let is_asked = self.state.pending.iter().any(|pending| pending.purpose == Purpose::Trailing);
        if !is_asked && !self.state.to_trail.is_empty() {
            let next = self.state.to_trail.remove(0);
            self.ask(Purpose::Trailing, next);
        }
    }

    /// The open deployment is about to end like this.
    pub(super) fn trail_at_the_end(&mut self, status: Status) {
        let Some(open) = &self.state.deployment else { return };
        let taken_back = open.undo.is_some();
        let by_hand = open.undo.as_ref().is_some_and(|undo| undo.by_hand);
        match (open.kind, status) {
            (DeploymentKind::Deploy, Status::Live) => self.trail_as(status, &[HookPoint::AfterBake]),
            (DeploymentKind::Deploy, Status::Failed) => self.trail_as(status, &[HookPoint::OnFailure]),
            (DeploymentKind::Deploy, _) if taken_back && by_hand => {
                self.trail_as(status, &[HookPoint::OnRollback]);
            }
            (DeploymentKind::Deploy, _) if taken_back => {
                self.trail_as(status, &[HookPoint::OnRollback, HookPoint::OnFailure]);
            }
            // Of the release that was left.
            (DeploymentKind::Rollback, Status::Live) => {
                if let Some(left) = self.slot(self.state.idle()).release.clone() {
                    self.revise(|deployment| deployment.status = status);
                    self.trail_with(&[HookPoint::OnRollback], &left);
                }
            }
            _ => {}
        }
    }

    fn trail_as(&mut self, status: Status, points: &[HookPoint]) {
        // They are told how it has ended.
        self.revise(|deployment| deployment.status = status);
        self.trail(points);
    }

    /// Keeps the record of a deployment that has ended, as long as hooks of it run.
    pub(super) fn keep_while_it_trails(&mut self, deployment: &Deployment) {
        if !self.trails(&deployment.id) {
            return;
        }
        self.state.trailing.push(deployment.clone());
        while self.state.trailing.len() > MOST {
            let mut given_up = self.state.trailing.remove(0);
            given_up.give_up_what_trails(self.now);
            self.forget(|pending| pending.effect.is_hook_of(&given_up.id));
            self.state.to_trail.retain(|effect| !effect.is_hook_of(&given_up.id));
            self.tell_again(given_up);
        }
        self.go_on_trailing();
    }

    /// A hook was answered.
    pub(super) fn trailed(&mut self, id: &DeploymentId, gate: &Gate, finding: Finding) {
        if self.state.deployment.as_ref().is_some_and(|open| open.id == *id) {
            return self.end_gate(gate.label(), finding);
        }
        let Some(position) = self.state.trailing.iter().position(|ended| ended.id == *id) else { return };
        let now = self.now;
        self.state.trailing[position].end_gate(gate.label(), finding, now);
        let told = if self.trails(id) {
            self.state.trailing[position].clone()
        } else {
            self.state.trailing.remove(position)
        };
        self.tell_again(told);
    }

    fn trails(&self, id: &DeploymentId) -> bool {
        let pending = self.state.pending.iter().filter(|pending| pending.purpose == Purpose::Trailing);
        pending.map(|pending| &pending.effect).chain(&self.state.to_trail).any(|effect| effect.is_hook_of(id))
    }
}

impl Deployment {
    fn give_up_what_trails(&mut self, now: Timestamp) {
        let open = |report: &&StepReport| report.trails() && report.outcome.is_none();
        let names: Vec<String> = self.steps.iter().filter(open).map(|report| report.name.clone()).collect();
        for name in names {
            let why = "given up: the hooks of newer deployments wait behind it";
            self.end_gate(&name, Finding::not_yet(why), now);
        }
    }
}

impl Effect {
    fn is_hook_of(&self, id: &DeploymentId) -> bool {
        matches!(self, Self::RunGate { gate: Gate::Hook(point), context, .. } if !point.is_gate() && context.deployment == *id)
    }
}

impl StepReport {
    /// Whether it is a hook that nothing waits for.
    pub(super) fn trails(&self) -> bool {
        HookPoint::ALL.iter().any(|point| !point.is_gate() && point.label() == self.name)
    }
}
