//! Suites of requests: one after the other, each judged by its assertions, each with what was captured before it.
//!
//! No redirect is followed, and no cookie is kept: a later step sends what an earlier one has captured.

use std::collections::BTreeMap;

use cutover_core::gates::{self, Check, Step, Suite, Verdict};
use cutover_smoke::template::{self, Unknown};
use cutover_smoke::{Assertion, Capture};
use tokio::time::Instant;

use super::exchange::{self, Got, Question};
use super::tries::{Tries, deadline_in, have_passed};
use super::{Run, milliseconds};

/// The checks of the steps that were sent: all of them, or up to the first that did not pass.
pub(super) async fn run(run: &Run<'_>, suite: &Suite, steps: &[Step], deadline: Instant) -> Vec<Check> {
    let mut captured = BTreeMap::new();
    let mut checks = Vec::new();
    for step in steps {
        let mut tries = Tries::new(deadline, step.retries);
        let checked = loop {
            let asked = Asked { run, suite, step, captured: &captured };
            let (check, taken) = asked.check(deadline).await;
            captured.extend(taken);
            if let Some(last) = tries.settle(vec![check]).await {
                break last;
            }
        };
        let goes_on = have_passed(&checked);
        checks.extend(checked);
        if !goes_on {
            break;
        }
    }
    checks
}

/// One step.
struct Asked<'a> {
    run: &'a Run<'a>,
    suite: &'a Suite,
    step: &'a Step,
    captured: &'a BTreeMap<String, String>,
}

impl Asked<'_> {
    /// What a name stands for: what was captured, else a text of the suite, else a secret of the release.
    fn lookup(&self, name: &str) -> Option<String> {
        let text = self.captured.get(name).or_else(|| self.suite.variables.get(name)).map(String::as_str);
        text.or_else(|| self.run.secrets.get(name)).map(str::to_owned)
    }

    fn question(&self) -> Result<Question, Unknown> {
        let Step { method, path, headers, body, .. } = self.step;
        let lookup = |name: &str| self.lookup(name);
        let filled = headers.iter().map(|(name, value)| Ok((name.clone(), template::fill(value, &lookup)?)));
        let headers = filled.collect::<Result<Vec<_>, _>>()?;
        let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map(|(_, value)| value.as_str());
        let body = body.as_deref().map(|body| template::fill_body(body, kind, &lookup)).transpose()?;
        Ok(Question { method: method.clone(), path: template::fill_path(path, &lookup)?, headers, body })
    }

    /// What was found, and what was captured for later steps.
    async fn check(&self, suite_deadline: Instant) -> (Check, BTreeMap<String, String>) {
        let mut check = Check::new(&self.suite.name, &self.step.name, Verdict::NotYet);
        let started = Instant::now();
        let found = self.ask(&mut check, suite_deadline).await;
        check.took_ms = milliseconds(started.elapsed());
        match found {
            Err(reason) => {
                check.reason = reason;
                (check, BTreeMap::new())
            }
            Ok(got) => {
                check.took_ms = milliseconds(got.took);
                check.answer = Some(got.show(&self.run.mask));
                let taken = self.judge(&got, &mut check);
                (check, taken)
            }
        }
    }

    async fn ask(&self, check: &mut Check, suite_deadline: Instant) -> Result<Got, String> {
        let target = self.run.target.as_ref().map_err(Clone::clone)?;
        if self.step.assert.is_empty() {
            return Err("nothing is asserted of its answer".to_owned());
        }
        let question = self.question().map_err(|unknown| unknown.to_string())?;
        let request = question.request(target)?;
        check.request = Some(exchange::show_request(&request, question.body.as_deref(), &self.run.mask));
        let own = deadline_in(self.step.timeout);
        let (deadline, time) = if own <= suite_deadline {
            (own, self.step.timeout)
        } else {
            (suite_deadline, self.suite.timeout)
        };
        exchange::exchange(target, request, deadline, time).await
    }

    fn judge(&self, got: &Got, check: &mut Check) -> BTreeMap<String, String> {
        if let Some(doubt) = &got.doubt {
            check.reason.clone_from(doubt);
            return BTreeMap::new();
        }
        let lookup = |name: &str| self.lookup(name);
        for text in &self.step.assert {
            match Assertion::parse(text) {
                Ok(assertion) => check.assertions.push(assertion.judge(&got.answer(), &lookup)),
                Err(mistake) => {
                    check.reason = format!("`{text}` cannot be understood: {mistake}");
                    return BTreeMap::new();
                }
            }
        }
        if let Some(failed) = check.assertions.iter().find(|assertion| !assertion.holds) {
            check.reason = said(failed);
            check.verdict = Verdict::Fail;
            return BTreeMap::new();
        }
        let mut taken = BTreeMap::new();
        for (name, text) in &self.step.capture {
            let capture = match Capture::parse(text) {
                Ok(capture) => capture,
                Err(mistake) => {
                    check.reason = format!("`{text}` cannot be understood: {mistake}");
                    return BTreeMap::new();
                }
            };
            match capture.take(&got.answer(), &lookup) {
                Ok(value) => {
                    taken.insert(name.clone(), value);
                }
                Err(reason) => {
                    check.reason = format!("nothing to capture as `{name}`: {reason}");
                    check.verdict = Verdict::Fail;
                    return BTreeMap::new();
                }
            }
        }
        check.verdict = Verdict::Pass;
        taken
    }
}

fn said(failed: &gates::Assertion) -> String {
    format!("`{}` does not hold: {}", failed.text, failed.found)
}
