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
}

impl Lives {
    fn note(&mut self, exit: Option<&Exit>, at: Timestamp, now: Instant) {
        let count = exit.map_or(0, |exit| exit.restarts);
        let recent = exit.is_some_and(|exit| at.since(exit.at) < WINDOW);
        // At the first look nobody has counted: what ended just now, and not for the first time, counts.
        let known = self.known.replace(count).unwrap_or(if recent { 0 } else { count });
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
    fn a_controller_that_starts_sees_a_loop_that_goes_on_and_forgets_one_that_is_over() {
        let look = |second: u64| {
            let mut lives = Lives::default();
            lives.note(Some(&exit(7, 1_000)), Timestamp::from_millis(second * 1000), Instant::now());
            lives.keep_ending()
        };
        assert!(look(1_010));
        assert!(!look(2_000));
    }
}
