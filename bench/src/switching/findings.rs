//! What was found, as a value for machines; `report` writes it for people.

use serde::Serialize;

use super::{Contender, Counts, Rollbacks, Shifts};
use crate::conditions::Conditions;
use crate::statistics::quantile;

/// Everything that one run has found.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// [`Findings::VERSION`].
    pub v: u32,
    /// Where and when.
    pub conditions: Conditions,
    /// How this was called, as somebody would call it again.
    pub command: String,
    /// From one command to the next, in milliseconds.
    pub pause_ms: u64,
    /// In how many rounds all took turns.
    pub rounds: u32,
    /// The kinds of clients that were at work.
    pub kinds: Vec<&'static str>,
    /// The contenders that were measured.
    pub contenders: Vec<Outcome>,
    /// Those that were not, and why.
    pub left_out: Vec<String>,
    /// Rollbacks through cutover's controller; `None` if none was asked for.
    pub rollbacks: Option<RollbackOutcome>,
}

/// What was found of one contender.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name in tables for people.
    #[serde(skip)]
    pub title: &'static str,
    /// What its program says of its version.
    pub version: String,
    /// How often all traffic was moved.
    pub shifts: usize,
    /// From the command to the end of its answer; `None` for those that do not answer.
    pub answer_ms: Option<Times>,
    /// From the command to the last request that began on the old environment before the next command.
    pub last_on_old_ms: Times,
    /// Requests that the old environment answered although they began after the shift had been answered; `None` where
    /// nothing is answered.
    pub stale: Option<u64>,
    /// The most sessions that were still on the old environment when the next command was given. The middle would say
    /// little: those that stay are on the old one after every other shift.
    pub stayed_at_most: f64,
    /// What clients met.
    pub load: Counts,
}

/// What was found of the rollbacks.
#[derive(Debug, Serialize)]
pub struct RollbackOutcome {
    /// How many there were, of both services together.
    pub rollbacks: usize,
    /// From the start of the command to its exit.
    pub command_ms: Times,
    /// What clients met, during the deployments too.
    pub load: Counts,
}

/// The middle, the edge and the end of some figures.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// Half of them are no greater.
    pub p50: f64,
    /// 95 % are no greater.
    pub p95: f64,
    /// The greatest.
    pub max: f64,
}

impl Times {
    /// Those of `values`; zeros if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        Self { p50: quantile(values, 0.5), p95: quantile(values, 0.95), max: quantile(values, 1.0) }
    }
}

impl Outcome {
    /// Sums up what was found.
    #[must_use]
    pub fn new(contender: Contender, version: String, shifts: Shifts) -> Self {
        let Shifts { answer_ms, last_on_old_ms, stayed, counts } = shifts;
        let answers = contender.answers();
        Self {
            name: contender.name(),
            title: contender.title(),
            version,
            shifts: answer_ms.len(),
            answer_ms: answers.then(|| Times::of(&answer_ms)),
            last_on_old_ms: Times::of(&last_on_old_ms),
            stale: answers.then(|| counts.stale()),
            stayed_at_most: quantile(&stayed, 1.0),
            load: counts,
        }
    }
}

impl From<Rollbacks> for RollbackOutcome {
    fn from(Rollbacks { command_ms, counts }: Rollbacks) -> Self {
        Self { rollbacks: command_ms.len(), command_ms: Times::of(&command_ms), load: counts }
    }
}

impl Findings {
    /// The version of this shape.
    pub const VERSION: u32 = 3;

    /// Whether no request of cutover's failed or was stale.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let mut ours = self.contenders.iter().filter(|outcome| outcome.name == Contender::Cutover.name());
        ours.all(|outcome| outcome.load.is_clean())
            && self.rollbacks.as_ref().is_none_or(|rollbacks| rollbacks.load.is_clean())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use cutover_load::{FailureClass, FailureCount};

    use super::*;

    pub(crate) fn outcome(contender: Contender, failed: u64) -> Outcome {
        let failure = FailureCount { count: failed, examples: Vec::new() };
        let failures = BTreeMap::from([(FailureClass::Cut, failure)]);
        let counts = Counts { requests: 100, failed, failures, ..Counts::default() };
        let shifts =
            Shifts { answer_ms: vec![1.0], last_on_old_ms: vec![0.5], stayed: vec![6.0, 0.0], counts };
        Outcome::new(contender, "1.0".to_owned(), shifts)
    }

    pub(crate) fn findings(contenders: Vec<Outcome>, failed_rollbacks: u64) -> Findings {
        let counts = Counts { requests: 10, failed: failed_rollbacks, ..Counts::default() };
        let rollbacks = Rollbacks { command_ms: vec![20.0], counts };
        Findings {
            v: Findings::VERSION,
            conditions: Conditions::now(),
            command: "switch".to_owned(),
            pause_ms: 700,
            rounds: 1,
            kinds: vec!["fresh"],
            contenders,
            left_out: Vec::new(),
            rollbacks: Some(rollbacks.into()),
        }
    }

    #[test]
    fn only_failures_of_cutover_are_failures_of_the_run() {
        let check = |ours, theirs, rollbacks, expected| {
            let contenders = vec![outcome(Contender::Cutover, ours), outcome(Contender::NginxReload, theirs)];
            assert_eq!(findings(contenders, rollbacks).is_clean(), expected, "{ours} {theirs} {rollbacks}");
        };
        check(0, 0, 0, true);
        check(0, 3, 0, true);
        check(1, 0, 0, false);
        check(0, 0, 1, false);
    }
}
