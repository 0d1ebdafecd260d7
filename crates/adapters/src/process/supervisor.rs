//! The hidden command `cutover instance`: one small process beside each program, as containerd-shim and conmon
//! are beside containers.
//!
//! It starts the program, carries its output, starts it again when it ends, and stops it when told to. It knows
//! nothing of releases or traffic, survives the controller, and when it is killed itself its successor goes on
//! with the program that is already there.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::sleep;

use super::backoff::Backoff;
use super::census::{Census, Snapshot};
use super::command::StartError;
use super::directory::{InstanceDirectory, RecordError};
use super::output::Output;
use super::priority::{self, IDLE, LIVE};
use super::process_table::{self, ProcessIdentity};
use super::program::Program;
use super::record::{ExitRecord, InstanceRecord, ProgramRecord, StartFailure, SupervisorRecord, now};
use super::signals;

/// How often a process that shall end is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// After a kill that did not work within this time, the process hangs in the kernel and is left to the executor.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a supervisor gave up.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The directory holds no plan.
    #[error("`{0}` is not the directory of an instance")]
    NoInstance(std::path::PathBuf),
    /// A file of the instance could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The operating system refused something that it normally grants.
    #[error("cannot {deed}")]
    System {
        /// What was tried.
        deed: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn system(deed: &'static str) -> impl FnOnce(io::Error) -> SupervisorError {
    move |source| SupervisorError::System { deed, source }
}

/// Supervises the instance in this directory until it is told to stop by SIGTERM or SIGINT.
///
/// Returns at once if another supervisor has the instance. If the program cannot be started at all, that is
/// written down for the executor and `Ok` is returned. What has to be said beyond that comes back as the error;
/// nothing is printed.
///
/// # Errors
/// [`SupervisorError`]; a program that was written down by then goes on, and the next supervisor takes it over.
pub fn run(directory: &Path) -> Result<(), SupervisorError> {
    let directory = InstanceDirectory::at(directory.to_owned());
    let Some(_lock) = directory.try_lock()? else {
        return Ok(());
    };
    let Some(plan) = directory.read::<InstanceRecord>()? else {
        return Err(SupervisorError::NoInstance(directory.path().to_owned()));
    };
    lead_session()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(system("start a runtime"))?.block_on(supervise(&plan, &directory))
}

/// Leaves the controller's session and terminal; a service manager may have seen to that already.
fn lead_session() -> Result<(), SupervisorError> {
    match rustix::process::setsid() {
        Err(_) if process_table::leads_session() => Ok(()),
        answer => answer.map(drop).map_err(|error| system("start a session")(error.into())),
    }
}

async fn supervise(plan: &InstanceRecord, directory: &InstanceDirectory) -> Result<(), SupervisorError> {
    let mut stop = StopRequest::listen().map_err(system("listen for signals"))?;
    let output = Output::open(directory).map_err(system("open the output pipe"))?;
    let mut supervision = Supervision { plan, directory, output };
    let survivor = supervision.survivor().await?;
    if survivor.is_none() {
        // Until it is live it is the first to go when memory runs out; what it starts inherits that.
        // Workers run only for what is live.
        let adjustment = if plan.worker.is_some() { LIVE } else { IDLE };
        let _ = priority::set(i32::try_from(std::process::id()).unwrap_or_default(), adjustment);
    }
    supervision.introduce()?;
    let mut program = match survivor {
        Some(program) => program,
        None => match Program::start(plan, directory, supervision.starts_before()?) {
            Ok(program) => program,
            Err(error) => {
                return Ok(directory.write(&StartFailure { reason: error.to_string() })?);
            }
        },
    };
    let mut since = Instant::now();
    if let Err(error) = directory.write(program.record()) {
        program.signal_group(Signal::KILL);
        program.ended().await;
        program.reap();
        return Err(error.into());
    }
    let mut backoff = Backoff::new();
    let mut restarts = program.record().restarts;
    loop {
        if supervision.wait_for_end(&program, &mut stop).await? {
            return supervision.terminate(program).await;
        }
        // What it leaves behind could hold the port that its successor needs.
        supervision.kill_members().await?;
        supervision.note_exit(program.reap(), restarts);
        program = loop {
            let wait = backoff.after(since.elapsed());
            if supervision.rest(wait, &mut stop).await? {
                return Ok(());
            }
            since = Instant::now();
            restarts = restarts.saturating_add(1);
            match Program::start(plan, directory, restarts) {
                Ok(program) => break program,
                Err(error) => supervision.note_failed_start(&error, restarts),
            }
        };
        // From here on a full disk must not end anything; without this record the session tells who is there.
        let _ = directory.write(program.record());
    }
}

struct Supervision<'a> {
    plan: &'a InstanceRecord,
    directory: &'a InstanceDirectory,
    output: Output,
}

impl Supervision<'_> {
    /// The program that an earlier supervisor left running; what else it left is killed.
    async fn survivor(&mut self) -> Result<Option<Program>, SupervisorError> {
        let census = self.census()?;
        let recorded = self.directory.read::<ProgramRecord>()?;
        let is_member = |identity| census.members.iter().any(|member| member.identity == identity);
        let record = recorded.filter(|record| is_member(record.identity)).or_else(|| {
            // The earlier supervisor was killed between start and record: the program leads its group.
            let leads = census.members.iter().filter(|member| member.group == member.identity.pid);
            let first = leads.min_by_key(|member| member.identity.start_time)?;
            let restarts = recorded.map_or(0, |record| record.restarts);
            let (identity, session) = (first.identity, first.session);
            Some(ProgramRecord { identity, session, started_at: now(), restarts })
        });
        let program = record.and_then(Program::attach);
        if program.is_none() {
            self.kill_members().await?;
        }
        Ok(program)
    }

    fn introduce(&self) -> Result<(), SupervisorError> {
        let own = i32::try_from(std::process::id()).ok().and_then(ProcessIdentity::of);
        let identity = own.ok_or_else(|| system("find itself")(io::ErrorKind::NotFound.into()))?;
        let boot_id = process_table::boot_id().map_err(system("read the boot id"))?;
        Ok(self.directory.write(&SupervisorRecord { identity, boot_id })?)
    }

    /// Waits for the program's end (`false`) or a request to stop (`true`), carrying output.
    async fn wait_for_end(
        &mut self,
        program: &Program,
        stop: &mut StopRequest,
    ) -> Result<bool, SupervisorError> {
        tokio::select! {
            biased;
            () = stop.requested() => Ok(true),
            () = program.ended() => Ok(false),
            broken = self.output.pump() => Err(output_broke(broken)),
        }
    }

    /// Waits before the next start; `true` if it is not wanted any more.
    async fn rest(&mut self, time: Duration, stop: &mut StopRequest) -> Result<bool, SupervisorError> {
        tokio::select! {
            biased;
            () = stop.requested() => Ok(true),
            () = sleep(time) => Ok(false),
            broken = self.output.pump() => Err(output_broke(broken)),
        }
    }

    /// Asks the program to stop and waits for all that it started, then kills what is left.
    async fn terminate(&mut self, program: Program) -> Result<(), SupervisorError> {
        let deadline = Instant::now() + self.plan.stop_timeout.min(super::LONGEST_STOP);
        program.signal_group(signals::parse(&self.plan.stop_signal).unwrap_or(Signal::TERM));
        while !self.members()?.is_empty() {
            if Instant::now() >= deadline {
                self.kill_members().await?;
                break;
            }
            tokio::select! {
                () = sleep(LOOK_AGAIN) => {}
                broken = self.output.pump() => return Err(output_broke(broken)),
            }
        }
        let restarts = program.record().restarts;
        self.note_exit(program.reap(), restarts);
        Ok(())
    }

    /// Kills everything of this instance but the supervisor, wherever it has gone, and waits until it is gone.
    async fn kill_members(&self) -> Result<(), SupervisorError> {
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let left = self.left()?;
            if left.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            for handle in left.into_iter().filter_map(ProcessIdentity::open) {
                let _ = handle.signal(Signal::KILL);
            }
            sleep(LOOK_AGAIN / 4).await;
        }
    }

    /// The members, and what has made sessions of its own.
    fn left(&self) -> Result<Vec<ProcessIdentity>, SupervisorError> {
        let snapshot = self.snapshot()?;
        let mut left = self.members_in(&snapshot)?;
        left.extend(snapshot.carriers(&self.plan.id).into_iter().map(|carrier| carrier.identity));
        Ok(left)
    }

    fn members(&self) -> Result<Vec<ProcessIdentity>, SupervisorError> {
        self.members_in(&self.snapshot()?)
    }

    fn members_in(&self, snapshot: &Snapshot) -> Result<Vec<ProcessIdentity>, SupervisorError> {
        let own = std::process::id().cast_signed();
        let members = Census::of(self.directory, snapshot)?.members.into_iter().map(|member| member.identity);
        Ok(members.filter(|identity| identity.pid != own).collect())
    }

    fn census(&self) -> Result<Census, SupervisorError> {
        Ok(Census::of(self.directory, &self.snapshot()?)?)
    }

    fn snapshot(&self) -> Result<Snapshot, SupervisorError> {
        let snapshot = Snapshot::take(self.plan.home.as_ref().map(|home| home.id.clone()));
        snapshot.map_err(system("read the process table"))
    }

    /// How many starts there were under earlier supervisors; what they started has ended.
    fn starts_before(&self) -> Result<u32, RecordError> {
        let last = self.directory.read::<ProgramRecord>()?;
        Ok(last.map_or(0, |program| program.restarts.saturating_add(1)))
    }

    fn note_exit(&mut self, how: String, restarts: u32) {
        self.output.drain();
        // Best effort: a full disk must not end the supervision.
        let _ = self.directory.write(&ExitRecord { how, at: now(), restarts });
    }

    fn note_failed_start(&mut self, error: &StartError, restarts: u32) {
        self.note_exit(format!("not started again: {error}"), restarts);
    }
}

fn output_broke(broken: io::Result<Infallible>) -> SupervisorError {
    let Err(source) = broken;
    SupervisorError::System { deed: "read the output pipe", source }
}

/// SIGTERM and SIGINT; SIGHUP is heard and does nothing.
struct StopRequest {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    _hang_up: unix::Signal,
}

impl StopRequest {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            _hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
