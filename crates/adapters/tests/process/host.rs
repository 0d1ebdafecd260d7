//! A state directory of its own, a release that runs a script, and what the tests look at.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use cutover_adapters::process::{ProcessExecutor, ProcessSettings};
use cutover_controller::ports::{DeploymentExecutor, Mandate, PortError, Provision};
use cutover_core::health::HealthPolicy;
use cutover_core::release::{Configuration, Release, Route, RunPolicy};
use cutover_core::routing::{Timeouts, Upstream};
use cutover_core::service::{EffectId, Instance};
use cutover_core::{Environment, InstanceId};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A script that stays until it is told to stop.
pub(crate) const STAY: &str = "echo started\nexec sleep 1000";

pub(crate) struct Host {
    pub(crate) directory: TempDir,
    pub(crate) executor: ProcessExecutor,
    pub(crate) release: Release,
}

impl Host {
    /// A host with a release whose program is this shell script.
    pub(crate) fn with_script(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Programs of other users have to get to their files.
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let release = directory.path().join("state/releases/shop/0123456789abcdef");
        fs::create_dir_all(release.join("files")).unwrap();
        fs::create_dir_all(release.join("secrets")).unwrap();
        let app = release.join("files/app");
        fs::write(&app, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&app, PermissionsExt::from_mode(0o755)).unwrap();
        let executor =
            ProcessExecutor::new(settings(&directory, "state"), Arc::new(Switch::default())).unwrap();
        let release = Release {
            id: "0123456789abcdef".parse().unwrap(),
            version: "v1".parse().unwrap(),
            directory: release.join("files"),
            artifact_bytes: 100,
            configuration: Configuration {
                route: Route { hosts: Vec::new(), path: "/".to_owned(), canonical_host: None },
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
                gates: cutover_core::gates::Gates::default(),
                workers: BTreeMap::new(),
            },
            secrets: Vec::new(),
        };
        Self { directory, executor, release }
    }

    /// What a controller that was started again has.
    pub(crate) fn another_executor(&self) -> ProcessExecutor {
        self.executor_with(&Arc::new(Switch::default()))
    }

    /// An executor of a controller whose place can be taken.
    pub(crate) fn executor_with(&self, mandate: &Arc<Switch>) -> ProcessExecutor {
        ProcessExecutor::new(settings(&self.directory, "state"), mandate.clone()).unwrap()
    }

    /// An executor for another state directory, beside that of this host.
    pub(crate) fn executor_at(&self, state: &str) -> ProcessExecutor {
        // With the same releases, as a copy has them.
        let (own, other) = (self.directory.path().join("state"), self.directory.path().join(state));
        fs::create_dir_all(&other).unwrap();
        if !other.join("releases").exists() {
            symlink(own.join("releases"), other.join("releases")).unwrap();
        }
        ProcessExecutor::new(settings(&self.directory, state), Arc::new(Switch::default())).unwrap()
    }

    pub(crate) async fn provision(&self, ids: &[&str]) -> Result<Vec<Instance>, PortError> {
        self.provision_by(&self.executor, ids).await
    }

    pub(crate) async fn provision_by(
        &self,
        executor: &ProcessExecutor,
        ids: &[&str],
    ) -> Result<Vec<Instance>, PortError> {
        let (service, instances) = ("shop".parse().unwrap(), self.ids(ids));
        let (environment, release) = (Environment::Green, &self.release);
        let wanted = Provision { service: &service, environment, release, instances: &instances };
        executor.provision(&effect(), wanted).await
    }

    pub(crate) async fn stop(&self, ids: &[&str]) {
        self.executor.stop(&effect(), &self.ids(ids)).await.unwrap();
    }

    pub(crate) async fn running(&self) -> Vec<String> {
        let running = self.executor.observe().await.unwrap();
        let tag = format!("-{}", self.tag());
        running.iter().map(|it| it.instance.id.as_str().trim_end_matches(&tag).to_owned()).collect()
    }

    /// The id of the instance that this test calls so. No other test has it, so that what a failed one left can be
    /// told.
    pub(crate) fn id(&self, name: &str) -> InstanceId {
        format!("{name}-{}", self.tag()).parse().unwrap()
    }

    pub(crate) fn ids(&self, names: &[&str]) -> Vec<InstanceId> {
        names.iter().map(|name| self.id(name)).collect()
    }

    fn tag(&self) -> &str {
        self.directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.')
    }

    /// What the programs find in their environment as the id of the state directory.
    pub(crate) fn state_id(&self) -> String {
        let found = fs::metadata(self.state("")).unwrap();
        let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        format!("{:x}-{:x}-{:x}", found.dev(), found.ino(), made.map_or(0, |made| made.as_nanos()))
    }

    /// Where an instance is written down.
    pub(crate) fn instance(&self, name: &str) -> PathBuf {
        self.state("instances").join(self.id(name).as_str())
    }

    /// What is kept of a stopped instance.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.state("logs/shop").join(format!("{}.log", self.id(name)))
    }

    pub(crate) fn state(&self, path: &str) -> PathBuf {
        self.directory.path().join("state").join(path)
    }

    /// The pid in a record of an instance, `program` or `supervisor`.
    pub(crate) fn pid(&self, id: &str, who: &str) -> i32 {
        i32::try_from(self.record(id, who)["pid"].as_i64().unwrap()).unwrap()
    }

    pub(crate) fn record(&self, id: &str, name: &str) -> serde_json::Value {
        record(&self.instance(id), name)
    }

    pub(crate) async fn lines(&self, id: &str) -> Vec<String> {
        self.executor.last_lines(&self.id(id), 100).await
    }
}

impl Drop for Host {
    /// Ends what a failed test left: whatever carries an id of this test, and the supervisors of its directories.
    fn drop(&mut self) {
        let is_ours = |process: &Path| {
            let tag = format!("-{}", self.tag()).into_bytes();
            let contains = |name: &str| {
                fs::read(process.join(name)).is_ok_and(|it| it.windows(tag.len()).any(|part| part == tag))
            };
            contains("environ") || contains("cmdline")
        };
        let own = i32::try_from(std::process::id()).unwrap();
        // Supervisors have the lower pids, mostly; a second look ends what one has started meanwhile.
        for _ in 0..2 {
            for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
                let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
                if let Some(pid) = pid.filter(|&pid| pid != own && is_ours(&process.path())) {
                    // It may end by itself just now.
                    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
                }
            }
        }
    }
}

/// Whether a controller has been replaced by another.
#[derive(Debug, Default)]
pub(crate) struct Switch(AtomicBool);

impl Switch {
    pub(crate) fn replace(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Mandate for Switch {
    fn holds(&self) -> Result<(), String> {
        if self.0.load(Ordering::SeqCst) {
            Err("another controller has taken over".to_owned())
        } else {
            Ok(())
        }
    }
}

fn settings(directory: &TempDir, state: &str) -> ProcessSettings {
    let program = env!("CARGO_BIN_EXE_cutover-instance-fixture");
    ProcessSettings::new(directory.path().join(state), program.into())
}

pub(crate) fn effect() -> EffectId {
    EffectId { service: "shop".parse().unwrap(), sequence: 1 }
}

pub(crate) fn record(instance: &Path, name: &str) -> serde_json::Value {
    let file = instance.join(format!("{name}.json"));
    fs::read(file).map_or_else(|_| serde_json::json!({}), |it| serde_json::from_slice(&it).unwrap())
}

/// Polls until the condition holds, for at most ten seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Fields of `/proc/PID/stat` after the name, from the third on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

pub(crate) fn session(pid: i32) -> Option<i32> {
    stat(pid)?.get(3)?.parse().ok()
}

/// Whether there is no process with this pid, not even one that waits to be reaped.
pub(crate) fn is_reaped(pid: i32) -> bool {
    stat(pid).is_none()
}

/// Whether the process with this pid has ended.
pub(crate) fn is_dead(pid: i32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}
