//! The first gate: every new instance becomes healthy, and none of them ends.

use std::time::Duration;

use cutover_core::health::HealthTracker;
use cutover_core::release::Release;
use cutover_core::service::Instance;
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
) -> Result<String, PortError> {
    let mut waits = JoinSet::new();
    for instance in instances {
        let (ports, release, instance) = (ports.clone(), release.clone(), instance.clone());
        waits.spawn(async move { one(&ports, &release, &instance).await });
    }
    // Dropped on the first error, the set ends the other waits.
    while let Some(joined) = waits.join_next().await {
        joined.unwrap_or_else(|error| Err(PortError::new(format!("a health check ended early: {error}"))))?;
    }
    // One may have ended while another was still waited for.
    for instance in instances {
        not_ended(ports, instance).await?;
    }
    let (count, rise) = (instances.len(), release.configuration.health.rise.max(1));
    let checks = if rise == 1 { "check" } else { "checks" };
    Ok(format!("{count} of {count}, {rise} {checks} each"))
}

async fn one(ports: &Ports, release: &Release, instance: &Instance) -> Result<(), PortError> {
    let (policy, limit) = (&release.configuration.health, release.configuration.health_deadline);
    let mut tracker = HealthTracker::new(policy.rise, policy.fall, false);
    let began = Instant::now();
    let mut last_reason;
    loop {
        let asked = Instant::now();
        match ports.check_health(instance, policy).await {
            Ok(()) => {
                let _ = tracker.record(true);
                last_reason = "it answered well, but not often enough in a row".to_owned();
            }
            Err(reason) => {
                let _ = tracker.record(false);
                last_reason = reason;
            }
        }
        not_ended(ports, instance).await?;
        // Only now: one that ended between two checks and was started again has not become healthy.
        if tracker.is_healthy() {
            return Ok(());
        }
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
