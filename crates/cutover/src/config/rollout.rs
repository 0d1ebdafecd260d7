//! `[rollout]`: how a deployment goes on after its gates.

use std::time::Duration;

use cutover_core::release::RolloutPolicy;

use super::error::ConfigError;
use super::raw::RawRollout;
use super::source::Source;
use super::value;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BAKE: Duration = Duration::from_secs(10 * 60);
const STANDBY: Duration = Duration::from_secs(60 * 60);

pub(super) fn resolve(source: &Source, raw: &RawRollout) -> Result<RolloutPolicy, ConfigError> {
    let duration =
        |key, typed, default, most| value::duration(source, key, typed, default, Duration::ZERO..=most);
    Ok(RolloutPolicy {
        bake: duration("bake", raw.bake.as_ref(), BAKE, 7 * DAY)?,
        standby: duration("standby", raw.standby.as_ref(), STANDBY, 365 * DAY)?,
        auto_rollback: raw.auto_rollback.unwrap_or(true),
        hold: None,
    })
}
