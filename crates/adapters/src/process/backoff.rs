//! How long to wait before an ended program is started again: so that a program that ends at once costs the host
//! little, and one that was killed once is back soon.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// A program that lived this long was started well; its next end starts from the first wait again.
const GOOD_LIFE: Duration = Duration::from_secs(30);

/// Doubles the wait from 0.2 s to 10 s for a program that ends soon.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait after a life of this length.
    pub(super) fn after(&mut self, life: Duration) -> Duration {
        if life >= GOOD_LIFE {
            self.next = FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds_and_start_over_after_a_good_life() {
        let mut backoff = Backoff::new();
        let mut waits: Vec<u128> = (0..8).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        waits.push(backoff.after(Duration::from_secs(30)).as_millis());
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 200]);
    }
}
