//! The first gate: every new instance becomes healthy, and none of them ends.

use std::net::SocketAddr;
use std::time::Duration;

use cutover_core::health::HealthTracker;
use cutover_core::release::Release;
use cutover_core::service::Instance;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ports::{PortError, Ports};

/// While an instance has never answered well it is asked at least this often, whatever the interval: it is
/// starting, and every moment counts.
const STARTING_INTERVAL: Duration = Duration::from_millis(100);
/// An instance that has not answered well for so long is asked where it listens instead, and then again.
const WRONG_PORT_AFTER: Duration = Duration::from_secs(2);
/// Lines shown of an instance that did not become healthy.
const LAST_LINES: usize = 20;

/// How instances of a release prove themselves.
#[derive(Clone, Copy)]
pub(super) struct AwaitHealthy<'a> {
    pub(super) ports: &'a Ports,
    pub(super) release: &'a Release,
    /// They have served before, and one may have ended and been started again since.
    pub(super) again: bool,
}

impl AwaitHealthy<'_> {
    /// Waits until every instance has passed its checks; one line about it.
    ///
    /// # Errors
    /// The first instance that ended, or was not healthy in time.
    pub(super) async fn pass(
        &self,
        instances: &[Instance],
        waiting_for: &mpsc::UnboundedSender<String>,
    ) -> Result<String, PortError> {
        let mut waits = JoinSet::new();
        for instance in instances {
            let (ports, release, instance) = (self.ports.clone(), self.release.clone(), instance.clone());
            let (waiting_for, again) = (waiting_for.clone(), self.again);
            waits.spawn(async move {
                let gate = AwaitHealthy { ports: &ports, release: &release, again };
                gate.one(&instance, &waiting_for).await
            });
        }
        // Dropped on the first error, the set ends the other waits.
        while let Some(joined) = waits.join_next().await {
            joined.unwrap_or_else(|error| {
                Err(PortError::new(format!("a health check ended early: {error}")))
            })?;
        }
        // One may have ended between two checks, or while another was still waited for, and run again since.
        for instance in instances {
            self.not_ended(instance).await?;
        }
        let (count, rise) = (instances.len(), self.release.configuration.health.rise.max(1));
        let checks = if rise == 1 { "check" } else { "checks" };
        Ok(format!("{count} of {count}, {rise} {checks} each"))
    }

    async fn one(
        &self,
        instance: &Instance,
        waiting_for: &mpsc::UnboundedSender<String>,
    ) -> Result<(), PortError> {
        let configuration = &self.release.configuration;
        let (check, limit) = (configuration.health_check(), configuration.health_deadline);
        let policy = &check.policy;
        let mut tracker = HealthTracker::new(policy.rise, policy.fall, false);
        let began = Instant::now();
        let mut last_reason;
        let mut told = String::new();
        let (mut elsewhere, mut look_at) = (None, began + WRONG_PORT_AFTER.min(limit / 2));
        loop {
            let asked = Instant::now();
            let left = (began + limit).saturating_duration_since(asked).max(STARTING_INTERVAL);
            let checked = tokio::time::timeout(left, self.ports.check_health(instance, &check)).await;
            match checked.unwrap_or_else(|_| Err("its last check had no answer".to_owned())) {
                Ok(()) => {
                    if tracker.record(true) == Some(true) {
                        return Ok(());
                    }
                    // What answers is where it should be.
                    elsewhere = None;
                    last_reason = "it answered well, but not often enough in a row".to_owned();
                }
                Err(reason) => {
                    let _ = tracker.record(false);
                    last_reason = reason;
                }
            }
            if Instant::now() >= look_at {
                elsewhere = self.elsewhere(instance).await;
                look_at = Instant::now() + WRONG_PORT_AFTER;
            }
            if let Some(elsewhere) = &elsewhere {
                last_reason = format!("{last_reason}: {elsewhere}");
            }
            if last_reason != told {
                told.clone_from(&last_reason);
                // Whoever followed may be gone.
                let _ = waiting_for.send(format!("instance `{}`: {last_reason}", instance.id));
            }
            self.not_ended(instance).await?;
            if began.elapsed() >= limit {
                let limit = humantime::format_duration(limit);
                let reason =
                    format!("instance `{}` was not healthy within {limit}: {last_reason}", instance.id);
                let last_lines = self.ports.executor.last_lines(&instance.id, LAST_LINES).await;
                return Err(PortError { reason, last_lines });
            }
            let passing = tracker.against() > 0;
            let interval = if passing { policy.interval } else { policy.interval.min(STARTING_INTERVAL) };
            tokio::time::sleep_until((asked + interval).min(began + limit)).await;
        }
    }

    /// What is wrong with where the program listens, if that is wrong.
    async fn elsewhere(&self, instance: &Instance) -> Option<String> {
        let listening = self.ports.executor.listening(&instance.id).await?;
        misplaced(instance.address, &listening)
    }

    async fn not_ended(&self, instance: &Instance) -> Result<(), PortError> {
        if self.again {
            return Ok(());
        }
        let Some(exit) = self.ports.executor.last_exit(&instance.id).await else { return Ok(()) };
        let reason = format!("instance `{}` ended by itself: {}", instance.id, exit.how);
        Err(PortError { reason, last_lines: exit.last_lines })
    }
}

/// One clause about a program that runs and cannot be reached at its address; `None` if it can.
fn misplaced(wanted: SocketAddr, listening: &[SocketAddr]) -> Option<String> {
    let reaches =
        |it: &SocketAddr| it.port() == wanted.port() && (it.ip() == wanted.ip() || it.ip().is_unspecified());
    if listening.iter().any(reaches) {
        return None;
    }
    let (ip, port) = (wanted.ip(), wanted.port());
    if listening.is_empty() {
        return Some(format!("the program runs, but does not listen on {ip}:$PORT ({port})"));
    }
    let found: Vec<String> = listening.iter().map(SocketAddr::to_string).collect();
    let found = found.join(", ");
    Some(format!("the program runs, but listens on {found}; it has to listen on {ip}:$PORT ({port})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listening: &[&str], expected: Option<&str>) {
        let listening: Vec<SocketAddr> = listening.iter().map(|it| it.parse().unwrap()).collect();
        let found = misplaced("127.0.0.1:23128".parse().unwrap(), &listening);
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_program_that_listens_elsewhere_or_nowhere_is_told_where_it_has_to() {
        check(&["0.0.0.0:23128"], None);
        check(&["[::]:23128"], None);
        check(&["127.0.0.1:9", "127.0.0.1:23128"], None);
        check(&[], Some("the program runs, but does not listen on 127.0.0.1:$PORT (23128)"));
        let expected =
            "the program runs, but listens on 127.0.0.1:23999; it has to listen on 127.0.0.1:$PORT (23128)";
        check(&["127.0.0.1:23999"], Some(expected));
    }
}
