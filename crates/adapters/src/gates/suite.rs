//! Smoke suites, all at the same time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cutover_core::gates::{Check, Gate, Suite, SuiteKind, Verdict};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::program::{Outcome, Program};
use super::report::Report;
use super::tries::{Tries, deadline_in};
use super::{Run, requests};

impl Run<'_> {
    /// The checks of these suites, in the order of the suites.
    pub(super) async fn suites(&self, suites: &[&Suite]) -> Vec<Check> {
        if suites.is_empty() {
            let label = self.wanted.gate.label();
            let reason = match self.wanted.gate {
                Gate::DuringBake { suite } => format!("the release has no suite `{suite}`"),
                _ => "the release has no suites".to_owned(),
            };
            return vec![Outcome::not_yet(reason).check(label, label)];
        }
        let running = Mutex::new(suites.iter().map(|suite| suite.name.as_str()).collect::<Vec<_>>());
        self.tell_running(&running);
        let each: Vec<_> = suites.iter().map(|suite| self.suite_to_its_end(suite, &running)).collect();
        join_all(each).await.concat()
    }

    async fn suite_to_its_end(&self, suite: &Suite, running: &Mutex<Vec<&str>>) -> Vec<Check> {
        let deadline = deadline_in(suite.timeout);
        let mut tries = Tries::new(deadline, suite.retries);
        let checks = loop {
            let found = self.suite(suite, deadline).await;
            if let Some(last) = tries.settle(found).await {
                break last;
            }
        };
        running.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| *name != suite.name);
        self.tell_running(running);
        checks
    }

    fn tell_running(&self, running: &Mutex<Vec<&str>>) {
        let running = running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            let names: Vec<String> = running.iter().map(|name| format!("`{name}`")).collect();
            let word = if names.len() == 1 { "suite" } else { "suites" };
            self.waits_for(format!("{word} {}", names.join(", ")));
        }
    }

    async fn suite(&self, suite: &Suite, deadline: Instant) -> Vec<Check> {
        match &suite.kind {
            SuiteKind::Requests(steps) => requests::run(self, suite, steps, deadline).await,
            SuiteKind::Hurl { file, text } => self.hurl(suite, file, text, deadline).await,
            SuiteKind::Command { command, junit } => {
                self.command_suite(suite, command, junit.as_deref(), deadline).await
            }
        }
    }

    /// A program: its exit status, and its report if it shall write one.
    async fn command_suite(
        &self,
        suite: &Suite,
        words: &[String],
        junit: Option<&str>,
        deadline: Instant,
    ) -> Vec<Check> {
        let report = junit.map(|file| Report::expected_at(self.workdir().join(file), self.user()));
        // Names are for requests: a program has the variables of its release.
        let variables = BTreeMap::new();
        let program = Program { words, variables, deadline, timeout: suite.timeout };
        let outcome = self.program_with_target(program, &[]).await.outcome;
        self.with_report(suite, outcome, report).await
    }

    /// The checks of a report, with what the program itself has said if that is no pass.
    pub(super) async fn with_report(
        &self,
        suite: &Suite,
        outcome: Outcome,
        report: Option<Report>,
    ) -> Vec<Check> {
        let Some(report) = report else { return vec![outcome.check(&suite.name, &suite.name)] };
        let passed = outcome.verdict == Verdict::Pass;
        let mut checks = match report.read(&suite.name).await {
            Ok(checks) => checks,
            Err(reason) if passed => {
                return vec![
                    Outcome { verdict: Verdict::NotYet, reason, ..outcome }.check(&suite.name, &suite.name),
                ];
            }
            Err(_) => Vec::new(),
        };
        if !passed {
            checks.push(outcome.check(&suite.name, &suite.name));
        }
        checks
    }

    /// Where programs of the release are started.
    pub(super) fn workdir(&self) -> std::path::PathBuf {
        let wanted = &self.wanted;
        let files = crate::release_place::located(
            &self.keeper.state_directory,
            &wanted.context.service,
            wanted.release,
        );
        files.join(&wanted.release.configuration.run.workdir).components().collect()
    }

    /// Who programs of the release run as, if not as this process.
    pub(super) fn user(&self) -> Option<&str> {
        self.wanted.release.configuration.run.user.as_deref()
    }
}
