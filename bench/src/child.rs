//! A program under measurement: started, waited for, and killed by its pid when it is dropped, also after an
//! error.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::Instant;

use crate::request::HOST;

const READY_WITHIN: Duration = Duration::from_secs(15);
const GONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of a failed program's own words an error repeats.
const LOG_TAIL_BYTES: usize = 2000;

/// A running program that serves HTTP on an address.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: tokio::process::Child,
    pid: u32,
    address: SocketAddr,
    h2c: SocketAddr,
    https: Option<SocketAddr>,
    log: PathBuf,
    /// Whether processes of its own do the work, which only it can end.
    leads: bool,
}

/// Why a program could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("`{program}` could not be started; build it with `cargo build --release`, or install it")]
    NotStarted {
        /// The program's path.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its files could not be prepared.
    #[error("the files for `{name}` could not be written")]
    NotPrepared {
        /// The candidate.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended instead of serving.
    #[error("`{name}` ended ({status}) instead of serving; it said:\n{log}")]
    Ended {
        /// The candidate.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// It runs and does not answer.
    #[error("`{name}` did not answer on {address} within {READY_WITHIN:?} ({last}); it said:\n{log}")]
    Silent {
        /// The candidate.
        name: String,
        /// Where it should answer.
        address: SocketAddr,
        /// What the last request met.
        last: String,
        /// The end of its output.
        log: String,
    },
}

/// What to run, and on which CPU.
#[derive(Debug)]
pub struct Invocation {
    /// The name in tables and errors.
    pub name: String,
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where it will serve.
    pub address: SocketAddr,
    /// Where it will serve HTTP/2 without TLS, if it can.
    pub h2c: SocketAddr,
    /// Where it will serve with TLS, if it does.
    pub https: Option<SocketAddr>,
    /// The only CPU it may use, by `taskset`; `None` for all.
    pub cpu: Option<usize>,
}

impl Child {
    /// Starts the program and waits until a GET through it is answered with 200. Its output goes to a file in
    /// `folder`.
    ///
    /// # Errors
    ///
    /// [`ChildError`]; the program is dead then.
    pub async fn start(invocation: Invocation, folder: &Path) -> Result<Self, ChildError> {
        let Invocation { name, program, arguments, address, h2c, https, cpu } = invocation;
        let log = folder.join(format!("{name}.log"));
        let not_prepared = |source| ChildError::NotPrepared { name: name.clone(), source };
        let output = File::create(&log).map_err(not_prepared)?;
        let errors = output.try_clone().map_err(not_prepared)?;
        // taskset becomes the program, so the pid is the program's own.
        let mut command = match cpu {
            Some(cpu) => {
                let mut pinned = Command::new("taskset");
                pinned.arg("-c").arg(cpu.to_string()).arg(&program);
                pinned
            }
            None => Command::new(&program),
        };
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
        let not_started = |source| ChildError::NotStarted { program: program.clone(), source };
        if !program.exists() {
            return Err(not_started(io::ErrorKind::NotFound.into()));
        }
        let process = command.spawn().map_err(not_started)?;
        let pid = process.id().ok_or_else(|| not_started(io::Error::other("it has no pid")))?;
        let mut child = Self { name, process, pid, address, h2c, https, log, leads: false };
        child.wait_until_it_answers().await?;
        Ok(child)
    }

    /// The same program, known to have worker processes: it is asked to end before it is killed, for else they would
    /// outlive it.
    #[must_use]
    pub fn leading(mut self) -> Self {
        self.leads = true;
        self
    }

    /// The candidate's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves HTTP/2 without TLS, if it can.
    #[must_use]
    pub fn h2c(&self) -> SocketAddr {
        self.h2c
    }

    /// Where it serves HTTP/1.1 and HTTP/2 with TLS, if it does.
    #[must_use]
    pub fn https(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Asks the program to end, and waits for that; killed if it takes longer than `within`.
    ///
    /// # Errors
    ///
    /// If it does not end by itself.
    pub async fn end(mut self, within: Duration) -> io::Result<std::process::ExitStatus> {
        self.signal(Signal::TERM)?;
        tokio::time::timeout(within, self.process.wait()).await?
    }

    /// Sends a signal to the program, and to none of its workers.
    ///
    /// # Errors
    ///
    /// If there is no such process any more.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no pid"))?;
        Ok(kill_process(pid, signal)?)
    }

    async fn wait_until_it_answers(&mut self) -> Result<(), ChildError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(ChildError::Ended { name: self.name.clone(), status, log: self.log_tail() });
            }
            let mut plan = Plan::new(self.address).with(1, Client::fresh("/"));
            plan = plan.host(HOST);
            plan.max_requests = Some(1);
            plan.timeout = Duration::from_secs(1);
            let report = Load::start(plan).finish().await;
            if report.is_clean() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (name, address, log) = (self.name.clone(), self.address, self.log_tail());
                return Err(ChildError::Silent { name, address, last: report.to_string(), log });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether it has ended within [`GONE_WITHIN`]; an error counts as that.
    fn is_gone_in_time(&mut self) -> bool {
        let deadline = std::time::Instant::now() + GONE_WITHIN;
        while let Ok(None) = self.process.try_wait() {
            if std::time::Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }
}

/// Kills the program and waits until it is gone, so that nothing of a measurement outlives it.
impl Drop for Child {
    fn drop(&mut self) {
        if self.leads && self.signal(Signal::TERM).is_ok() && self.is_gone_in_time() {
            return;
        }
        // An error means that it has ended by itself.
        if self.process.start_kill().is_ok() {
            self.is_gone_in_time();
        }
    }
}

/// A loopback port that was free a moment ago, for a program that cannot be handed a bound socket.
///
/// # Errors
///
/// If the kernel has none left.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
