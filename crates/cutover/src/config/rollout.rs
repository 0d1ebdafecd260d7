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

const APPROVAL: Duration = DAY;

pub(super) fn resolve(source: &Source, raw: &RawRollout) -> Result<RolloutPolicy, ConfigError> {
    let duration =
        |key, typed, default, most| value::duration(source, key, typed, default, Duration::ZERO..=most);
    Ok(RolloutPolicy {
        bake: duration("bake", raw.bake.as_ref(), BAKE, 7 * DAY)?,
        standby: duration("standby", raw.standby.as_ref(), STANDBY, 365 * DAY)?,
        auto_rollback: raw.auto_rollback.unwrap_or(true),
        hold: approval(source, raw)?,
        hold_requests: None,
    })
}

/// How long a person has to say yes, if one is asked.
fn approval(source: &Source, raw: &RawRollout) -> Result<Option<Duration>, ConfigError> {
    let Some(typed) = &raw.approval else {
        return match &raw.approval_timeout {
            None => Ok(None),
            Some(timeout) => Err(source
                .error(&timeout.span(), "`approval_timeout` is given, but nobody is asked for an approval")
                .with_hint("add `approval = \"before_shift\"`, or take it out")),
        };
    };
    if typed.get_ref() != "before_shift" {
        return Err(source
            .error(&typed.span(), format!("`approval` cannot be `{}`", typed.get_ref()))
            .with_hint("`before_shift` waits for `cutover promote` before traffic is switched; without the line nobody is asked"));
    }
    let bounds = Duration::from_secs(1)..=7 * DAY;
    value::duration(source, "approval_timeout", raw.approval_timeout.as_ref(), APPROVAL, bounds).map(Some)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::fixture::Fixture;

    fn hold(lines: &str) -> Option<Duration> {
        let text = format!("name = \"shop\"\ncommand = \"./shop\"\n[rollout]\n{lines}");
        Fixture::service().resolve(&text).unwrap().spec.rollout.hold
    }

    #[test]
    fn a_person_is_asked_for_a_day_unless_another_time_is_said() {
        assert_eq!(hold(""), None);
        assert_eq!(hold("approval = \"before_shift\""), Some(Duration::from_secs(24 * 60 * 60)));
        assert_eq!(
            hold("approval = \"before_shift\"\napproval_timeout = \"1h\""),
            Some(Duration::from_secs(3600))
        );
    }

    #[test]
    fn an_approval_that_nobody_could_give_is_refused() {
        let check = |lines: &str, expected: &str| {
            assert_eq!(
                Fixture::service().error_of_line_3(&format!("[rollout]\n{lines}")),
                expected,
                "{lines}"
            );
        };
        check(
            "approval = \"after_shift\"",
            "cutover.toml:4: `approval` cannot be `after_shift`\n  `before_shift` waits for `cutover promote` before traffic is switched; without the line nobody is asked",
        );
        check(
            "approval_timeout = \"1h\"",
            "cutover.toml:4: `approval_timeout` is given, but nobody is asked for an approval\n  add `approval = \"before_shift\"`, or take it out",
        );
        check(
            "approval = \"before_shift\"\napproval_timeout = \"0s\"",
            "cutover.toml:5: `approval_timeout` must be at least `1s`, not `0s`",
        );
    }
}
