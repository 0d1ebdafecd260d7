//! The first gate: every new instance becomes healthy, and none of them ends.

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
/// Lines shown of an instance that did not become healthy.
const LAST_LINES: usize = 20;

/// Waits until every instance has passed its checks; one line about it.
///
/// # Errors
/// The first instance that ended, or was not healthy in time.
pub(super) async fn await_healthy(
    ports: &Ports,
    release: &Release,
    instances: &[Instance],
    waiting_for: &mpsc::UnboundedSender<String>,
) -> Result<String, PortError> {
    let mut waits = JoinSet::new();
    for instance in instances {
        let (ports, release, instance) = (ports.clone(), release.clone(), instance.clone());
        let waiting_for = waiting_for.clone();
        waits.spawn(async move { one(&ports, &release, &instance, &waiting_for).await });
    }
    // Dropped on the first error, the set ends the other waits.
    while let Some(joined) = waits.join_next().await {
        joined.unwrap_or_else(|error| Err(PortError::new(format!("a health check ended early: {error}"))))?;
    }
    // One may have ended between two checks, or while another was still waited for, and run again since.
    for instance in instances {
        not_ended(ports, instance).await?;
    }
    let (count, rise) = (instances.len(), release.configuration.health.rise.max(1));
    let checks = if rise == 1 { "check" } else { "checks" };
    Ok(format!("{count} of {count}, {rise} {checks} each"))
}

async fn one(
    ports: &Ports,
    release: &Release,
    instance: &Instance,
    waiting_for: &mpsc::UnboundedSender<String>,
) -> Result<(), PortError> {
    let (policy, limit) = (&release.configuration.health, release.configuration.health_deadline);
    let mut tracker = HealthTracker::new(policy.rise, policy.fall, false);
    let began = Instant::now();
    let mut last_reason;
    let mut told = String::new();
    loop {
        let asked = Instant::now();
        let left = (began + limit).saturating_duration_since(asked).max(STARTING_INTERVAL);
        let checked = tokio::time::timeout(left, ports.check_health(instance, policy)).await;
        match checked.unwrap_or_else(|_| Err("its last check had no answer".to_owned())) {
            Ok(()) => {
                if tracker.record(true) == Some(true) {
                    return Ok(());
                }
                last_reason = "it answered well, but not often enough in a row".to_owned();
            }
            Err(reason) => {
                let _ = tracker.record(false);
                last_reason = reason;
            }
        }
        if last_reason != told {
            told.clone_from(&last_reason);
            // Whoever followed may be gone.
            let _ = waiting_for.send(format!("instance `{}`: {last_reason}", instance.id));
        }
        not_ended(ports, instance).await?;
        if began.elapsed() >= limit {
            let limit = humantime::format_duration(limit);
            let reason = format!("instance `{}` was not healthy within {limit}: {last_reason}", instance.id);
            let last_lines = ports.executor.last_lines(&instance.id, LAST_LINES).await;
            return Err(PortError { reason, last_lines });
        }
        let passing = tracker.against() > 0;
        let interval = if passing { policy.interval } else { policy.interval.min(STARTING_INTERVAL) };
        tokio::time::sleep_until((asked + interval).min(began + limit)).await;
    }
}

async fn not_ended(ports: &Ports, instance: &Instance) -> Result<(), PortError> {
    let Some(exit) = ports.executor.last_exit(&instance.id).await else { return Ok(()) };
    let reason = format!("instance `{}` ended by itself: {}", instance.id, exit.how);
    Err(PortError { reason, last_lines: exit.last_lines })
}
