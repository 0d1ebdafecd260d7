//! What a gate has found.

use serde::{Deserialize, Serialize};

/// A gate's answer. Only one of them lets a deployment go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was asked for is so.
    Pass,
    /// It is not so.
    Fail,
    /// Nobody knows: it was killed, ran out of time, lost its process, found no data, matched no test, or what it needs
    /// is missing. Not a pass (I8).
    NotYet,
}

impl Verdict {
    /// The word used in files, JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotYet => "not_yet",
        }
    }

    /// What several say together: a fail weighs most, and a pass is one only if all are.
    #[must_use]
    pub fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = None;
        for verdict in verdicts {
            all = Some(match (all, verdict) {
                (Some(Self::Fail), _) | (_, Self::Fail) => Self::Fail,
                (Some(Self::NotYet), _) | (_, Self::NotYet) => Self::NotYet,
                _ => Self::Pass,
            });
        }
        // Nothing was asked, so nothing was answered.
        all.unwrap_or(Self::NotYet)
    }
}

/// Most checks that a finding keeps: the failed ones first.
const MOST_CHECKS: usize = 40;
/// Most failed checks that keep their request, answer and output, and most passed ones that keep their output.
const MOST_SHOWN: usize = 8;
/// Longest name and reason, in characters.
const LONGEST_LINE: usize = 300;
/// Longest request, answer or text of an assertion, in characters.
const LONGEST_TEXT: usize = 2000;
/// Most assertions of a check.
const MOST_ASSERTIONS: usize = 20;
/// Most lines of output of a check that did not pass, and of one that did.
const MOST_LINES: [usize; 2] = [20, 5];

/// A verdict with its reason and evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The answer.
    pub verdict: Verdict,
    /// One sentence that names what decided; for a pass a figure such as `4 of 4`.
    pub reason: String,
    /// What was looked at, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

impl Finding {
    /// A pass with a figure.
    #[must_use]
    pub fn pass(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, reason: reason.into(), checks: Vec::new() }
    }

    /// A fail with its reason.
    #[must_use]
    pub fn fail(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, reason: reason.into(), checks: Vec::new() }
    }

    /// No answer, and why.
    #[must_use]
    pub fn not_yet(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotYet, reason: reason.into(), checks: Vec::new() }
    }

    /// Several checks as one: `4 of 4` if all have passed, else the reason of the first that weighs as much as all.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let verdict = Verdict::of_all(checks.iter().map(|check| check.verdict));
        let passed = checks.iter().filter(|check| check.verdict == Verdict::Pass).count();
        let reason = match checks.iter().find(|check| check.verdict == verdict) {
            None => "nothing was checked".to_owned(),
            Some(_) if verdict == Verdict::Pass => format!("{passed} of {}", checks.len()),
            Some(check) => format!("{}: {}", check.full_name(), check.reason),
        };
        Self { verdict, reason, checks }
    }

    /// The same with no more than is kept for good. A state is part of every record, and the record of a rescue has to
    /// fit on a full disk: it must not grow with what programs print.
    #[must_use]
    pub fn in_short(mut self) -> Self {
        shorten(&mut self.reason, LONGEST_LINE);
        self.checks.sort_by_key(|check| check.verdict == Verdict::Pass);
        self.checks.truncate(MOST_CHECKS);
        // Of those that did not pass and of those that did.
        let mut shown = [0; 2];
        for check in &mut self.checks {
            let shown = &mut shown[usize::from(check.verdict == Verdict::Pass)];
            check.shorten(*shown < MOST_SHOWN);
            *shown += 1;
        }
        self
    }
}

/// One thing that a gate has looked at: a request of a suite, a test of a runner, a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The suite or hook it belongs to; its own name if it is alone.
    pub suite: String,
    /// Its name within.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it did not pass, in one sentence; empty if it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The request as it was sent, secrets masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The answer as it came, the beginning of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What was asserted of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<Assertion>,
    /// The last lines that a program wrote, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl Check {
    /// A check that says nothing but how it ended.
    #[must_use]
    pub fn new(suite: impl Into<String>, name: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            suite: suite.into(),
            name: name.into(),
            verdict,
            took_ms: 0,
            reason: String::new(),
            request: None,
            answer: None,
            assertions: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Suite and name, as far as they differ.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.suite == self.name { self.name.clone() } else { format!("{}, {}", self.suite, self.name) }
    }

    fn shorten(&mut self, keep: bool) {
        for line in [&mut self.suite, &mut self.name, &mut self.reason] {
            shorten(line, LONGEST_LINE);
        }
        let passed = self.verdict == Verdict::Pass;
        if passed || !keep {
            (self.request, self.answer) = (None, None);
            self.assertions.clear();
        }
        if !keep {
            self.output.clear();
        }
        for text in [&mut self.request, &mut self.answer].into_iter().flatten() {
            shorten(text, LONGEST_TEXT);
        }
        self.assertions.sort_by_key(|assertion| assertion.holds);
        self.assertions.truncate(MOST_ASSERTIONS);
        for assertion in &mut self.assertions {
            shorten(&mut assertion.text, LONGEST_LINE);
            shorten(&mut assertion.found, LONGEST_LINE);
        }
        let surplus = self.output.len().saturating_sub(MOST_LINES[usize::from(passed)]);
        self.output.drain(..surplus);
        self.output.iter_mut().for_each(|line| shorten(line, LONGEST_LINE));
    }
}

/// One assertion of a check, beside what it was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// As it is written.
    pub text: String,
    /// What was found instead, or the same.
    pub found: String,
    /// Whether it holds.
    pub holds: bool,
}

fn shorten(text: &mut String, longest: usize) {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_pass_together_only_if_all_do_and_nothing_is_no_pass() {
        use Verdict::{Fail, NotYet, Pass};
        let check = |verdicts: &[Verdict], all| assert_eq!(Verdict::of_all(verdicts.iter().copied()), all);
        check(&[], NotYet);
        check(&[Pass, Pass], Pass);
        check(&[Pass, NotYet], NotYet);
        check(&[NotYet, Fail, Pass], Fail);
        assert_eq!(Finding::of(Vec::new()).verdict, NotYet);
    }

    #[test]
    fn whatever_is_said_a_finding_stays_small_and_keeps_what_failed() {
        let long = "ä".repeat(3000);
        let check = |n: usize| Check {
            reason: long.clone(),
            request: Some(long.clone()),
            answer: Some(long.clone()),
            assertions: vec![Assertion { text: long.clone(), found: long.clone(), holds: false }; 50],
            output: vec![long.clone(); 50],
            ..Check::new(
                "all",
                n.to_string(),
                if n.is_multiple_of(2) { Verdict::Pass } else { Verdict::Fail },
            )
        };
        let short = Finding::of((0..100).map(check).collect()).in_short();
        assert!(serde_json::to_string(&short).unwrap().len() < 400_000);
        assert!(short.checks.iter().all(|check| check.verdict == Verdict::Fail));
        assert_eq!(short.verdict, Verdict::Fail);
        assert!(short.checks[0].output.len() == MOST_LINES[0] && short.checks[9].output.is_empty());
    }
}
