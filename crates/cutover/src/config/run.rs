//! `[run]`: how many instances, as whom, where, and how they are stopped.

use std::time::Duration;

use cutover_core::release::RunPolicy;
use nix::sys::signal::Signal;

use super::artifact::Artifact;
use super::error::ConfigError;
use super::raw::{RawRun, Text};
use super::source::Source;
use super::{artifact, keys, shared, value};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn resolve(source: &Source, raw: &RawRun, artifact: &Artifact) -> Result<RunPolicy, ConfigError> {
    let stop_timeout = raw.stop_timeout.as_ref();
    let half_a_minute = Duration::from_secs(30);
    Ok(RunPolicy {
        instances: value::whole(source, "instances", raw.instances.as_ref(), 1, 1..=64)?,
        user: raw.user.as_ref().map(|typed| user(source, typed)).transpose()?,
        workdir: artifact::workdir(source, raw.workdir.as_ref(), artifact)?,
        stop_signal: stop_signal(source, raw.stop_signal.as_ref())?.as_str().to_owned(),
        stop_timeout: value::duration(
            source,
            "stop_timeout",
            stop_timeout,
            half_a_minute,
            Duration::ZERO..=DAY,
        )?,
        shared: shared::resolve(source, raw.shared.as_deref())?,
    })
}

/// Whether there is such a user is the controller's to say, on its own host.
fn user(source: &Source, typed: &Text) -> Result<String, ConfigError> {
    let name = typed.get_ref();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':' || c == '/')
    {
        return Err(source
            .error(&typed.span(), format!("`{name}` is not the name of a user"))
            .with_hint("leave `user` out to run as the user of `cutover serve`"));
    }
    Ok(name.clone())
}

pub(super) fn stop_signal(source: &Source, typed: Option<&Text>) -> Result<Signal, ConfigError> {
    let Some(typed) = typed else {
        return Ok(Signal::SIGTERM);
    };
    let text = typed.get_ref();
    let name = if text.starts_with("SIG") { text.clone() } else { format!("SIG{text}") };
    match name.parse() {
        Ok(Signal::SIGSTOP) => Err(source
            .error(&typed.span(), "`SIGSTOP` halts a program, it does not end it")
            .with_hint("leave `stop_signal` out for `SIGTERM`")),
        Ok(signal) => Ok(signal),
        Err(_) => {
            let wanted = text.to_uppercase();
            let wanted = if wanted.starts_with("SIG") { wanted } else { format!("SIG{wanted}") };
            let near = keys::nearest(&wanted, Signal::iterator().map(Signal::as_str)).unwrap_or("SIGTERM");
            Err(source
                .error(&typed.span(), format!("`{text}` is not the name of a signal"))
                .with_hint(format!("did you mean `{near}`?")))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn a_stop_signal_is_a_real_one_that_ends_programs() {
        for (typed, near) in
            [("SIGTREM", "SIGTERM"), ("sigint", "SIGINT"), ("qit", "SIGQUIT"), ("15", "SIGTERM")]
        {
            check(
                &format!("run.stop_signal = \"{typed}\""),
                &format!("cutover.toml:3: `{typed}` is not the name of a signal\n  did you mean `{near}`?"),
            );
        }
        check(
            "run.stop_signal = \"STOP\"",
            "cutover.toml:3: `SIGSTOP` halts a program, it does not end it\n  leave `stop_signal` out for `SIGTERM`",
        );
    }

    #[test]
    fn a_user_has_a_name() {
        for bad in ["", "a b", "shop:shop"] {
            check(
                &format!("run.user = \"{bad}\""),
                &format!(
                    "cutover.toml:3: `{bad}` is not the name of a user\n  leave `user` out to run as the user of `cutover serve`"
                ),
            );
        }
    }
}
