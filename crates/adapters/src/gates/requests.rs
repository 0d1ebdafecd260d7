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
                match self.judge(got, suite_deadline).await {
                    Err(reason) => {
                        check.reason = reason;
                        (check, BTreeMap::new())
                    }
                    Ok(Judged { assertions, failed, captured }) => {
                        check.assertions = assertions;
                        check.verdict = if failed.is_none() { Verdict::Pass } else { Verdict::Fail };
                        check.reason = failed.unwrap_or_default();
                        (check, captured)
                    }
                }
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

    /// Judges an answer, on a thread of its own: what is asserted may be dear.
    async fn judge(&self, got: Got, deadline: Instant) -> Result<Judged, String> {
        if let Some(doubt) = got.doubt {
            return Err(doubt);
        }
        let texts = self.step.assert.iter().chain(self.step.capture.values());
        let names = texts.flat_map(|text| template::names(text));
        let names = names.filter_map(|name| Some((name.clone(), self.lookup(&name)?))).collect();
        let step = self.step.clone();
        let judging = tokio::task::spawn_blocking(move || judge(&step, &got, &names));
        match tokio::time::timeout_at(deadline, judging).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => Err(format!("its answer could not be judged: {error}")),
            Err(_) => Err("its answer could not be judged in the time of the suite".to_owned()),
        }
    }
}

/// What an answer is, beside a verdict that nobody can give.
#[derive(Default)]
struct Judged {
    assertions: Vec<gates::Assertion>,
    /// Why it fails.
    failed: Option<String>,
    captured: BTreeMap<String, String>,
}

/// Asserts everything of an answer, and captures from one of which everything holds.
fn judge(step: &Step, got: &Got, names: &BTreeMap<String, String>) -> Result<Judged, String> {
    let lookup = |name: &str| names.get(name).cloned();
    let not_understood = |text: &str, mistake| format!("`{text}` cannot be understood: {mistake}");
    let mut judged = Judged::default();
    for text in &step.assert {
        let assertion = Assertion::parse(text).map_err(|mistake| not_understood(text, mistake))?;
        judged.assertions.push(assertion.judge(&got.answer(), &lookup));
    }
    if let Some(failed) = judged.assertions.iter().find(|assertion| !assertion.holds) {
        judged.failed = Some(said(failed));
        return Ok(judged);
    }
    for (name, text) in &step.capture {
        let capture = Capture::parse(text).map_err(|mistake| not_understood(text, mistake))?;
        match capture.take(&got.answer(), &lookup) {
            Ok(value) => {
                judged.captured.insert(name.clone(), value);
            }
            Err(reason) => {
                judged.failed = Some(format!("nothing to capture as `{name}`: {reason}"));
                judged.captured.clear();
                return Ok(judged);
            }
        }
    }
    Ok(judged)
}

fn said(failed: &gates::Assertion) -> String {
    format!("`{}` does not hold: {}", failed.text, failed.found)
}
