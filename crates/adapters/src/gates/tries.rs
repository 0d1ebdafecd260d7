//! Beginning again what did not pass, within its time.

use std::time::Duration;

use cutover_core::gates::{Check, Verdict};
use tokio::time::{Instant, sleep_until};

/// Before the second try; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No gate has longer, whatever a release says: a clock has no moment that is much later.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The end of a time that begins now.
pub(super) fn deadline_in(time: Duration) -> Instant {
    Instant::now() + time.min(LONGEST)
}

/// Whether several checks are a pass together.
pub(super) fn have_passed(checks: &[Check]) -> bool {
    Verdict::of_all(checks.iter().map(|check| check.verdict)) == Verdict::Pass
}

/// Tries until something passes, at most so often again, and not beyond the deadline. The last try counts.
#[derive(Debug)]
pub(super) struct Tries {
    deadline: Instant,
    retries: u32,
    tried: u32,
    pause: Duration,
}

impl Tries {
    pub(super) fn new(deadline: Instant, retries: u32) -> Self {
        Self { deadline, retries, tried: 0, pause: FIRST_PAUSE }
    }

    /// Takes what a try has found. Gives it back if it is the last one, else returns when it is time for the next.
    pub(super) async fn settle(&mut self, mut found: Vec<Check>) -> Option<Vec<Check>> {
        self.tried += 1;
        let passed = have_passed(&found);
        let next = Instant::now() + self.pause;
        if passed || self.tried > self.retries || next >= self.deadline {
            if !passed && self.tried > 1 {
                for check in found.iter_mut().filter(|check| check.verdict != Verdict::Pass) {
                    check.reason = format!("{} (tried {} times)", check.reason, self.tried);
                }
            }
            return Some(found);
        }
        sleep_until(next).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn try_it(retries: u32, time: u64, passes_at: u32) -> (u32, Verdict, String) {
        let mut count = 0;
        let mut tries = Tries::new(Instant::now() + Duration::from_secs(time), retries);
        let checks = loop {
            count += 1;
            let verdict = if count == passes_at { Verdict::Pass } else { Verdict::Fail };
            let found = vec![Check { reason: "it is so".to_owned(), ..Check::new("a", "a", verdict) }];
            if let Some(last) = tries.settle(found).await {
                break last;
            }
        };
        (count, checks[0].verdict, checks[0].reason.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_passes_and_no_more_often_than_was_asked_for() {
        assert_eq!(try_it(5, 60, 3).await, (3, Verdict::Pass, "it is so".to_owned()));
        assert_eq!(try_it(0, 60, 2).await, (1, Verdict::Fail, "it is so".to_owned()));
        assert_eq!(try_it(2, 60, 9).await, (3, Verdict::Fail, "it is so (tried 3 times)".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_begins_after_its_time() {
        // After 0, 0.25, 0.75, 1.75 and 3.75 seconds.
        assert_eq!(try_it(u32::MAX, 7, u32::MAX).await.0, 5);
    }
}
