//! A state directory of its own, a release that runs a script, and what the tests look at.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cutover_adapters::process::{ProcessExecutor, ProcessSettings};
use cutover_controller::ports::{DeploymentExecutor, PortError, Provision};
use cutover_core::health::HealthPolicy;
use cutover_core::release::{Configuration, Release, Route, RunPolicy};
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
        let release = directory.path().join("release");
        fs::create_dir_all(release.join("files")).unwrap();
        fs::create_dir_all(release.join("secrets")).unwrap();
        let app = release.join("files/app");
        fs::write(&app, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&app, PermissionsExt::from_mode(0o755)).unwrap();
        let executor = ProcessExecutor::new(settings(&directory)).unwrap();
        let release = Release {
            id: "0123456789abcdef".parse().unwrap(),
            version: "v1".parse().unwrap(),
            directory: release.join("files"),
            artifact_bytes: 100,
            configuration: Configuration {
                route: Route { hosts: Vec::new(), path: "/".to_owned() },
                command: vec!["./app".to_owned()],
                env: BTreeMap::new(),
                run: RunPolicy {
                    instances: 1,
                    user: None,
                    workdir: ".".into(),
                    stop_signal: "SIGTERM".to_owned(),
                    stop_timeout: Duration::from_secs(20),
                },
                health: HealthPolicy::default(),
                health_deadline: Duration::from_secs(10),
            },
            secrets: Vec::new(),
        };
        Self { directory, executor, release }
    }

    /// What a controller that was started again has.
    pub(crate) fn another_executor(&self) -> ProcessExecutor {
        ProcessExecutor::new(settings(&self.directory)).unwrap()
    }

    pub(crate) async fn provision(&self, ids: &[&str]) -> Result<Vec<Instance>, PortError> {
        self.provision_by(&self.executor, ids).await
    }

    pub(crate) async fn provision_by(
        &self,
        executor: &ProcessExecutor,
        ids: &[&str],
    ) -> Result<Vec<Instance>, PortError> {
        let (service, instances) = ("shop".parse().unwrap(), instance_ids(ids));
        let (environment, release) = (Environment::Green, &self.release);
        let wanted = Provision { service: &service, environment, release, instances: &instances };
        executor.provision(&effect(), wanted).await
    }

    pub(crate) async fn stop(&self, ids: &[&str]) {
        self.executor.stop(&effect(), &instance_ids(ids)).await.unwrap();
    }

    pub(crate) async fn running(&self) -> Vec<String> {
        let running = self.executor.observe().await.unwrap();
        running.iter().map(|it| it.instance.id.to_string()).collect()
    }

    pub(crate) fn state(&self, path: &str) -> PathBuf {
        self.directory.path().join("state").join(path)
    }

    /// The pid in a record of an instance, `program` or `supervisor`.
    pub(crate) fn pid(&self, id: &str, who: &str) -> i32 {
        i32::try_from(self.record(id, who)["pid"].as_i64().unwrap()).unwrap()
    }

    pub(crate) fn record(&self, id: &str, name: &str) -> serde_json::Value {
        let file = self.state(&format!("instances/{id}/{name}.json"));
        fs::read(file).map_or_else(|_| serde_json::json!({}), |it| serde_json::from_slice(&it).unwrap())
    }

    pub(crate) async fn lines(&self, id: &str) -> Vec<String> {
        self.executor.last_lines(&id.parse().unwrap(), 100).await
    }
}

impl Drop for Host {
    /// Ends what a failed test left: the processes in its own records, if they are still the same.
    fn drop(&mut self) {
        for entry in fs::read_dir(self.state("instances")).into_iter().flatten().flatten() {
            for name in ["supervisor", "program"] {
                let record = self.record(&entry.file_name().to_string_lossy(), name);
                let Some(pid) = record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()) else {
                    continue;
                };
                if start_time(pid) == record["start_time"].as_u64() {
                    kill(pid);
                }
            }
        }
    }
}

fn settings(directory: &TempDir) -> ProcessSettings {
    let program = env!("CARGO_BIN_EXE_cutover-instance-fixture");
    ProcessSettings::new(directory.path().join("state"), program.into())
}

pub(crate) fn effect() -> EffectId {
    EffectId { service: "shop".parse().unwrap(), sequence: 1 }
}

pub(crate) fn instance_ids(ids: &[&str]) -> Vec<InstanceId> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
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

fn start_time(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
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
