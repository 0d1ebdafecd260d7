//! Turns of clients whose connections are older than a shift, to be told that their next request needs another one.
//!
//! Who they are, and how each is told, is the data plane's matter; moments are microseconds of its clock.

use std::time::Duration;

use crate::drain::Rate;
use crate::sync::{AtomicU64, Ordering};

/// Nobody has a turn any more.
const NEVER: u64 = u64::MAX;

/// The turns after one shift, for all its clients: each is due some time after the one before, and none is saved up.
#[derive(Debug)]
pub struct Renewal {
    gap_us: u64,
    until_us: u64,
    due_us: AtomicU64,
}

impl Renewal {
    /// Turns at this rate, from now on for so long.
    #[must_use]
    pub fn new(rate: Rate, limit: Duration, now_us: u64) -> Self {
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(NEVER);
        Self {
            gap_us: 1_000_000 / u64::from(rate.per_second()),
            until_us: now_us.saturating_add(limit_us),
            due_us: AtomicU64::new(now_us),
        }
    }

    /// Whether its time is over; then no clock need be asked.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.due_us.load(Ordering::Relaxed) == NEVER
    }

    /// Whether it is somebody's turn.
    #[must_use]
    pub fn is_due(&self, now_us: u64) -> bool {
        if now_us >= self.until_us {
            self.due_us.store(NEVER, Ordering::Relaxed);
        }
        now_us >= self.due_us.load(Ordering::Relaxed)
    }

    /// Notes that somebody had it; two who had the same put off the next for both.
    pub fn note(&self, now_us: u64) {
        let next = |due: u64| Some(due.max(now_us).saturating_add(self.gap_us));
        let _ = self.due_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn turns(rate: Rate) -> Renewal {
        Renewal::new(rate, Duration::from_secs(60), 1_000_000)
    }

    #[test]
    fn turns_are_apart_and_none_is_saved_up() {
        let turns = turns(Rate::new(50).unwrap());
        assert!(turns.is_due(1_000_000));
        turns.note(1_000_000);
        assert!(!turns.is_due(1_019_999) && turns.is_due(1_020_000));
        // Nobody came for a while.
        turns.note(30_000_000);
        assert!(!turns.is_due(30_019_999) && turns.is_due(30_020_000));
        // Two at once.
        turns.note(30_020_000);
        turns.note(30_020_000);
        assert!(!turns.is_due(30_059_999) && turns.is_due(30_060_000));
    }

    #[test]
    fn nobody_has_a_turn_after_the_end() {
        let turns = turns(Rate::new(1_000_000).unwrap());
        assert!(turns.is_due(60_999_999) && !turns.is_over());
        assert!(!turns.is_due(61_000_000) && turns.is_over());
        turns.note(61_000_000);
        assert!(turns.is_over() && !turns.is_due(u64::MAX - 1));
    }
}
