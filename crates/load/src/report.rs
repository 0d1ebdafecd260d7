//! What a load has seen so far, as a value: for a test to assert on, for a person to read, for a file as
//! JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

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
    /// Answers that an expectation held for from head to last byte, and openings of sessions for which it held until
    /// their head had arrived: how many could have been `stale`.
    pub judged: u64,
    /// Failed requests by class, with examples.
    pub failures: BTreeMap<FailureClass, FailureCount>,
    /// Whole answers, and sessions from their opening on, by the environment that sent them; `none` for answers that do
    /// not say.
    pub by_environment: BTreeMap<String, u64>,
    /// Whole answers by header and value, for each header that the plan counts; answers without it are left
    /// out.
    pub by_header: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests by kind of client.
    pub by_client: BTreeMap<&'static str, ClientCount>,
    /// From before the connect to the last byte, of requests that got a whole answer; sessions are left out.
    pub latency: Latency,
    /// Connections that were made.
    pub connections_opened: u64,
    /// Kept-alive connections that the server had closed while they were idle. No failure.
    pub idle_closes: u64,
    /// When servers asked clients to leave, in order: sessions, and connections with HTTP/2. At most the first 10,000.
    pub waves: Vec<Asked>,
}

/// A server has asked one client to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// When, in milliseconds since the load's start.
    pub at_ms: u64,
    /// The kind of client, as in [`Report::by_client`].
    pub client: &'static str,
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
    /// How often the server asked to leave in the words of the protocol, which is no failure: WebSocket code 1001 or
    /// 1012, the orderly end of an event stream between two events, gRPC status 14 between two messages, GOAWAY where
    /// requests are made over HTTP/2.
    pub asked_to_leave: u64,
    /// How often a client opened a session (with HTTP/2, a connection) after an earlier one, whatever ended that.
    pub reconnects: u64,
    /// Messages that came back as they were sent, and events.
    pub messages: u64,
    /// Answers over HTTP/1.1 that said `Connection: close`, or were cut in their request, to a client that would have kept its
    /// connection.
    pub closes: u64,
    /// Messages that were on their way while the server asked to leave, so that no echo could come; sent again in the
    /// next session. No failure: nobody can tell a close from a message that crosses it.
    pub crossed: u64,
    /// Connections on which GOAWAY was seen: before the end of a gRPC call, or between requests over HTTP/2.
    pub goaways: u64,
    /// Requests over HTTP/2 that were refused unprocessed (`REFUSED_STREAM`, or above GOAWAY's last stream) and sent again.
    pub resent: u64,
    /// Sessions that are open now.
    pub open: u64,
    /// Sessions that were opened, by the environment that answered.
    pub sessions: BTreeMap<String, u64>,
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

    /// What was seen of one kind of client, by its label; zeros if there was none.
    #[must_use]
    pub fn of(&self, client: &str) -> ClientCount {
        self.by_client.get(client).cloned().unwrap_or_default()
    }

    /// How often servers asked to leave, by the 100 ms since the load's start in which they did: key 3 is from 300 ms to
    /// 399 ms.
    #[must_use]
    pub fn waves_by_100_ms(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for asked in &self.waves {
            *counts.entry(asked.at_ms / 100).or_default() += 1;
        }
        counts
    }

    /// The most askings to leave within any `window` of time, wherever it begins.
    #[must_use]
    pub fn most_asked_within(&self, window: Duration) -> usize {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let mut first = 0;
        let mut most = 0;
        for (last, asked) in self.waves.iter().enumerate() {
            while asked.at_ms - self.waves[first].at_ms >= window_ms.max(1) {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }

    /// How many whole answers this environment sent.
    #[must_use]
    pub fn answered_by(&self, environment: &str) -> u64 {
        self.by_environment.get(environment).copied().unwrap_or(0)
    }
}

/// A line of totals, one for who was asked to leave, if anybody was, and one for each class of failure with its first
/// example.
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
        if !self.waves.is_empty() {
            let most = self.most_asked_within(Duration::from_millis(100));
            write!(f, "\n  {} asked to leave, at most {most} within 100 ms", self.waves.len())?;
        }
        for (class, failures) in &self.failures {
            write!(f, "\n  {} {}", failures.count, class.label())?;
            if let Some(first) = failures.examples.first() {
                write!(f, ", the first after {} ms ({}): {}", first.at_ms, first.client, first.text)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn askings_are_counted_by_their_100_ms_and_within_any_window() {
        let waves = [0, 40, 99, 100, 130, 300].map(|at_ms| Asked { at_ms, client: "web_socket" }).to_vec();
        let report = Report { waves, ..Report::default() };
        assert_eq!(report.waves_by_100_ms(), BTreeMap::from([(0, 3), (1, 2), (3, 1)]));
        let check = |window_ms, expected| {
            assert_eq!(
                report.most_asked_within(Duration::from_millis(window_ms)),
                expected,
                "{window_ms} ms"
            );
        };
        check(1, 1);
        check(40, 3);
        check(100, 4);
        check(1000, 6);
        assert_eq!(Report::default().most_asked_within(Duration::from_secs(1)), 0);
    }
}
