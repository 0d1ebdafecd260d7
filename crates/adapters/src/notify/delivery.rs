//! Empties the outbox of one receiver, in order, again and again where it fails.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cutover_core::Timestamp;

use super::mailbox::Mailbox;
use super::receiver::{self, Receiver};

/// Between the first two tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A receiver that is down for long is asked this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// News that are older than this are given up after one more try: nobody is helped by them any more.
const PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// Sends until nothing waits, the settings have no such receiver any more, or another controller has taken over.
pub(super) async fn empty(mailbox: Arc<Mailbox>, receiver: Receiver) {
    let mut failures: u32 = 0;
    loop {
        if mailbox.mandate.holds().is_err() {
            mailbox.stopped(receiver);
            return;
        }
        let Some((number, message)) = mailbox.first(receiver).await else { return };
        // Those of now: an address that was mended holds for what waits, too.
        let settings = mailbox.settings().filter(|settings| receiver.is_set(settings));
        let Some(settings) = settings else {
            mailbox.drop_message(receiver, number).await;
            continue;
        };
        let sent = receiver::send(receiver, &settings, &message.id, &message.event, &message.body).await;
        let Err(reason) = sent else {
            failures = 0;
            mailbox.arrived(receiver, number).await;
            continue;
        };
        let given_up = now().since(message.at) > PATIENCE;
        tracing::warn!(receiver = receiver.label(), id = message.id, reason, given_up, "news did not arrive");
        mailbox.failed(receiver, &message, reason, given_up);
        if given_up {
            mailbox.drop_message(receiver, number).await;
        }
        let changed = mailbox.changed.notified();
        if tokio::time::timeout(pause(failures, jitter()), changed).await.is_ok() {
            failures = 0;
        } else {
            failures = failures.saturating_add(1);
        }
    }
}

/// The pause after so many failures in a row: at random between half of it and the whole, so that the services of a
/// host do not all ask at once.
fn pause(failures: u32, jitter: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + jitter / 2.0)
}

/// From 0 to 1.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0);
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_never_the_same_for_all() {
        assert_eq!(pause(0, 1.0), Duration::from_secs(1));
        assert_eq!(pause(0, 0.0), Duration::from_millis(500));
        assert_eq!(pause(3, 1.0), Duration::from_secs(8));
        assert_eq!(pause(u32::MAX, 1.0), LONGEST_PAUSE);
        assert!((0.0..=1.0).contains(&jitter()));
    }
}
