//! When an instance counts as healthy: the same rule for the proxy's rotation and the controller's gates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::routing::Upstream;

/// How an instance is asked for its health over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthPolicy {
    /// The path that is requested; any 2xx or 3xx answer is healthy.
    pub path: String,
    /// From the start of one check to the start of the next.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// A check without a complete answer head after this time has failed.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Passed checks in a row that make an instance healthy.
    pub rise: u32,
    /// Failed checks in a row that make a healthy instance unhealthy.
    pub fall: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            rise: 2,
            fall: 3,
        }
    }
}

/// How one release's instances are asked: by a policy, in what they speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// When an answer counts, and how often it is asked for.
    pub policy: HealthPolicy,
    /// What the instances speak.
    pub upstream: Upstream,
}

/// Whether a status code answers a health check well (2xx and 3xx, as load balancers of this field have it).
#[must_use]
pub fn is_healthy_status(status: u16) -> bool {
    (200..400).contains(&status)
}

/// Counts checks in a row and says when the conclusion changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthTracker {
    rise: u32,
    fall: u32,
    healthy: bool,
    against: u32,
}

impl HealthTracker {
    /// A tracker that starts from a conclusion: `true` for an instance that passed its gates already.
    #[must_use]
    pub fn new(rise: u32, fall: u32, healthy: bool) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), healthy, against: 0 }
    }

    /// The present conclusion.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Checks in a row that spoke against the present conclusion.
    #[must_use]
    pub fn against(&self) -> u32 {
        self.against
    }

    /// Counts one check; `Some(conclusion)` if that changed it.
    #[must_use]
    pub fn record(&mut self, passed: bool) -> Option<bool> {
        if passed == self.healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.healthy { self.fall } else { self.rise };
        if self.against < needed {
            return None;
        }
        self.healthy = passed;
        self.against = 0;
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_rises_and_falls_only_after_enough_checks_in_a_row() {
        let mut tracker = HealthTracker::new(2, 3, false);
        let checks = [true, false, true, true, false, false, true, false, false, false];
        let changes: Vec<_> = checks.into_iter().map(|passed| tracker.record(passed)).collect();
        let mut expected = vec![None; 10];
        expected[3] = Some(true);
        expected[9] = Some(false);
        assert_eq!(changes, expected);
    }
}
