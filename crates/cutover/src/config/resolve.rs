//! From what was typed to what is meant: defaults filled in, paths absolute, every value checked, the first
//! mistake said.

use std::ffi::OsString;

use cutover_core::names::Version;
use cutover_core::release::{Configuration, DeploymentSpec};

use super::command::Command;
use super::deploy::AcrossHosts;
use super::error::ConfigError;
use super::source::Source;
use super::{
    Loaded, artifact, command, deploy, exclude, gates, health, notify, origin, passage, program, rollout,
    route, run, secrets, tls, upstream, variables, version, windows, worker,
};

/// What the command line says in place of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// The version of the release; the short git commit of the file's directory if absent.
    pub(crate) version: Option<String>,
    /// The release runs on another host: what only that host can know is not looked for on this one.
    pub(crate) elsewhere: bool,
}

impl<T: AsRef<str> + ?Sized> From<&T> for Overrides {
    fn from(version: &T) -> Self {
        Self { version: Some(version.as_ref().to_owned()), ..Self::default() }
    }
}

/// A request that can be submitted.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// What is deployed.
    pub(crate) spec: DeploymentSpec,
    /// What is probably not meant as it was written; sentences without a full stop, each with its place.
    pub(crate) warnings: Vec<String>,
    /// What `[deploy]` says about several hosts.
    pub(crate) across: AcrossHosts,
}

/// Checks what a file means, against the files it speaks of and this process's environment.
///
/// A version alone (`"v1"`) will do for the overrides.
pub(crate) fn resolve(loaded: &Loaded, overrides: impl Into<Overrides>) -> Result<Resolved, ConfigError> {
    resolve_with(loaded, &overrides.into(), &|name| std::env::var_os(name))
}

/// How an environment variable of this process is looked up; an argument, so that tests need not set any.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

pub(super) fn resolve_with(
    loaded: &Loaded,
    overrides: &Overrides,
    variable: Lookup<'_>,
) -> Result<Resolved, ConfigError> {
    let Loaded { directory, service, raw, source, .. } = loaded;
    let mut warnings = Vec::new();

    let route = route::resolve(source, raw)?;
    let artifact = artifact::resolve(source, raw.artifact.as_ref(), directory)?;
    let run = run::resolve(source, &raw.run, &artifact)?;
    let (health, health_deadline) = health::resolve(source, &raw.health)?;
    let timeouts = upstream::timeouts(source, &raw.timeouts)?;
    let drain = passage::drain(source, raw.drain.as_ref())?;
    let replay = passage::replay(source, &raw.replay)?;
    let rollout = rollout::resolve(source, &raw.rollout)?;
    let env = variables::resolve(source, &raw.env)?;
    let base = if overrides.elsewhere { None } else { Some(directory.as_path()) };
    let upstream = upstream::resolve(source, raw.upstream.as_ref(), base)?;
    if let (Some(typed), Some(message)) = (&raw.upstream, tls::warn(&upstream)) {
        warnings.push(warning(source, &typed.span(), message));
    }
    let tls = tls::resolve(source, raw, &route, base)?;
    if base.is_some() {
        warnings.extend(tls::missing(&tls, &upstream));
    }
    let secrets = secrets::resolve(source, raw, base, variable)?;
    let across = deploy::resolve(source, &raw.deploy)?;
    let command = raw.command.as_ref().ok_or_else(|| no_command(loaded))?;
    let command = Command::of(source, "command", command)?;
    let version = match &overrides.version {
        Some(typed) => version::named(typed)?,
        None => version::default_version(directory)?,
    };
    let place = program::Place {
        directory,
        artifact: &artifact.place,
        packed: artifact.packed(),
        workdir: &run.workdir,
        version: &version,
        path: env.get("PATH").map(OsString::from).or_else(|| variable("PATH")),
        elsewhere: overrides.elsewhere,
    };
    program::check(source, &command, &place, &mut warnings)?;
    command::warn(source, &command, &mut warnings);
    variables::warn(source, &raw.env, &mut warnings);

    let exclude = exclude::resolve(source, raw.exclude.as_ref(), &artifact, &place, &command, &mut warnings)?;
    let workers = worker::resolve(source, &raw.worker, &run, &place, &mut warnings)?;
    let surroundings = gates::Surroundings {
        directory,
        place: &place,
        secrets: &secrets,
        bake: rollout.bake,
        hosts: &route.hosts,
        several_hosts: raw.deploy.hosts.as_ref().is_some_and(|hosts| hosts.get_ref().len() > 1),
    };
    let gates = gates::resolve(source, raw, &surroundings, &mut warnings)?;

    let configuration = Configuration {
        route,
        command: command.words,
        env,
        run,
        health,
        health_deadline,
        upstream,
        tls,
        timeouts,
        drain,
        replay,
        workers,
        gates,
    };
    let spec = DeploymentSpec {
        service: service.clone(),
        version,
        artifact: artifact.source,
        exclude,
        configuration,
        secrets,
        rollout,
        windows: windows::resolve(source, raw.windows.as_ref())?,
        notify: notify::resolve(source, raw.notify.as_ref(), base, variable)?,
        origin: origin::of(directory, variable),
    };
    Ok(Resolved { spec, warnings, across })
}

/// TOML gives a key to the last table above it, which people overlook.
fn no_command(loaded: &Loaded) -> ConfigError {
    let Loaded { raw, source, .. } = loaded;
    let strayed = raw.env.iter().find(|(name, _)| name.get_ref() == "command");
    match strayed {
        Some((name, _)) => source
            .error(&name.span(), "`command` is missing: this one is a variable of `[env]`")
            .with_hint("move it to the top of the file, above the first `[…]`"),
        None if !raw.worker.is_empty() => source.missing("`command` is missing").with_hint(
            "workers run beside a program that answers requests, which tells by its health whether a release is \
             good; add a line such as `command = \"./shop\"`, above the first `[…]`",
        ),
        None => source
            .missing("`command` is missing")
            .with_hint("add a line such as `command = \"./shop\"`, above the first `[…]`"),
    }
}

/// A warning with its place, in one line.
pub(super) fn warning(source: &Source, span: &std::ops::Range<usize>, message: &str) -> String {
    source.error(span, message).to_string()
}

/// Fills in what is known before the start; `{port}` and `{environment}` are known only then.
pub(super) fn with_version(text: &str, version: &Version) -> String {
    text.replace("{version}", version.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use cutover_core::gates::Gates;
    use cutover_core::health::HealthPolicy;
    use cutover_core::release::{RolloutPolicy, Route, RunPolicy, SecretSource};
    use cutover_core::routing::{Timeouts, Upstream};
    use cutover_core::tls::Tls;

    use super::*;
    use crate::config::fixture::Fixture;

    #[test]
    fn the_smallest_file_means_the_documented_defaults() {
        let fixture = Fixture::service();
        let resolved = fixture.resolve("name = \"shop\"\ncommand = \"./shop\"\n").unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        let expected = DeploymentSpec {
            service: "shop".parse().unwrap(),
            version: "v1".parse().unwrap(),
            artifact: fixture.path("").into(),
            exclude: Vec::new(),
            configuration: Configuration {
                route: Route { hosts: vec![], path: "/".to_owned(), canonical_host: None },
                command: vec!["./shop".to_owned()],
                env: BTreeMap::new(),
                run: RunPolicy {
                    instances: 1,
                    user: None,
                    workdir: PathBuf::from("."),
                    stop_signal: "SIGTERM".to_owned(),
                    stop_timeout: Duration::from_secs(30),
                    shared: Vec::new(),
                },
                health: HealthPolicy::default(),
                health_deadline: Duration::from_secs(300),
                upstream: Upstream::default(),
                tls: Tls::default(),
                replay: cutover_core::routing::Replay::default(),
                drain: cutover_core::drain::Drain::default(),
                timeouts: Timeouts::default(),
                gates: Gates::default(),
                workers: BTreeMap::new(),
            },
            secrets: BTreeMap::new(),
            rollout: RolloutPolicy {
                bake: Duration::from_secs(600),
                standby: Duration::from_secs(3600),
                auto_rollback: true,
                hold: None,
                hold_requests: None,
            },
            windows: None,
            notify: None,
            origin: None,
        };
        assert_eq!(resolved.spec, expected);
    }

    #[test]
    fn a_full_file_means_what_it_says() {
        let fixture = Fixture::service();
        fixture.executable("dist/bin/shop");
        let text = r#"
            name = "shop"
            hosts = ["Shop.Example.com", "*.shop.example.com"]
            path = "/shop"
            artifact = "dist/"
            command = "./shop --port '{port}' \"a b\""
            [env]
            RUST_LOG = "info"
            [secrets]
            DATABASE_URL = { file = "keys/database-url" }
            [run]
            instances = 2
            user = "shop"
            workdir = "./bin"
            stop_signal = "INT"
            stop_timeout = "1m 30s"
            [health]
            path = "/up?deep=1"
            interval = "200ms"
            timeout = "2s"
            rise = 1
            fall = 5
            deadline = "60s"
            [rollout]
            bake = "0s"
            standby = "2h"
            auto_rollback = false
        "#;
        let spec = fixture.resolve(text).unwrap().spec;
        assert_eq!(spec.artifact, fixture.path("dist").into());
        let configuration = &spec.configuration;
        assert_eq!(configuration.route.hosts, ["shop.example.com", "*.shop.example.com"]);
        assert_eq!(configuration.route.path, "/shop");
        assert_eq!(configuration.command, ["./shop", "--port", "{port}", "a b"]);
        assert_eq!(configuration.env["RUST_LOG"], "info");
        let run = RunPolicy {
            instances: 2,
            user: Some("shop".to_owned()),
            workdir: PathBuf::from("bin"),
            stop_signal: "SIGINT".to_owned(),
            stop_timeout: Duration::from_secs(90),
            shared: Vec::new(),
        };
        assert_eq!(configuration.run, run);
        let health = HealthPolicy {
            path: "/up?deep=1".to_owned(),
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(2),
            rise: 1,
            fall: 5,
        };
        assert_eq!(configuration.health, health);
        assert_eq!(configuration.health_deadline, Duration::from_secs(60));
        assert_eq!(spec.secrets["DATABASE_URL"], SecretSource::File(fixture.path("keys/database-url")));
        let rollout = RolloutPolicy {
            bake: Duration::ZERO,
            standby: Duration::from_secs(7200),
            auto_rollback: false,
            hold: None,
            hold_requests: None,
        };
        assert_eq!(spec.rollout, rollout);
    }

    #[test]
    fn a_missing_name_or_command_is_asked_for() {
        let error = |text| Fixture::service().error(text);
        assert_eq!(
            error("command = \"./shop\""),
            "cutover.toml: `name` is missing\n  add a line such as `name = \"shop\"` at the top of the file"
        );
        assert_eq!(
            error("name = \"shop\""),
            "cutover.toml: `command` is missing\n  add a line such as `command = \"./shop\"`, above the first `[…]`"
        );
        assert_eq!(
            error("name = \"shop\"\n[env]\ncommand = \"./shop\""),
            "cutover.toml:3: `command` is missing: this one is a variable of `[env]`\n  move it to the top of the file, above the first `[…]`"
        );
    }
}
