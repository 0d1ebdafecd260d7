//! A state directory with one release, a keeper of its gates, and what the tests look at.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cutover_adapters::gates::{Gatekeeper, Leads};
use cutover_adapters::process::{ProcessExecutor, ProcessSettings};
use cutover_controller::ports::{GateRun, GateRunner, Mandate, Migrator};
use cutover_core::gates::{Finding, Gate, GateContext, Gates, Hook, HookAction, HookPoint, Suite, SuiteKind};
use cutover_core::health::HealthPolicy;
use cutover_core::release::{Configuration, Release, Route, RunPolicy, SecretReference};
use cutover_core::routing::{Timeouts, Upstream};
use cutover_core::{CommandId, Environment};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// What leads to the idle environment here.
pub(crate) const TOKEN: &str = "token-of-the-private-way";
pub(crate) const RELEASE: &str = "0123456789abcdef";

#[derive(Debug)]
struct Alone;

impl Mandate for Alone {
    fn holds(&self) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) release: Release,
    proxy: Vec<SocketAddr>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let root = directory.path().canonicalize().unwrap();
        let release = root.join("state/releases/shop").join(RELEASE);
        fs::create_dir_all(release.join("files")).unwrap();
        fs::create_dir_all(release.join("secrets")).unwrap();
        let release = Release {
            id: RELEASE.parse().unwrap(),
            version: "v2".parse().unwrap(),
            directory: release.join("files"),
            artifact_bytes: 100,
            configuration: Configuration {
                route: Route {
                    hosts: vec!["shop.example.com".to_owned()],
                    path: "/".to_owned(),
                    canonical_host: None,
                },
                command: vec!["./app".to_owned()],
                env: BTreeMap::new(),
                run: RunPolicy {
                    instances: 1,
                    user: None,
                    workdir: ".".into(),
                    stop_signal: "SIGTERM".to_owned(),
                    stop_timeout: Duration::from_secs(20),
                    shared: Vec::new(),
                },
                health: HealthPolicy::default(),
                health_deadline: Duration::from_secs(10),
                upstream: Upstream::default(),
                replay: cutover_core::routing::Replay::default(),
                drain: cutover_core::drain::Drain::default(),
                timeouts: Timeouts::default(),
                tls: cutover_core::tls::Tls::default(),
                gates: Gates::default(),
                workers: BTreeMap::new(),
            },
            secrets: Vec::new(),
        };
        Self { directory, release, proxy: Vec::new() }
    }

    /// With a proxy that listens there.
    pub(crate) fn before(proxy: SocketAddr) -> Self {
        let mut bench = Self::new();
        bench.proxy.push(proxy);
        bench
    }

    /// Gives the release a shell script; the words that run it.
    pub(crate) fn script(&self, text: &str) -> Vec<String> {
        let number = fs::read_dir(self.files()).unwrap().count();
        let file = self.files().join(format!("script-{number}"));
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        vec![format!("./script-{number}")]
    }

    /// Makes a hook at this point of a shell script.
    pub(crate) fn hook(&mut self, point: HookPoint, script: &str) -> &mut Hook {
        let action = HookAction::Command(self.script(script));
        self.hook_of(point, action)
    }

    pub(crate) fn hook_of(&mut self, point: HookPoint, action: HookAction) -> &mut Hook {
        let hooks = &mut self.release.configuration.gates.hooks;
        let name = format!("hook {}", hooks.len() + 1);
        hooks.push(Hook { name, point, action, timeout: Duration::from_secs(20), retries: 0 });
        hooks.last_mut().unwrap()
    }

    pub(crate) fn suite(&mut self, name: &str, kind: SuiteKind) -> &mut Suite {
        let suites = &mut self.release.configuration.gates.smoke;
        suites.push(Suite {
            name: name.to_owned(),
            kind,
            timeout: Duration::from_secs(20),
            retries: 0,
            during_bake: None,
            variables: BTreeMap::new(),
        });
        suites.last_mut().unwrap()
    }

    pub(crate) fn secret(&mut self, name: &str, value: &str) {
        fs::write(self.files().with_file_name("secrets").join(name), value).unwrap();
        self.release.secrets.push(SecretReference { name: name.to_owned(), fingerprint: "f".to_owned() });
    }

    pub(crate) fn files(&self) -> &Path {
        &self.release.directory
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What a controller has that was just started.
    pub(crate) fn executor(&self) -> Arc<ProcessExecutor> {
        let program = env!("CARGO_BIN_EXE_cutover-instance-fixture");
        let settings = ProcessSettings::new(self.path("state"), program.into());
        Arc::new(ProcessExecutor::new(settings, Arc::new(Alone)).unwrap())
    }

    pub(crate) fn keeper(&self) -> Gatekeeper {
        let proxy = self.proxy.clone();
        let sign = |service: &cutover_core::ServiceName, leads: Leads<'_>, _| {
            assert_eq!(service.as_str(), "shop");
            let Leads::To(release) = leads else { return None };
            assert_eq!(release.as_str(), RELEASE);
            Some(TOKEN.to_owned())
        };
        let listeners = Arc::new(move || proxy.clone());
        Gatekeeper::new(self.path("state"), self.executor(), listeners, Arc::new(sign))
    }

    /// The id of the gate; no other test has it.
    pub(crate) fn id(&self) -> CommandId {
        let name = self.directory.path().file_name().unwrap().to_str().unwrap();
        format!("gate-{}", name.trim_start_matches('.').to_lowercase()).parse().unwrap()
    }

    pub(crate) fn context(&self) -> GateContext {
        GateContext {
            service: "shop".parse().unwrap(),
            deployment: "d-1".parse().unwrap(),
            kind: "deploy".to_owned(),
            status: "validating".to_owned(),
            actor: "eve".to_owned(),
            version: "v2".parse().unwrap(),
            from: Some("v1".parse().unwrap()),
            environment: Environment::Green,
            live: Environment::Blue,
            reason: None,
        }
    }

    pub(crate) async fn ask(&self, gate: &Gate) -> Finding {
        self.ask_with(&self.keeper(), gate, &mpsc::unbounded_channel().0).await
    }

    pub(crate) async fn ask_with(
        &self,
        keeper: &Gatekeeper,
        gate: &Gate,
        waiting_for: &mpsc::UnboundedSender<String>,
    ) -> Finding {
        let (id, context) = (self.id(), self.context());
        let environment = Environment::Green;
        let wanted =
            GateRun { gate, id: &id, release: &self.release, environment, context: &context, waiting_for };
        match gate {
            Gate::Expand => keeper.expand(wanted).await,
            Gate::Contract => keeper.contract(wanted).await,
            _ => keeper.run(wanted).await,
        }
    }

    /// Of the hooks before anything else was done.
    pub(crate) async fn ask_hooks(&self) -> Finding {
        self.ask(&Gate::Hook(HookPoint::BeforeDeploy)).await
    }

    /// A controller of its own that asks a gate; what lies in `bin` it finds first.
    pub(crate) fn controller(&self, gate: &Gate) -> Child {
        let write =
            |name: &str, value: serde_json::Value| fs::write(self.path(name), value.to_string()).unwrap();
        write("release.json", serde_json::to_value(&self.release).unwrap());
        write("context.json", serde_json::to_value(self.context()).unwrap());
        write("gate.json", serde_json::to_value(gate).unwrap());
        fs::write(self.path("id"), self.id().as_str()).unwrap();
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cutover-instance-fixture"));
        command.arg("gate").arg(self.directory.path()).stdin(Stdio::null()).env("PATH", path).spawn().unwrap()
    }

    /// What the programs find in their environment as the id of the state directory.
    fn state_id(&self) -> String {
        let found = fs::metadata(self.path("state")).unwrap();
        let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        format!("{:x}-{:x}-{:x}", found.dev(), found.ino(), made.map_or(0, |made| made.as_nanos()))
    }

    /// Whatever runs of the gates of this test.
    pub(crate) fn carriers(&self) -> Vec<i32> {
        let wanted = format!("CUTOVER_STATE_ID={}\0", self.state_id()).into_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        let carries = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(wanted.len()).any(|part| part == wanted)
        };
        pids.filter(carries).collect()
    }

    /// Polls until a script has written a pid there.
    pub(crate) async fn pid(&self, name: &str) -> i32 {
        until(name, || async { self.read(name).ends_with('\n') }).await;
        self.read(name).lines().last().unwrap().parse().unwrap()
    }
}

impl Drop for Bench {
    /// Ends what a failed test left.
    fn drop(&mut self) {
        for pid in self.carriers() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

/// Polls until the condition holds, for at most twenty seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the process with this pid has ended.
pub(crate) fn is_dead(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('Z'))
}

pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}
