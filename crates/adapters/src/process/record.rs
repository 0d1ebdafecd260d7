//! What is written down about an instance, one file a fact, each replaced as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::{Environment, InstanceId, ReleaseId, ServiceName, Timestamp, Version, WorkerName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::process_table::ProcessIdentity;
use super::state_id::Home;

/// A fact with a file of its own in the instance's directory.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// Its file name.
    const FILE: &'static str;
}

/// The plan: what runs and with what. Written by the executor before a supervisor exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstanceRecord {
    pub(super) id: InstanceId,
    /// The state directory that it was written for. Older executors did not write it.
    #[serde(default)]
    pub(super) home: Option<Home>,
    pub(super) service: ServiceName,
    pub(super) environment: Environment,
    /// Which worker of its release; absent for an instance, which answers requests.
    #[serde(default)]
    pub(super) worker: Option<WorkerName>,
    pub(super) release: ReleaseId,
    pub(super) version: Version,
    /// Program and arguments, placeholders filled in.
    pub(super) command: Vec<String>,
    /// Everything the program finds in its environment except secrets.
    pub(super) env: BTreeMap<String, String>,
    /// Names of the secrets; the values are read from files of that name when the program starts.
    pub(super) secrets: Vec<String>,
    /// Where those files lie.
    pub(super) secrets_directory: PathBuf,
    /// Absolute.
    pub(super) workdir: PathBuf,
    /// The system user; the supervisor's own if absent.
    pub(super) user: Option<String>,
    /// Where it accepts requests; zero for a worker.
    pub(super) port: u16,
    /// Where it can read whether its environment is live. Older executors did not write it.
    #[serde(default)]
    pub(super) live: Option<PathBuf>,
    pub(super) stop_signal: String,
    #[serde(with = "humantime_serde")]
    pub(super) stop_timeout: Duration,
}

/// Who looks after the instance. Written by the supervisor before it starts the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SupervisorRecord {
    #[serde(flatten)]
    pub(super) identity: ProcessIdentity,
    /// The start of the host in which the pid means something.
    pub(super) boot_id: String,
}

/// The program that runs, or ran last. Written by the supervisor just after the start; what lies between is
/// found by the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProgramRecord {
    #[serde(flatten)]
    pub(super) identity: ProcessIdentity,
    /// The session of the supervisor that started it, which may not be the present one.
    pub(super) session: i32,
    pub(super) started_at: Timestamp,
    /// How many times it was started again.
    pub(super) restarts: u32,
}

/// How the program ended last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExitRecord {
    pub(super) how: String,
    pub(super) at: Timestamp,
    /// How many times it had been started again by then, also in vain. Older supervisors did not write it.
    #[serde(default)]
    pub(super) restarts: u32,
}

/// Why the program could not be started at all; the supervisor has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartFailure {
    pub(super) reason: String,
}

impl Record for InstanceRecord {
    const FILE: &'static str = "instance.json";
}

impl Record for SupervisorRecord {
    const FILE: &'static str = "supervisor.json";
}

impl Record for ProgramRecord {
    const FILE: &'static str = "program.json";
}

impl Record for ExitRecord {
    const FILE: &'static str = "exit.json";
}

impl Record for StartFailure {
    const FILE: &'static str = "error.json";
}

/// The present moment, for the records.
pub(super) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
