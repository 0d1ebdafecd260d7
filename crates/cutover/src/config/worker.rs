//! `[worker.NAME]`: programs without HTTP that run beside the instances of what is live.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::WorkerName;
use cutover_core::release::{RunPolicy, Worker};

use super::command::{self, Command};
use super::error::ConfigError;
use super::program::{self, Place};
use super::raw::{RawWorker, Text};
use super::run::{self, DAY};
use super::source::Source;
use super::value;

/// Workers run as instances do, in the same directory; what is not said of how they stop is as in `[run]`.
pub(super) fn resolve(
    source: &Source,
    raw: &BTreeMap<Text, RawWorker>,
    run: &RunPolicy,
    place: &Place<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<WorkerName, Worker>, ConfigError> {
    let mut workers = BTreeMap::new();
    for (name, typed) in raw {
        let worker = worker(source, name, typed, run, place, warnings)?;
        workers.insert(worker_name(source, name)?, worker);
    }
    Ok(workers)
}

fn worker(
    source: &Source,
    name: &Text,
    typed: &RawWorker,
    run: &RunPolicy,
    place: &Place<'_>,
    warnings: &mut Vec<String>,
) -> Result<Worker, ConfigError> {
    let Some(command) = &typed.command else {
        let message = format!("`[worker.{}]` has no `command`", name.get_ref());
        return Err(source
            .error(&name.span(), message)
            .with_hint("add a line such as `command = \"./shop work\"` below it"));
    };
    let command = Command::of(source, "command", command)?;
    if command.words.iter().any(|word| word.contains("{port}")) {
        return Err(source
            .error(&command.span, "a worker has no port: no request is sent to it")
            .with_hint("take `{port}` out; what answers requests is the `command` at the top of the file"));
    }
    program::check(source, &command, place, warnings)?;
    command::warn(source, &command, warnings);
    let stop_signal = match &typed.stop_signal {
        Some(signal) => run::stop_signal(source, Some(signal))?.as_str().to_owned(),
        None => run.stop_signal.clone(),
    };
    let stop_timeout = typed.stop_timeout.as_ref();
    let bounds = Duration::ZERO..=DAY;
    Ok(Worker {
        command: command.words,
        instances: value::whole(source, "instances", typed.instances.as_ref(), 1, 1..=64)?,
        overlap: typed.overlap.unwrap_or(false),
        stop_signal,
        stop_timeout: value::duration(source, "stop_timeout", stop_timeout, run.stop_timeout, bounds)?,
    })
}

fn worker_name(source: &Source, typed: &Text) -> Result<WorkerName, ConfigError> {
    typed.get_ref().parse().map_err(|error: cutover_core::names::InvalidName| {
        let near = value::near_service_name(typed.get_ref()).map(|near| format!("did you mean `{near}`?"));
        source.error(&typed.span(), error.to_string()).with_hint_if_any(near)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn a_worker_has_the_documented_defaults_and_stops_as_instances_do_unless_it_says_otherwise() {
        let text = "name = \"shop\"\ncommand = \"./shop\"\n[run]\nstop_timeout = \"40s\"\n\
                    [worker.mail]\ncommand = \"./shop work\"\n\
                    [worker.report]\ncommand = \"./shop report\"\ninstances = 2\noverlap = true\n\
                    stop_signal = \"INT\"\nstop_timeout = \"10m\"\n";
        let resolved = Fixture::service().resolve(text).unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        let workers = resolved.spec.configuration.workers;
        let (mail, report) = (&workers["mail"], &workers["report"]);
        assert_eq!(mail.command, ["./shop", "work"]);
        assert_eq!((mail.instances, mail.overlap, mail.stop_signal.as_str()), (1, false, "SIGTERM"));
        assert_eq!(mail.stop_timeout, Duration::from_secs(40));
        assert_eq!((report.instances, report.overlap, report.stop_signal.as_str()), (2, true, "SIGINT"));
        assert_eq!(report.stop_timeout, Duration::from_secs(600));
    }

    #[test]
    fn what_cannot_be_a_worker_is_said() {
        check(
            "[worker.mail]\ninstances = 2",
            "cutover.toml:3: `[worker.mail]` has no `command`\n  add a line such as `command = \"./shop work\"` below it",
        );
        check(
            "[worker.mail]\ncommand = \"./shop --port {port}\"",
            "cutover.toml:4: a worker has no port: no request is sent to it\n  take `{port}` out; what answers requests is the `command` at the top of the file",
        );
        check(
            "[worker.Mail_Out]\ncommand = \"./shop\"",
            "cutover.toml:3: `Mail_Out` is not a valid name of a worker: it has 1 to 63 lower-case letters, digits and inner hyphens\n  did you mean `mail-out`?",
        );
        check(
            "[worker.mail]\ncommand = \"./shop\"\ninstance = 2",
            "cutover.toml:5: unknown key `instance` in `[worker.mail]`\n  did you mean `instances`?",
        );
        check(
            "[worker]\ncommand = \"./shop\"",
            "cutover.toml:4: `command` must be a table with a line such as `command = \"./shop work\"`\n  write `[worker.NAME]` above it, with a name for this worker",
        );
        check(
            "[workers.mail]\ncommand = \"./shop\"",
            "cutover.toml:3: unknown table `[workers]`\n  did you mean `[worker]`?",
        );
    }

    #[test]
    fn workers_alone_are_no_service() {
        let error = Fixture::service().error("name = \"shop\"\n[worker.mail]\ncommand = \"./shop\"\n");
        assert_eq!(
            error,
            "cutover.toml: `command` is missing\n  workers run beside a program that answers requests, which tells by its health whether a release is good; add a line such as `command = \"./shop\"`, above the first `[…]`"
        );
    }
}
