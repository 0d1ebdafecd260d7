//! What clients met, over all rounds.

use std::collections::BTreeMap;

use cutover_load::{FailureClass, FailureCount, Report};
use serde::Serialize;

/// Examples kept of each class of failure.
const EXAMPLES: usize = 3;

/// The sums of several loads.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// Requests and sessions that have ended.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those that would have been stale if the old environment had answered them.
    pub judged: u64,
    /// Failures by class.
    pub failures: BTreeMap<FailureClass, FailureCount>,
    /// The same by kind of client.
    pub by_kind: BTreeMap<&'static str, KindCount>,
}

/// What one kind of client met.
#[derive(Debug, Default, Serialize)]
pub struct KindCount {
    /// Requests and sessions that have ended.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How often they were asked to leave in the words of their protocol, which is no failure.
    pub asked_to_leave: u64,
}

impl Counts {
    /// Whether there were requests and none of them failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.requests > 0 && self.failed == 0
    }

    /// How many were answered by the old environment although they began after a switch had been answered.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.failures.get(&FailureClass::Stale).map_or(0, |failures| failures.count)
    }

    /// How often somebody was asked to leave.
    #[must_use]
    pub fn asked_to_leave(&self) -> u64 {
        self.by_kind.values().map(|kind| kind.asked_to_leave).sum()
    }

    pub(super) fn add(&mut self, report: Report) {
        self.requests += report.requests;
        self.failed += report.failed;
        self.judged += report.judged;
        for (class, more) in report.failures {
            let failures = self.failures.entry(class).or_default();
            failures.count += more.count;
            let room = EXAMPLES.saturating_sub(failures.examples.len());
            failures.examples.extend(more.examples.into_iter().take(room));
        }
        for (label, more) in report.by_client {
            let kind = self.by_kind.entry(label).or_default();
            kind.requests += more.requests;
            kind.failed += more.failed;
            kind.asked_to_leave += more.asked_to_leave;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cutover_load::ClientCount;

    #[test]
    fn rounds_add_up_by_class_and_by_kind() {
        let round = |count, asked_to_leave| Report {
            requests: 10,
            failed: count,
            failures: BTreeMap::from([(FailureClass::Stale, FailureCount { count, examples: Vec::new() })]),
            by_client: BTreeMap::from([(
                "web_socket",
                ClientCount { requests: 10, failed: count, asked_to_leave, ..ClientCount::default() },
            )]),
            ..Report::default()
        };
        let mut counts = Counts::default();
        assert!(!counts.is_clean(), "nothing was asked");
        counts.add(round(0, 3));
        assert!(counts.is_clean());
        counts.add(round(2, 4));
        assert!(!counts.is_clean());
        assert_eq!((counts.requests, counts.failed, counts.stale(), counts.asked_to_leave()), (20, 2, 2, 7));
        assert_eq!(counts.by_kind["web_socket"].requests, 20);
    }
}
