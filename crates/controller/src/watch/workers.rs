//! Watches workers, which answer no requests: one that keeps ending is not well, whatever it is started for.

use std::collections::VecDeque;
use std::time::Duration;

use cutover_core::service::{Event, Health, WatchedWorkers};
use cutover_core::{InstanceId, Timestamp};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::ports::{Exit, Ports};

/// How often it is looked whether one has ended.
const INTERVAL: Duration = Duration::from_millis(500);
/// One that was started again so often within [`WINDOW`] keeps ending: its third life is over or at stake.
const RESTARTS: usize = 2;
/// Who has run for so long without being started again runs.
const WINDOW: Duration = Duration::from_secs(120);

/// The watch of one service's workers; it ends when it is dropped.
pub(super) struct Watch {
    watched: WatchedWorkers,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    pub(super) fn begin(watched: WatchedWorkers, ports: Ports, events: mpsc::UnboundedSender<Event>) -> Self {
        let task = tokio::spawn(follow(watched.clone(), ports, events)).abort_handle();
        Self { watched, task }
    }

    pub(super) fn watched(&self) -> &WatchedWorkers {
        &self.watched
    }
}

async fn follow(watched: WatchedWorkers, ports: Ports, events: mpsc::UnboundedSender<Event>) {
    let WatchedWorkers { environment, workers } = watched;
    let mut lives: Vec<Lives> = workers.iter().map(|_| Lives::default()).collect();
    let mut told = None;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (mut health, mut mark) = (Health::Healthy, 0);
        for (id, lives) in workers.iter().zip(&mut lives) {
            let exit = ports.executor.last_exit(id).await;
            lives.note(exit.as_ref(), ports.clock.now(), Instant::now());
            if let Some(exit) = exit.filter(|_| lives.keep_ending() && mark == 0) {
                // A loop is news when it begins and when it has become twice as long; that is few records.
                mark = exit.restarts.next_power_of_two();
                health = explained(id, exit);
            }
        }
        // What may be a loop is said to be neither: what was recorded last stays.
        if mark == 0 && lives.iter().any(|lives| lives.may_keep_ending(Instant::now())) {
            continue;
        }
        if told.replace(mark) == Some(mark) {
            continue;
        }
        let event = Event::WorkersChanged { environment, workers: workers.clone(), health };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// When a worker was started again, as far as that counts.
#[derive(Debug, Default)]
struct Lives {
    /// How often it had been started again when it was last looked at.
    known: Option<u32>,
    restarts: VecDeque<Instant>,
    /// Until when one more tells a loop from two ends that lie far apart.
    open_until: Option<Instant>,
}

impl Lives {
    fn note(&mut self, exit: Option<&Exit>, at: Timestamp, now: Instant) {
        let count = exit.map_or(0, |exit| exit.restarts);
        let recent = exit.is_some_and(|exit| at.since(exit.at) < WINDOW);
        // At the first look nobody has counted, and only of the last end it is told when that was.
        if self.known.is_none() && recent && count as usize >= RESTARTS {
            self.open_until = Some(now + WINDOW);
        }
        let known = self.known.replace(count).unwrap_or(count.saturating_sub(u32::from(recent)));
        for _ in 0..(count.saturating_sub(known) as usize).min(RESTARTS) {
            self.restarts.push_back(now);
        }
        while self.restarts.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            self.restarts.pop_front();
        }
    }

    fn keep_ending(&self) -> bool {
        self.restarts.len() >= RESTARTS
    }

    fn may_keep_ending(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }
}

fn explained(id: &InstanceId, exit: Exit) -> Health {
    let reason =
        format!("worker `{id}` keeps ending ({}) and was started again {} times", exit.how, exit.restarts);
    Health::Unhealthy { reason, last_lines: exit.last_lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(restarts: u32, at: u64) -> Exit {
        let at = Timestamp::from_millis(at * 1000);
        Exit { how: "exit status 1".to_owned(), at, last_lines: Vec::new(), restarts }
    }

    #[test]
    fn a_worker_keeps_ending_when_it_was_started_again_twice_within_a_short_time() {
        let (began, mut lives) = (Instant::now(), Lives::default());
        let mut look = |exit: Option<Exit>, second: u64| {
            let at = Timestamp::from_millis(second * 1000);
            lives.note(exit.as_ref(), at, began + Duration::from_secs(second));
            lives.keep_ending()
        };
        assert!(!look(None, 1_000));
        assert!(!look(Some(exit(1, 1_001)), 1_002));
        assert!(look(Some(exit(2, 1_100)), 1_101));
        assert!(!look(Some(exit(2, 1_100)), 1_130), "the first of them is long ago");
        assert!(!look(Some(exit(3, 1_300)), 1_300));
    }

    #[test]
    fn a_controller_that_starts_tells_a_loop_that_goes_on_from_ends_that_lie_far_apart() {
        let began = Instant::now();
        let look = |lives: &mut Lives, ended: Exit, second: u64| {
            let now = began + Duration::from_secs(second);
            lives.note(Some(&ended), Timestamp::from_millis(second * 1000), now);
            (lives.keep_ending(), lives.may_keep_ending(now))
        };
        let mut goes_on = Lives::default();
        assert_eq!(
            look(&mut goes_on, exit(7, 1_000), 1_010),
            (false, true),
            "the six before may be a year ago"
        );
        assert!(look(&mut goes_on, exit(8, 1_050), 1_051).0);
        let mut apart = Lives::default();
        assert_eq!(look(&mut apart, exit(2, 1_000), 1_010), (false, true));
        assert_eq!(look(&mut apart, exit(2, 1_000), 1_131), (false, false));
        let mut over = Lives::default();
        assert_eq!(look(&mut over, exit(7, 1_000), 2_000), (false, false));
    }
}
