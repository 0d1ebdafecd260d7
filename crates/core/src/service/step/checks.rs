//! Suites that are repeated while a release bakes, as users reach it.

use crate::gates::{Finding, Gate, Verdict};
use crate::service::deployment::{NextCheck, Outcome, Stage, StepReport};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::ServiceState;
use crate::service::step::draft::Draft;
use crate::service::step::gates::said;
use crate::timestamp::Timestamp;

/// The line of the report that tells of all of them.
const STEP: &str = "checks";

impl Draft {
    /// The bake begins.
    pub(super) fn begin_checks(&mut self) {
        let Some(release) = &self.slot(self.state.live).release else { return };
        let checks: Vec<NextCheck> = release
            .configuration
            .gates
            .during_bake()
            .filter_map(|suite| {
                let at = Some(self.now + suite.during_bake?);
                Some(NextCheck { suite: suite.name.clone(), at, passed: 0, failed: 0 })
            })
            .collect();
        if checks.is_empty() {
            return;
        }
        self.begin_step(STEP);
        self.revise(|deployment| deployment.checks = checks);
    }

    /// Asks those that are due; none once the bake is over, or two that overlap would keep it open for ever.
    pub(super) fn ask_checks(&mut self) {
        let now = self.now;
        let Some(baking) = self.deployment_at(Stage::Baking) else { return };
        if baking.bake_until.is_some_and(|until| until <= now) {
            return;
        }
        let due = |check: &&NextCheck| check.at.is_some_and(|at| at <= now);
        let due: Vec<String> = baking.checks.iter().filter(due).map(|check| check.suite.clone()).collect();
        for suite in due {
            self.revise(|deployment| {
                for check in deployment.checks.iter_mut().filter(|check| check.suite == suite) {
                    check.at = None;
                }
            });
            self.ask_gate(Purpose::Deployment, Gate::DuringBake { suite });
        }
    }

    /// A suite was answered.
    pub(super) fn checked(&mut self, suite: &str, finding: Finding) {
        let Some(baking) = self.deployment_at(Stage::Baking) else { return };
        let release = self.release_of(baking);
        let suites = release.map(|release| release.configuration.gates.during_bake());
        let period =
            suites.into_iter().flatten().find(|one| one.name == suite).and_then(|one| one.during_bake);
        let Some(next) = period.map(|period| self.now + period) else { return };
        let passed = finding.verdict == Verdict::Pass;
        self.revise(|deployment| {
            for check in deployment.checks.iter_mut().filter(|check| check.suite == suite) {
                check.at = Some(next);
                check.passed += u32::from(passed);
                check.failed += u32::from(!passed);
            }
        });
        if !passed {
            let lost = format!("in the bake {}", said(suite, &finding));
            self.keep_the_first(finding);
            self.give_up_in_bake(&lost, Vec::new());
        }
        let over = self.deployment_at(Stage::Baking).filter(|baking| baking.undo.is_none());
        if over.and_then(|baking| baking.bake_until).is_some_and(|until| until <= self.now) {
            self.end_bake();
        }
    }

    /// Of all that did not pass, the first is kept: a record must not grow with how often that is tried.
    fn keep_the_first(&mut self, finding: Finding) {
        self.revise(|deployment| {
            let open = |report: &&mut StepReport| report.name == STEP && report.outcome.is_none();
            if let Some(report) = deployment.steps.iter_mut().rev().find(open)
                && report.finding.is_none()
            {
                report.detail.clone_from(&finding.reason);
                report.finding = Some(Box::new(finding));
            }
        });
    }

    /// The bake is over.
    pub(super) fn end_checks(&mut self) {
        let Some(open) = &self.state.deployment else { return };
        let passed: u32 = open.checks.iter().map(|check| check.passed).sum();
        let failed: u32 = open.checks.iter().map(|check| check.failed).sum();
        match failed {
            0 => self.end_step(STEP, Outcome::Passed, format!("{passed} passed")),
            _ => self.end_step(STEP, Outcome::Failed, format!("{passed} passed, {failed} did not")),
        }
    }

    /// Whether the verdict of one is awaited.
    pub(super) fn is_checking(&self) -> bool {
        self.state.is_checking()
    }
}

impl ServiceState {
    pub(crate) fn is_checking(&self) -> bool {
        self.pending.iter().any(|pending| {
            let check = matches!(&pending.effect, Effect::RunGate { gate: Gate::DuringBake { .. }, .. });
            check && pending.purpose == Purpose::Deployment
        })
    }

    /// When the next check of a bake is due.
    pub(crate) fn next_check(&self) -> Option<Timestamp> {
        let baking = self.deployment.as_ref().filter(|open| open.is_baking())?;
        let next = baking.checks.iter().filter_map(|check| check.at).min();
        next.filter(|at| baking.bake_until.is_none_or(|until| *at < until))
    }
}
