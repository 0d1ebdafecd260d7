//! The counters themselves, and where they are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::names::ServiceName;
use crate::preview::escaped;
use crate::statistics::histogram::AtomicHistogram;
use crate::statistics::report::{Counts, TagReport};

/// What stands behind the tag of a release where it is told of the requests that tokens led to it.
pub const PREVIEW_SUFFIX: &str = "+preview";

/// Tags of one environment that are kept although no table names them any more.
const FORMER_TAGS: usize = 8;

/// How a request failed on its way, as the data plane saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The instance refused the connection or could not be reached.
    Connect,
    /// The connection was not accepted in time.
    ConnectTimeout,
    /// The connection ended before the first byte of the answer.
    Reset,
    /// The first byte of the answer did not come in time.
    FirstByteTimeout,
    /// The answer could not be understood.
    Malformed,
    /// The answer ended in the middle, or stood still too long.
    Truncated,
    /// The client went away before the end; not the instance's fault.
    ClientGone,
}

impl Failure {
    /// Every kind, in the order of [`Failure::index`].
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::Reset,
        Self::FirstByteTimeout,
        Self::Malformed,
        Self::Truncated,
        Self::ClientGone,
    ];

    /// The word used in JSON and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::ClientGone => "client_gone",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Counts of one service, environment and tag.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    /// Answers by hundreds: 1xx to 5xx.
    statuses: [AtomicU64; 5],
    failures: [AtomicU64; Failure::ALL.len()],
    /// Sent again to another instance or on a fresh connection.
    retries: AtomicU64,
    /// Sent on to the other environment, because this one failed them before their answer began.
    replays: AtomicU64,
    /// From the request's head to the answer's head.
    first_byte: AtomicHistogram,
}

impl Counters {
    /// Counts an answer whose head came `latency` after the request's head.
    pub fn answered(&self, status: u16, latency: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let hundreds = usize::from(status / 100).clamp(1, self.statuses.len());
        self.statuses[hundreds - 1].fetch_add(1, Ordering::Relaxed);
        self.first_byte.record(latency);
    }

    /// Counts a request that got no answer from an instance.
    pub fn unanswered(&self, failure: Failure) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed(failure);
    }

    /// Counts a failure after the answer had begun.
    pub fn failed(&self, failure: Failure) {
        self.failures[failure.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is sent once more.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that goes on to the other environment.
    pub fn replayed(&self) {
        self.replays.fetch_add(1, Ordering::Relaxed);
    }

    /// What a shift is judged by, as it is now.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Marks {
            requests: load(&self.requests),
            errors: load(&self.statuses[4]),
            retries: load(&self.retries),
            replays: load(&self.replays),
            failures: std::array::from_fn(|index| load(&self.failures[index])),
        }
    }

    /// The counts as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: load(&self.requests),
            statuses: std::array::from_fn(|index| load(&self.statuses[index])),
            failures: Failure::ALL
                .into_iter()
                .map(|failure| (failure, load(&self.failures[failure.index()])))
                .filter(|(_, count)| *count > 0)
                .collect(),
            retries: load(&self.retries),
            replays: load(&self.replays),
            first_byte_us: self.first_byte.snapshot(),
        }
    }
}

/// Some of the counts, at one moment or between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) retries: u64,
    pub(crate) replays: u64,
    pub(crate) failures: [u64; Failure::ALL.len()],
}

impl Marks {
    /// What was counted since.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            errors: self.errors - earlier.errors,
            retries: self.retries - earlier.retries,
            replays: self.replays - earlier.replays,
            failures: std::array::from_fn(|index| self.failures[index] - earlier.failures[index]),
        }
    }
}

/// Counts of the requests that tokens led to a release: never among those of its users, by which it is judged.
///
/// Most releases have none, so room for them is made with the first.
#[derive(Debug)]
pub struct PrivateCounters {
    tag: String,
    counters: OnceLock<Counters>,
}

impl PrivateCounters {
    fn new(tag: &str) -> Self {
        Self { tag: escaped(tag).into_owned(), counters: OnceLock::new() }
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.counters.get_or_init(Counters::default)
    }

    /// The tag in letters that may stand in a header field.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }
}

/// Every counter of a data plane, kept while tables come and go.
#[derive(Debug, Default)]
pub struct Registry {
    /// Newest tag last.
    services: HashMap<ServiceName, Vec<Tagged<Counters>>>,
    /// The same of requests with a token.
    private: HashMap<ServiceName, Vec<Tagged<PrivateCounters>>>,
}

#[derive(Debug)]
struct Tagged<C> {
    environment: Environment,
    tag: String,
    counters: Arc<C>,
}

impl Registry {
    /// The counters of a service, environment and tag; the same ones whenever they are asked for again.
    pub fn counters(&mut self, service: &ServiceName, environment: Environment, tag: &str) -> Arc<Counters> {
        let list = self.services.entry(service.clone()).or_default();
        find_or_add(list, environment, tag, Counters::default)
    }

    /// The same for requests with a token.
    pub fn private(
        &mut self,
        service: &ServiceName,
        environment: Environment,
        tag: &str,
    ) -> Arc<PrivateCounters> {
        let list = self.private.entry(service.clone()).or_default();
        find_or_add(list, environment, tag, || PrivateCounters::new(tag))
    }

    /// Forgets a service that is not routed any more.
    pub fn forget(&mut self, service: &ServiceName) {
        self.services.remove(service);
        self.private.remove(service);
    }

    /// The counts of one service; those of requests with a token last, if there were any.
    #[must_use]
    pub fn report(&self, service: &ServiceName) -> Vec<TagReport> {
        let public = self.services.get(service).map(Vec::as_slice).unwrap_or_default();
        let private = self.private.get(service).map(Vec::as_slice).unwrap_or_default();
        let report = |tagged: &Tagged<Counters>| TagReport {
            environment: tagged.environment,
            tag: tagged.tag.clone(),
            counts: tagged.counters.snapshot(),
        };
        let report_apart = |tagged: &Tagged<PrivateCounters>| {
            Some(TagReport {
                environment: tagged.environment,
                tag: format!("{}{PREVIEW_SUFFIX}", tagged.tag),
                counts: tagged.counters.counters.get()?.snapshot(),
            })
        };
        public.iter().map(report).chain(private.iter().filter_map(report_apart)).collect()
    }
}

/// The counters of an environment and tag, which are the newest then; the oldest make room for new ones.
fn find_or_add<C>(
    list: &mut Vec<Tagged<C>>,
    environment: Environment,
    tag: &str,
    new: impl FnOnce() -> C,
) -> Arc<C> {
    let same = |tagged: &Tagged<C>| tagged.environment == environment && tagged.tag == tag;
    if let Some(index) = list.iter().position(same) {
        let tagged = list.remove(index);
        let counters = Arc::clone(&tagged.counters);
        list.push(tagged);
        return counters;
    }
    let of_environment = list.iter().filter(|tagged| tagged.environment == environment).count();
    if of_environment > FORMER_TAGS
        && let Some(oldest) = list.iter().position(|tagged| tagged.environment == environment)
    {
        list.remove(oldest);
    }
    let counters = Arc::new(new());
    list.push(Tagged { environment, tag: tag.to_owned(), counters: Arc::clone(&counters) });
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_a_new_table_and_old_tags_are_forgotten_in_the_end() {
        let mut registry = Registry::default();
        let shop: ServiceName = "shop".parse().unwrap();
        registry.counters(&shop, Environment::Blue, "v0").answered(200, Duration::ZERO);
        registry.counters(&shop, Environment::Blue, "v0").answered(503, Duration::ZERO);
        assert_eq!(registry.report(&shop)[0].counts.requests, 2);
        assert_eq!(registry.report(&shop)[0].counts.statuses, [0, 1, 0, 0, 1]);
        for version in 1..20 {
            let _ = registry.counters(&shop, Environment::Blue, &format!("v{version}"));
        }
        let tags: Vec<_> = registry.report(&shop).into_iter().map(|report| report.tag).collect();
        assert_eq!(tags.first().map(String::as_str), Some("v11"));
        assert_eq!(tags.last().map(String::as_str), Some("v19"));
    }
}
