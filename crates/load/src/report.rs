//! What a load has seen so far, as a value: for a test to assert on, for a person to read, for a file as
//! JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::failure::FailureClass;

/// The counts of one load from its start to the moment of the snapshot.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Time since the start, in milliseconds.
    pub elapsed_ms: u64,
    /// Requests that have ended, in whatever way.
    pub requests: u64,
    /// Those of them that failed; the sum over `failures`.
    pub failed: u64,
    /// Answers that an expectation held for from head to last byte: how many could have been `stale`.
    pub judged: u64,
    /// Failed requests by class, with examples.
    pub failures: BTreeMap<FailureClass, FailureCount>,
    /// Whole answers by the environment that sent them; `none` for answers that do not say.
    pub by_environment: BTreeMap<String, u64>,
    /// Whole answers by header and value, for each header that the plan counts; answers without it are left
    /// out.
    pub by_header: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests by kind of client.
    pub by_client: BTreeMap<&'static str, ClientCount>,
    /// From before the connect to the last byte, of requests that got a whole answer.
    pub latency: Latency,
    /// Connections that were made.
    pub connections_opened: u64,
    /// Kept-alive connections that the server had closed while they were idle. No failure.
    pub idle_closes: u64,
}

/// How often one class of failure occurred.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FailureCount {
    /// Failed requests of this class.
    pub count: u64,
    /// The first few.
    pub examples: Vec<Example>,
}

/// One failed request.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// When it failed, in milliseconds since the load's start.
    pub at_ms: u64,
    /// The kind of client, as in [`Report::by_client`].
    pub client: &'static str,
    /// What the client saw.
    pub text: String,
}

/// The requests of one kind of client.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClientCount {
    /// Requests that have ended.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
}

/// Quantiles in microseconds, rounded up by at most 1/32; zero if nothing was answered.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Half of all answers took no longer, in microseconds.
    pub p50_us: u64,
    /// 95 % took no longer, in microseconds.
    pub p95_us: u64,
    /// 99 % took no longer, in microseconds.
    pub p99_us: u64,
    /// The longest, exact, in microseconds.
    pub max_us: u64,
}

impl Report {
    /// Whether there were requests and none of them failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.requests > 0 && self.failed == 0
    }

    /// How many requests failed in this way.
    #[must_use]
    pub fn failed_as(&self, class: FailureClass) -> u64 {
        self.failures.get(&class).map_or(0, |failures| failures.count)
    }

    /// How many whole answers this environment sent.
    #[must_use]
    pub fn answered_by(&self, environment: &str) -> u64 {
        self.by_environment.get(environment).copied().unwrap_or(0)
    }
}

/// A line of totals, then a line for each class of failure with its first example.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} failed, p50 {} µs, p95 {} µs, p99 {} µs, max {} µs",
            self.requests,
            self.failed,
            self.latency.p50_us,
            self.latency.p95_us,
            self.latency.p99_us,
            self.latency.max_us
        )?;
        for (class, failures) in &self.failures {
            write!(f, "\n  {} {}", failures.count, class.label())?;
            if let Some(first) = failures.examples.first() {
                write!(f, ", the first after {} ms ({}): {}", first.at_ms, first.client, first.text)?;
            }
        }
        Ok(())
    }
}
