//! Starting an instance: once, however often it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use cutover_controller::ports::PortError;
use cutover_core::release::Release;
use cutover_core::service::Instance;
use cutover_core::{Environment, InstanceId, ServiceName, WorkerName};
use tokio::process::Command;

use super::directory::{self, InstanceDirectory};
use super::record::{ExitRecord, InstanceRecord, ProgramRecord, StartFailure, SupervisorRecord};
use super::transient_unit::{self, Supervisor};
use super::{EXIT_LINES, Instances, Parent, command, failed, live, log_file, port_choice, refused, state_id};

/// A supervisor that has neither started its program nor said why not by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const SUPERVISOR_END: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What stands for the port of a worker.
const NO_PORT: u16 = 0;

/// One instance that shall run.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: InstanceId,
    pub(super) service: ServiceName,
    pub(super) environment: Environment,
    /// Which of the release's workers, if it is none of its instances.
    pub(super) worker: Option<WorkerName>,
    pub(super) release: Arc<Release>,
}

impl InstanceRecord {
    /// Its id and address.
    pub(super) fn instance(&self) -> Instance {
        Instance { id: self.id.clone(), address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)) }
    }
}

impl Instances {
    /// Adopts the instance if it runs, and starts it if it does not.
    pub(super) fn start(&self, wanted: &Wanted) -> Result<Instance, PortError> {
        let directory = self.directory(&wanted.id);
        let directory = directory.ok_or_else(|| {
            PortError::new(format!("the instance id `{}` cannot be the name of a directory", wanted.id))
        })?;
        self.check_mandate()?;
        let _starting = self.starting.read().unwrap_or_else(PoisonError::into_inner);
        directory.create().map_err(refused)?;
        let census = self.census(&directory)?;
        if census.is_running() {
            let record = self.adoptable(&directory, wanted)?;
            if census.supervisor.is_none() {
                self.attach_supervisor(&directory, &record);
                return Ok(record.instance());
            }
            return self.wait_for_start(&directory, wanted, None).map(|()| record.instance());
        }
        let Some(lock) = directory.try_lock().map_err(refused)? else {
            // A supervisor that another provision started is about to introduce itself.
            self.wait_for_start(&directory, wanted, None)?;
            return self.adoptable(&directory, wanted).map(|record| record.instance());
        };
        self.end_unrecorded(&wanted.id)?;
        let record = self.write_plan(&directory, wanted)?;
        drop(lock);
        let supervisor = self.spawn_supervisor(&directory, &record);
        let ended = supervisor.map_err(|error| failed("start a supervisor", error))?;
        self.wait_for_start(&directory, wanted, Some(&ended)).map(|()| record.instance())
    }

    fn adoptable(&self, directory: &InstanceDirectory, wanted: &Wanted) -> Result<InstanceRecord, PortError> {
        let record = directory.read::<InstanceRecord>().map_err(refused)?;
        record
            .filter(|record| record.release == wanted.release.id && record.service == wanted.service)
            .ok_or_else(|| {
                PortError::new(format!("instance `{}` runs already, with another release", wanted.id))
            })
    }

    /// Writes down what shall run. The caller has the lock, so that no supervisor reads it half done.
    fn write_plan(
        &self,
        directory: &InstanceDirectory,
        wanted: &Wanted,
    ) -> Result<InstanceRecord, PortError> {
        directory.forget::<SupervisorRecord>().map_err(refused)?;
        directory.forget::<ProgramRecord>().map_err(refused)?;
        directory.forget::<StartFailure>().map_err(refused)?;
        // How it ended before it was asked for anew says nothing of what starts now.
        directory.forget::<ExitRecord>().map_err(refused)?;
        let _choosing = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        live::begin(&self.settings.live, &wanted.service, wanted.environment)
            .map_err(|error| failed("say whether its environment is live", error))?;
        let former = directory.read::<InstanceRecord>().ok().flatten().map(|record| record.port);
        let record = match former.filter(|&port| port_choice::is_free(port)) {
            _ if wanted.worker.is_some() => self.plan_worker(wanted)?,
            Some(port) => self.plan(wanted, port),
            None => self.plan(wanted, self.choose_port(&wanted.id)?),
        };
        directory.write(&record).map_err(refused)?;
        Ok(record)
    }

    fn choose_port(&self, id: &InstanceId) -> Result<u16, PortError> {
        let directories =
            directory::all(&self.root()).map_err(|error| failed("list the instances", error))?;
        let records = directories.iter().filter_map(|it| it.read::<InstanceRecord>().ok().flatten());
        let taken: BTreeSet<u16> = records.map(|record| record.port).collect();
        let ports = &self.settings.ports;
        port_choice::choose(ports, &taken, &self.settings.state_directory, id).ok_or_else(|| {
            PortError::new(format!("no port is free between {} and {}", ports.start(), ports.end()))
        })
    }

    pub(super) fn plan(&self, wanted: &Wanted, port: u16) -> InstanceRecord {
        let release = &*wanted.release;
        let configuration = &release.configuration;
        let fill = |text: &String| {
            text.replace("{port}", &port.to_string())
                .replace("{version}", release.version.as_str())
                .replace("{environment}", wanted.environment.label())
        };
        let user = configuration.run.user.clone();
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), self.settings.path.clone()),
            ("LANG".to_owned(), self.settings.lang.clone()),
            ("HOME".to_owned(), command::home(user.as_deref()).to_string_lossy().into_owned()),
        ]);
        env.extend(configuration.env.iter().map(|(name, value)| (name.clone(), fill(value))));
        InstanceRecord {
            id: wanted.id.clone(),
            home: Some(self.home()),
            service: wanted.service.clone(),
            environment: wanted.environment,
            worker: None,
            release: release.id.clone(),
            version: release.version.clone(),
            command: configuration.command.iter().map(fill).collect(),
            env,
            secrets: release.secrets.iter().map(|secret| secret.name.clone()).collect(),
            secrets_directory: release.directory.with_file_name("secrets"),
            workdir: workdir(release),
            user,
            port,
            live: Some(self.settings.live.clone()),
            stop_signal: configuration.run.stop_signal.clone(),
            stop_timeout: configuration.run.stop_timeout,
        }
    }

    /// The plan of a worker: as an instance, with its own command and without a port.
    fn plan_worker(&self, wanted: &Wanted) -> Result<InstanceRecord, PortError> {
        let release = &*wanted.release;
        let name = wanted.worker.as_ref();
        let Some(worker) = name.and_then(|name| release.configuration.workers.get(name)) else {
            return Err(PortError::new(format!("the release has no worker for `{}`", wanted.id)));
        };
        let mut of_worker = release.clone();
        of_worker.configuration.command.clone_from(&worker.command);
        // A value with a port in it is about something that listens.
        of_worker.configuration.env.retain(|_, value| !value.contains("{port}"));
        let plan = self.plan(&Wanted { release: Arc::new(of_worker), ..wanted.clone() }, NO_PORT);
        Ok(InstanceRecord {
            worker: wanted.worker.clone(),
            stop_signal: worker.stop_signal.clone(),
            stop_timeout: worker.stop_timeout,
            ..plan
        })
    }

    /// Starts a supervisor; what comes back tells when the process that was started for it has ended: the supervisor
    /// itself, which makes its own session as the first thing it does and is reaped here, or the one that has systemd
    /// start it, whose success says nothing yet.
    fn spawn_supervisor(
        &self,
        directory: &InstanceDirectory,
        record: &InstanceRecord,
    ) -> std::io::Result<Receiver<ExitStatus>> {
        let log = directory.supervisor_log();
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        self.mandate.holds().map_err(std::io::Error::other)?;
        let mut command = match self.settings.parent {
            Parent::Controller => self.child_supervisor(directory, record),
            Parent::Systemd => transient_unit::command(&Supervisor {
                program: &self.settings.program,
                directory,
                record,
                state: &self.state,
            }),
        };
        let mut child =
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let (tell, ended) = channel();
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                // Nobody waits for it any more once the program has started.
                let _ = tell.send(status);
            }
        });
        Ok(ended)
    }

    fn child_supervisor(&self, directory: &InstanceDirectory, record: &InstanceRecord) -> Command {
        let mut command = Command::new(&self.settings.program);
        command
            .args(["instance", "--directory"])
            .arg(directory.path())
            .env_clear()
            .envs(record.env.get_key_value("PATH"))
            .env(state_id::VARIABLE, self.state.as_str());
        command
    }

    /// Gives a supervisor to an instance whose own was killed. The instance runs either way.
    pub(super) fn attach_supervisor(&self, directory: &InstanceDirectory, record: &InstanceRecord) {
        match self.spawn_supervisor(directory, record) {
            Ok(_) => {
                tracing::warn!(instance = %record.id, "its supervisor had been killed, another takes over");
            }
            Err(error) => {
                tracing::warn!(instance = %record.id, %error, "a killed supervisor cannot be replaced");
            }
        }
    }

    /// Waits until the lock is free, which it is when a supervisor has ended, whoever reaps it.
    fn wait_for_end_of_supervision(&self, directory: &InstanceDirectory) {
        let deadline = Instant::now() + SUPERVISOR_END;
        while Instant::now() < deadline && !matches!(directory.try_lock(), Ok(Some(_))) {
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn wait_for_start(
        &self,
        directory: &InstanceDirectory,
        wanted: &Wanted,
        supervisor: Option<&Receiver<ExitStatus>>,
    ) -> Result<(), PortError> {
        let id = &wanted.id;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // Asked before the records are read, so that what a supervisor wrote last is seen.
            let ended = supervisor.and_then(|supervisor| supervisor.try_recv().ok());
            if directory.read::<ProgramRecord>().map_err(refused)?.is_some() {
                return Ok(());
            }
            if let Some(failure) = directory.read::<StartFailure>().map_err(refused)? {
                // Its supervisor is about to end; after that nothing of the instance is observed any more.
                let _ = supervisor.map(|supervisor| supervisor.recv_timeout(SUPERVISOR_END));
                self.wait_for_end_of_supervision(directory);
                return Err(PortError::new(format!("instance `{id}` cannot be started: {}", failure.reason)));
            }
            if !directory.path().exists() {
                return Err(PortError::new(format!("instance `{id}` was stopped while it was started")));
            }
            let reason = if let Some(status) = ended.filter(|status| !status.success()) {
                format!("the supervisor of instance `{id}` ended before it started anything: {status}")
            } else if Instant::now() >= deadline {
                let seconds = START_TIMEOUT.as_secs();
                format!("the supervisor of instance `{id}` did not start it within {seconds} s")
            } else {
                std::thread::sleep(LOOK_AGAIN);
                continue;
            };
            let last_lines = log_file::last_lines(&directory.supervisor_log(), EXIT_LINES);
            return Err(PortError { reason, last_lines });
        }
    }
}

/// Where the program of a release starts.
pub(super) fn workdir(release: &Release) -> std::path::PathBuf {
    // `components` drops the `.` that stands for the artifact itself.
    release.directory.join(&release.configuration.run.workdir).components().collect()
}
