//! Instances as plain processes of this host, each under a small supervisor of its own.
//!
//! The executor writes down what shall run, starts the supervisor and leaves. Everything it has to know later
//! it reads from the instance's directory and the process table, so that a restarted controller, or a second
//! one, sees the same. The state directory holds `instances/ID/` for each instance and `logs/SERVICE/ID.log` for
//! the newest that were stopped. The secrets of a release are files in `secrets/` beside its directory.

mod backoff;
mod census;
mod command;
pub mod console;
mod directory;
mod kept_log;
mod listening;
mod live;
mod log_file;
mod log_line;
mod logs;
mod output;
mod place;
mod port_choice;
mod preflight;
mod priority;
mod process_table;
mod program;
mod record;
mod retention;
mod signals;
mod start;
mod state_id;
mod stop;
pub mod supervisor;
mod transient_unit;
mod usage;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;
use cutover_controller::ports::{
    DeploymentExecutor, Exit, Mandate, PortError, Provision, Running, Shortage, StartWorkers,
};
use cutover_core::release::Release;
use cutover_core::service::{EffectId, Instance};
use cutover_core::{InstanceId, ServiceName};
use tokio::task::{JoinSet, spawn_blocking};

use self::census::{Census, Snapshot};
use self::directory::InstanceDirectory;
use self::record::{ExitRecord, InstanceRecord, ProgramRecord};
use self::start::Wanted;
use self::state_id::{Home, StateId};

pub use self::directory::RecordError;

/// Lines of output that an exit is told with.
const EXIT_LINES: usize = 20;
/// No program is given longer to stop, whatever a release says: a clock has no moment that is much later.
const LONGEST_STOP: std::time::Duration = std::time::Duration::from_secs(366 * 24 * 60 * 60);

/// What the process executor needs to know about its host.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The state directory; `instances/` and `logs/` in it belong to the executor.
    pub state_directory: PathBuf,
    /// The cutover binary: `PROGRAM instance --directory DIR` runs [`supervisor::run`].
    pub program: PathBuf,
    /// Where the ports of instances come from; below the ephemeral range, so that no client socket takes one.
    pub ports: RangeInclusive<u16>,
    /// Where the proxy tells which environment of each service is live; readable by everybody who may pass there.
    pub live: PathBuf,
    /// `PATH` of every program, unless its configuration sets another.
    pub path: String,
    /// `LANG` of every program, unless its configuration sets another.
    pub lang: String,
    /// Who is the parent of supervisors.
    pub parent: Parent,
}

/// Who starts and reaps the supervisors of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// The controller. They stay in its control group and sandbox, if it has any.
    #[default]
    Controller,
    /// systemd, each in a transient unit of its own: what is done to the controller's unit never touches them.
    Systemd,
}

impl ProcessSettings {
    /// Settings with ports 20000 to 29999, the usual system `PATH`, and UTF-8.
    #[must_use]
    pub fn new(state_directory: PathBuf, program: PathBuf) -> Self {
        Self {
            live: state_directory.join("live"),
            state_directory,
            program,
            ports: 20_000..=29_999,
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            lang: "C.UTF-8".to_owned(),
            parent: Parent::default(),
        }
    }
}

/// Runs instances as processes of this host.
#[derive(Debug, Clone)]
pub struct ProcessExecutor {
    instances: Arc<Instances>,
}

/// The instance directories of one state directory.
#[derive(Debug)]
struct Instances {
    settings: ProcessSettings,
    /// Whose instances these are: ids say it within one state directory only.
    state: StateId,
    /// Asked right before a signal is sent or a supervisor is started.
    mandate: Arc<dyn Mandate>,
    /// Held from choosing a port until it is written down, so that no two instances get the same.
    choosing: Mutex<()>,
    /// Shared by every start from its directory's making until its program runs, so that nothing removes the
    /// directory in between.
    starting: RwLock<()>,
}

impl ProcessExecutor {
    /// An executor for the instances of a state directory, those that run already included. It does nothing any
    /// more when the mandate holds no longer.
    ///
    /// # Errors
    /// If its directories cannot be made.
    pub fn new(mut settings: ProcessSettings, mandate: Arc<dyn Mandate>) -> io::Result<Self> {
        crate::durable_file::create_directories(&settings.state_directory, 0o700)?;
        settings.state_directory = settings.state_directory.canonicalize()?;
        let state = StateId::of(&settings.state_directory)?;
        let (choosing, starting) = (Mutex::new(()), RwLock::new(()));
        let instances = Instances { settings, state, mandate, choosing, starting };
        crate::durable_file::create_directories(&instances.root(), 0o700)?;
        instances.remove_stopped();
        instances.forget_planned_commands();
        Ok(Self { instances: Arc::new(instances) })
    }

    async fn made_ready(&self, service: &ServiceName, release: &Release) -> Result<Arc<Release>, PortError> {
        let (service, release) = (service.clone(), release.clone());
        self.blocking(move |instances| instances.made_ready(&service, &release)).await.map(Arc::new)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&Instances) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let instances = Arc::clone(&self.instances);
        spawn_blocking(move || deed(&instances)).await.unwrap_or_else(|error| Err(refused(error)))
    }

    /// Does the same for several instances at once, and tells the first failure when all are done.
    async fn for_each<T: Send + 'static, R: Send + 'static>(
        &self,
        items: Vec<T>,
        deed: impl Fn(&Instances, T) -> Result<R, PortError> + Clone + Send + 'static,
    ) -> Result<Vec<R>, PortError> {
        let mut tasks = JoinSet::new();
        let count = items.len();
        for (number, item) in items.into_iter().enumerate() {
            let (instances, deed) = (Arc::clone(&self.instances), deed.clone());
            tasks.spawn_blocking(move || (number, deed(&instances, item)));
        }
        let mut results: Vec<Option<Result<R, PortError>>> = (0..count).map(|_| None).collect();
        while let Some(joined) = tasks.join_next().await {
            let (number, result) = joined.map_err(refused)?;
            results[number] = Some(result);
        }
        results.into_iter().flatten().collect()
    }
}

#[async_trait]
impl DeploymentExecutor for ProcessExecutor {
    async fn preflight(&self, service: &ServiceName, release: &Release) -> Result<(), PortError> {
        let (service, release) = (service.clone(), release.clone());
        self.blocking(move |instances| {
            instances.preflight(&service, &instances.open_place(&service, &release)?)
        })
        .await
    }

    async fn shortage(
        &self,
        service: &ServiceName,
        release: &Release,
    ) -> Result<Option<Shortage>, PortError> {
        let (service, release) = (service.clone(), release.clone());
        self.blocking(move |instances| instances.shortage(&service, &release)).await
    }

    async fn provision(&self, _: &EffectId, wanted: Provision<'_>) -> Result<Vec<Instance>, PortError> {
        let release = self.made_ready(wanted.service, wanted.release).await?;
        let each = wanted.instances.iter().map(|id| Wanted {
            id: id.clone(),
            service: wanted.service.clone(),
            environment: wanted.environment,
            worker: None,
            release: Arc::clone(&release),
        });
        self.for_each(each.collect(), |instances, wanted| instances.start(&wanted)).await
    }

    async fn start_workers(&self, _: &EffectId, wanted: StartWorkers<'_>) -> Result<(), PortError> {
        let release = self.made_ready(wanted.service, wanted.release).await?;
        let each = wanted.workers.iter().map(|worker| Wanted {
            id: worker.id.clone(),
            service: wanted.service.clone(),
            environment: wanted.environment,
            worker: Some(worker.worker.clone()),
            release: Arc::clone(&release),
        });
        self.for_each(each.collect(), |instances, wanted| instances.start(&wanted)).await.map(drop)
    }

    async fn stop(&self, _: &EffectId, instances: &[InstanceId]) -> Result<(), PortError> {
        let stopped = self.for_each(instances.to_vec(), |instances, id| instances.stop(&id)).await?;
        debug_assert_eq!(stopped.len(), instances.len(), "each is answered");
        Ok(())
    }

    async fn observe(&self) -> Result<Vec<Running>, PortError> {
        self.blocking(|instances| {
            let mut running = Vec::new();
            for (directory, record, census) in instances.survey()? {
                if !census.is_running() {
                    continue;
                }
                if census.supervisor.is_none() {
                    instances.attach_supervisor(&directory, &record);
                }
                running.push(Running {
                    service: record.service.clone(),
                    environment: record.environment,
                    release: record.release.clone(),
                    instance: record.instance(),
                });
            }
            Ok(running)
        })
        .await
    }

    async fn last_exit(&self, instance: &InstanceId) -> Option<Exit> {
        let id = instance.clone();
        let found = self.blocking(move |instances| {
            let Some(directory) = instances.directory(&id) else {
                return Ok(None);
            };
            let Some(exit) = directory.read::<ExitRecord>().map_err(refused)? else {
                return Ok(None);
            };
            let program = directory.read::<ProgramRecord>().map_err(refused)?;
            let restarts = program.map_or(0, |program| program.restarts).max(exit.restarts);
            let last_lines = log_file::last_lines(&directory.output_log(), EXIT_LINES);
            Ok(Some(Exit { how: exit.how, at: exit.at, last_lines, restarts }))
        });
        found.await.ok().flatten()
    }

    async fn listening(&self, instance: &InstanceId) -> Option<Vec<SocketAddr>> {
        let id = instance.clone();
        let found = self.blocking(move |instances| Ok(instances.listening(&id)));
        found.await.ok().flatten()
    }

    async fn last_lines(&self, instance: &InstanceId, count: usize) -> Vec<String> {
        let id = instance.clone();
        let found = self.blocking(move |instances| Ok(instances.last_lines(&id, count)));
        found.await.unwrap_or_default()
    }

    async fn prioritise(&self, live: &[InstanceId], idle: &[InstanceId]) -> Result<(), PortError> {
        let (live, idle) = (live.to_vec(), idle.to_vec());
        self.blocking(move |instances| {
            let live = instances.set_priority(&live, priority::LIVE);
            let idle = instances.set_priority(&idle, priority::IDLE);
            live.and(idle)
        })
        .await
    }

    async fn prune(&self, known: &[InstanceId], keep: usize) -> Result<usize, PortError> {
        let known = known.to_vec();
        self.blocking(move |instances| instances.prune(&known, keep)).await
    }
}

impl Instances {
    fn root(&self) -> PathBuf {
        self.settings.state_directory.join("instances")
    }

    /// What the plan of an instance says of its state directory.
    fn home(&self) -> Home {
        Home { id: self.state.clone(), path: self.settings.state_directory.clone() }
    }

    /// Refuses whatever would change an instance of the controller that has taken over.
    fn check_mandate(&self) -> Result<(), PortError> {
        self.mandate.holds().map_err(PortError::new)
    }

    fn directory(&self, id: &InstanceId) -> Option<InstanceDirectory> {
        InstanceDirectory::of(&self.root(), id)
    }

    /// Every instance that is written down, with its living processes.
    fn survey(&self) -> Result<Vec<(InstanceDirectory, InstanceRecord, Census)>, PortError> {
        let snapshot = self.snapshot()?;
        let mut found = Vec::new();
        for directory in directory::all(&self.root()).map_err(|error| failed("list the instances", error))? {
            let read = directory.read().and_then(|record| Ok((record, Census::of(&directory, &snapshot)?)));
            match read {
                Ok((Some(record), census)) => found.push((directory, record, census)),
                Ok((None, _)) => {}
                Err(error) => tracing::warn!(%error, "an instance cannot be told"),
            }
        }
        Ok(found)
    }

    fn snapshot(&self) -> Result<Snapshot, PortError> {
        Snapshot::take(Some(self.state.clone())).map_err(|error| failed("read the process table", error))
    }

    fn census(&self, directory: &InstanceDirectory) -> Result<Census, PortError> {
        Census::of(directory, &self.snapshot()?).map_err(refused)
    }

    fn set_priority(&self, ids: &[InstanceId], adjustment: i32) -> Result<(), PortError> {
        let mut first_failure = Ok(());
        for id in ids {
            let Some(directory) = self.directory(id) else {
                continue;
            };
            for process in self.census(&directory)?.everyone() {
                if let Err(error) = priority::set(process.pid, adjustment)
                    && first_failure.is_ok()
                {
                    let deed = format!("set the memory priority of instance `{id}`");
                    first_failure = Err(failed(&deed, error));
                }
            }
        }
        first_failure
    }

    /// A program that has not ended counts, also one that has made a session of its own.
    fn listening(&self, id: &InstanceId) -> Option<Vec<SocketAddr>> {
        let snapshot = self.snapshot().ok()?;
        let census = Census::of(&self.directory(id)?, &snapshot).ok()?;
        let carriers = snapshot.carriers(id).into_iter().filter(|it| Some(it.identity) != census.supervisor);
        let programs: Vec<i32> =
            census.members.iter().copied().chain(carriers).map(|process| process.identity.pid).collect();
        if programs.is_empty() {
            return None;
        }
        Some(listening::of(&programs).ok()?.into_iter().collect())
    }

    fn last_lines(&self, id: &InstanceId, count: usize) -> Vec<String> {
        let Some(directory) = self.directory(id) else {
            return Vec::new();
        };
        let lines = log_file::last_lines(&directory.output_log(), count);
        if !lines.is_empty() {
            return lines;
        }
        self.stopped_log(id).map_or_else(Vec::new, |log| log_file::last_lines(&log, count))
    }
}

fn refused(error: impl Display) -> PortError {
    PortError::new(error.to_string())
}

fn failed(deed: &str, error: impl Display) -> PortError {
    PortError::new(format!("cannot {deed}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::InstanceRecord;

    pub(super) fn instance_record() -> InstanceRecord {
        InstanceRecord {
            id: "shop-1".parse().unwrap(),
            home: None,
            service: "shop".parse().unwrap(),
            environment: cutover_core::Environment::Blue,
            worker: None,
            release: "0123456789abcdef".parse().unwrap(),
            version: "v1".parse().unwrap(),
            command: vec!["./shop".to_owned()],
            env: std::collections::BTreeMap::new(),
            secrets: Vec::new(),
            secrets_directory: "/nowhere".into(),
            workdir: "/nowhere".into(),
            user: None,
            port: 20_001,
            live: None,
            stop_signal: "SIGTERM".to_owned(),
            stop_timeout: Duration::from_secs(1),
        }
    }
}
