//! `[health]`: how instances are judged, and how long a new one may take to become healthy.

use std::time::Duration;

use cutover_core::health::HealthPolicy;

use super::error::ConfigError;
use super::raw::RawHealth;
use super::source::Source;
use super::value;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DEADLINE: Duration = Duration::from_secs(300);
/// Shorter intervals would keep the proxy busy with probes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// The policy and the deadline.
pub(super) fn resolve(source: &Source, raw: &RawHealth) -> Result<(HealthPolicy, Duration), ConfigError> {
    let HealthPolicy { path, interval, timeout, rise, fall } = HealthPolicy::default();
    let duration = |key, typed, default, bounds| value::duration(source, key, typed, default, bounds);
    let policy = HealthPolicy {
        path: value::request_path(source, raw.path.as_ref(), &path, true)?,
        interval: duration("interval", raw.interval.as_ref(), interval, SHORTEST_INTERVAL..=HOUR)?,
        timeout: duration("timeout", raw.timeout.as_ref(), timeout, SHORTEST_TIMEOUT..=10 * MINUTE)?,
        rise: value::whole(source, "rise", raw.rise.as_ref(), rise, 1..=1000)?,
        fall: value::whole(source, "fall", raw.fall.as_ref(), fall, 1..=1000)?,
    };
    let deadline = duration("deadline", raw.deadline.as_ref(), DEADLINE, SHORTEST_INTERVAL..=24 * HOUR)?;
    // The first check is at once, so `rise` checks take one interval less.
    if policy.interval * (policy.rise - 1) >= deadline {
        return Err(unreachable(source, raw, &policy, deadline));
    }
    Ok((policy, deadline))
}

/// A deadline that no instance can meet.
fn unreachable(source: &Source, raw: &RawHealth, policy: &HealthPolicy, deadline: Duration) -> ConfigError {
    let spans = [
        raw.deadline.as_ref().map(toml::Spanned::span),
        raw.interval.as_ref().map(toml::Spanned::span),
        raw.rise.as_ref().map(toml::Spanned::span),
    ];
    let span = spans.into_iter().flatten().next().unwrap_or_default();
    let (interval, deadline) =
        (humantime::format_duration(policy.interval), humantime::format_duration(deadline));
    let message = format!(
        "no instance can be healthy in time: `rise` asks for {} checks, one each `{interval}`, and `deadline` is `{deadline}`",
        policy.rise
    );
    source.error(&span, message).with_hint("lengthen `deadline`, or lower `interval` or `rise`")
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    #[test]
    fn a_deadline_that_nothing_can_meet_is_refused() {
        let error = Fixture::service().error_of_line_3("health.rise = 3\nhealth.interval = \"5m\"");
        assert_eq!(
            error,
            "cutover.toml:4: no instance can be healthy in time: `rise` asks for 3 checks, one each `5m`, and `deadline` is `5m`\n  lengthen `deadline`, or lower `interval` or `rise`"
        );
    }
}
