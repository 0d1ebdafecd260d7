//! Counts what ends, one request at a time, and makes reports of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::answer::{self, Answer};
use crate::expectation::Judgement;
use crate::failure::{Failure, FailureClass};
use crate::latency::Histogram;
use crate::report::{Asked, ClientCount, Example, FailureCount, Latency, Report};

/// Examples kept for each class of failure.
const EXAMPLES: usize = 5;
/// Distinct values counted for each header; what comes after is counted together, so that memory stays
/// bounded.
const MAX_VALUES: usize = 64;
const OTHER_VALUES: &str = "others";
/// Askings to leave that are kept one by one; far more than a test can have sessions.
const MAX_WAVES: usize = 10_000;
const NO_ENVIRONMENT: &str = "none";

/// The running counts of one load.
#[derive(Debug)]
pub(crate) struct Tally {
    environment_header: String,
    counted_headers: Vec<String>,
    requests: u64,
    judged: u64,
    failures: BTreeMap<FailureClass, FailureCount>,
    by_environment: BTreeMap<String, u64>,
    by_header: BTreeMap<String, BTreeMap<String, u64>>,
    by_client: BTreeMap<&'static str, ClientCount>,
    latency: Histogram,
    connections_opened: u64,
    idle_closes: u64,
    waves: Vec<Asked>,
}

/// One request that has ended.
pub(crate) struct Ended {
    pub(crate) client: &'static str,
    /// Since the load's start.
    pub(crate) at: Duration,
    /// From before the connect to the end.
    pub(crate) took: Duration,
    pub(crate) opened_connection: bool,
    pub(crate) met_idle_close: bool,
    /// The answer, if a whole one arrived, and what the expectation said about it.
    pub(crate) answer: Option<(Answer, Judgement)>,
    pub(crate) failure: Option<Failure>,
}

impl Tally {
    pub(crate) fn new(environment_header: String, counted_headers: Vec<String>) -> Self {
        let by_header = counted_headers.iter().map(|name| (name.clone(), BTreeMap::new())).collect();
        Self {
            environment_header,
            counted_headers,
            requests: 0,
            judged: 0,
            failures: BTreeMap::new(),
            by_environment: BTreeMap::new(),
            by_header,
            by_client: BTreeMap::new(),
            latency: Histogram::default(),
            connections_opened: 0,
            idle_closes: 0,
            waves: Vec::new(),
        }
    }

    pub(crate) fn count(&mut self, ended: Ended) {
        self.requests += 1;
        self.connections_opened += u64::from(ended.opened_connection);
        self.idle_closes += u64::from(ended.met_idle_close);
        if let Some((answer, judgement)) = &ended.answer {
            self.latency.record(u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX));
            self.count_origin(&answer.headers, judgement);
        }
        let by_client = self.by_client.entry(ended.client).or_default();
        by_client.requests += 1;
        if let Some(Failure { class, text }) = ended.failure {
            by_client.failed += 1;
            let failures = self.failures.entry(class).or_default();
            failures.count += 1;
            if failures.examples.len() < EXAMPLES {
                failures.examples.push(Example { at_ms: millis(ended.at), client: ended.client, text });
            }
        }
    }

    pub(crate) fn session_opened(
        &mut self,
        client: &'static str,
        headers: &[(String, String)],
        judgement: &Judgement,
    ) {
        self.count_origin(headers, judgement);
        let environment = answer::header(headers, &self.environment_header).unwrap_or(NO_ENVIRONMENT);
        let by_client = self.by_client.entry(client).or_default();
        by_client.open += 1;
        add_one(&mut by_client.sessions, environment);
    }

    pub(crate) fn asked_to_leave(&mut self, client: &'static str, at: Duration) {
        self.by_client.entry(client).or_default().asked_to_leave += 1;
        if self.waves.len() < MAX_WAVES {
            self.waves.push(Asked { at_ms: millis(at), client });
        }
    }

    pub(crate) fn note(&mut self, client: &'static str, change: impl FnOnce(&mut ClientCount)) {
        change(self.by_client.entry(client).or_default());
    }

    /// Who has answered, by the head of the answer.
    fn count_origin(&mut self, headers: &[(String, String)], judgement: &Judgement) {
        self.judged += u64::from(*judgement != Judgement::NotJudged);
        let environment = answer::header(headers, &self.environment_header).unwrap_or(NO_ENVIRONMENT);
        add_one(&mut self.by_environment, environment);
        for name in &self.counted_headers {
            if let (Some(value), Some(values)) = (answer::header(headers, name), self.by_header.get_mut(name))
            {
                add_one(values, value);
            }
        }
    }

    pub(crate) fn report(&self, elapsed: Duration) -> Report {
        Report {
            elapsed_ms: millis(elapsed),
            requests: self.requests,
            failed: self.failures.values().map(|failures| failures.count).sum(),
            judged: self.judged,
            failures: self.failures.clone(),
            by_environment: self.by_environment.clone(),
            by_header: self.by_header.clone(),
            by_client: self.by_client.clone(),
            latency: Latency {
                p50_us: self.latency.quantile(0.50),
                p95_us: self.latency.quantile(0.95),
                p99_us: self.latency.quantile(0.99),
                max_us: self.latency.max(),
            },
            connections_opened: self.connections_opened,
            idle_closes: self.idle_closes,
            waves: self.waves.clone(),
        }
    }
}

fn add_one(counts: &mut BTreeMap<String, u64>, value: &str) {
    if let Some(count) = counts.get_mut(value) {
        *count += 1;
    } else {
        let value = if counts.len() < MAX_VALUES { value } else { OTHER_VALUES };
        *counts.entry(value.to_owned()).or_default() += 1;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
