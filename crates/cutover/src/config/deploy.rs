//! `[deploy]`: to which hosts, and what becomes of those that have switched if another one cannot. Which hosts there
//! are is read apart, by `config::deploy_hosts`, for all verbs.

use std::time::Duration;

use super::error::ConfigError;
use super::raw::RawDeploy;
use super::source::Source;
use super::{keys, value};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOLD: Duration = Duration::from_secs(10 * 60);

/// What becomes of hosts that have switched if another one cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnPartial {
    /// Ask on a terminal; elsewhere as `Keep`, because to move traffic once more is a decision of its own.
    #[default]
    Ask,
    /// They stay on the new release.
    Keep,
    /// They go back to the former one.
    Rollback,
}

impl OnPartial {
    const ALL: [(&'static str, Self); 3] =
        [("ask", Self::Ask), ("keep", Self::Keep), ("rollback", Self::Rollback)];
}

/// How a deployment to several hosts is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AcrossHosts {
    pub(crate) on_partial: OnPartial,
    /// How long a host that is ready waits for the others before it takes its deployment back.
    pub(crate) hold: Duration,
}

pub(super) fn resolve(source: &Source, raw: &RawDeploy) -> Result<AcrossHosts, ConfigError> {
    let on_partial = match &raw.on_partial {
        None => OnPartial::default(),
        Some(typed) => {
            let text = typed.get_ref().as_str();
            let found = OnPartial::ALL.into_iter().find(|(name, _)| *name == text);
            let near = keys::nearest(text, OnPartial::ALL.into_iter().map(|(name, _)| name));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "it is `ask`, `keep` or `rollback`".to_owned(),
            };
            found
                .ok_or_else(|| {
                    let message = format!("`{text}` is not what can become of hosts that have switched");
                    source.error(&typed.span(), message).with_hint(hint)
                })?
                .1
        }
    };
    let bounds = Duration::from_secs(10)..=DAY;
    Ok(AcrossHosts { on_partial, hold: value::duration(source, "hold", raw.hold.as_ref(), HOLD, bounds)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    #[test]
    fn what_happens_across_hosts_is_said_or_is_asked() {
        let across = |lines: &str| {
            Fixture::service()
                .resolve(&format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}"))
                .unwrap()
                .across
        };
        assert_eq!(across(""), AcrossHosts { on_partial: OnPartial::Ask, hold: Duration::from_secs(600) });
        let said = across("[deploy]\nhosts = [\"a\", \"b\"]\non_partial = \"rollback\"\nhold = \"2m\"");
        assert_eq!(said, AcrossHosts { on_partial: OnPartial::Rollback, hold: Duration::from_secs(120) });
    }

    #[test]
    fn a_mistyped_choice_is_answered_with_the_one_that_was_meant() {
        assert_eq!(
            Fixture::service().error_of_line_3("deploy.on_partial = \"rolback\""),
            "cutover.toml:3: `rolback` is not what can become of hosts that have switched\n  did you mean `rollback`?"
        );
    }
}
