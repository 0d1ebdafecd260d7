//! Where the controller's time comes from; handed in, so that a simulation can have its own.

use std::time::{Instant, SystemTime};

use cutover_core::Timestamp;

use crate::journal::{Journal, JournalError};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now. Never before an earlier answer.
    fn now(&self) -> Timestamp;

    /// How far the host's clock is ahead of [`Clock::now`], in milliseconds; negative if it is behind. People who
    /// compare what is recorded with other logs want to know.
    fn drift(&self) -> i64 {
        0
    }
}

/// The host's clock as it was when the controller started, and the time that has passed since.
///
/// The host's clock may be set at any moment, by an hour or by a year. Deadlines, bakes and standbys are moments, so
/// they would end at once or wait for ever. Therefore it is read once; from then on only time that has really passed
/// counts, in which a host that sleeps passes none: nothing was watched meanwhile either. A restart
/// reads the host's clock again, and does not go back behind what was recorded: what the clock
/// was set back by counts as drift until it has caught up. What it was set ahead by while no controller ran cannot
/// be told from time that has passed.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Timestamp,
    started: Instant,
}

impl SystemClock {
    /// Starts with the host's clock, or with `last` if that is later.
    #[must_use]
    pub fn start(last: Timestamp) -> Self {
        Self { start: host_clock().max(last), started: Instant::now() }
    }

    /// Starts with the host's clock, or with the moment of the newest record of the journal if that is later.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn start_after(journal: &dyn Journal) -> Result<Self, JournalError> {
        Ok(Self::start(journal.last_moment().await?.unwrap_or_default()))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.start + self.started.elapsed()
    }

    fn drift(&self) -> i64 {
        host_clock().as_millis().cast_signed() - self.now().as_millis().cast_signed()
    }
}

fn host_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_begins_with_the_hosts_clock_and_does_not_go_back_behind_what_was_recorded() {
        let clock = SystemClock::start(Timestamp::default());
        assert!(clock.now() >= clock.start && clock.drift().unsigned_abs() < HOUR.as_millis() as u64);
        let recorded = host_clock() + HOUR * 2;
        let later = SystemClock::start(recorded);
        assert!(later.now() >= recorded);
        assert!(later.drift() < -(HOUR.as_millis() as i64), "{}", later.drift());
    }
}
