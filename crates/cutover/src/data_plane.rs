//! The proxy as a process of its own: started if it is not there, started again if it dies.
//!
//! It outlives the controller on purpose: a restarted controller finds it by its socket. Where it is a unit of systemd,
//! that one starts it, when the controller asks, and again when it dies.

mod log;
pub(crate) mod unit;

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cutover_adapters::embedded::EmbeddedRouter;
use cutover_core::routing::{Clients, Listen, TableDocument};
use cutover_proxy::handed;

use crate::data_plane::unit::ProxyUnit;
use crate::state_directory::StateDirectory;

/// A proxy that has not answered after this time did not start.
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// How soon a proxy that died is noticed.
const WATCH: Duration = Duration::from_millis(50);
/// How often a proxy that lives is asked whether it is still the same run.
const ASK: Duration = Duration::from_secs(1);
/// How long clients are refused at most after a start of the host, while what was live is started.
pub(crate) const HOLD_LIMIT: Duration = Duration::from_secs(60);
/// Lowest of all processes of ours: it is the last that memory pressure should take.
const SPARE_ME: &str = "-900";

/// The proxy of a state directory.
pub(crate) struct DataPlane {
    state: StateDirectory,
    program: PathBuf,
    router: EmbeddedRouter,
    child: Option<Child>,
    unit: Option<ProxyUnit>,
    hold: Hold,
    /// What the next proxy that is started holds its clients to.
    clients: Clients,
    /// Sockets that this controller was started with, for each proxy that it starts.
    handed: Vec<TcpListener>,
}

/// Whether clients are to be refused for now, also by a proxy that is started again meanwhile.
#[derive(Clone)]
pub(crate) struct Hold {
    wanted: Arc<AtomicBool>,
    router: EmbeddedRouter,
    workers: usize,
    unit: Option<ProxyUnit>,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataPlaneError {
    #[error("the proxy cannot be started: {0}")]
    Start(#[from] io::Error),
    #[error("the proxy ended at its start: {last_line}")]
    Ended { last_line: String },
    #[error("the proxy that runs already, pid {pid}, does not answer")]
    Hangs { pid: u32 },
    #[error("the proxy did not answer within {START_LIMIT:?}; its log is `{}`", log.display())]
    Silent { log: PathBuf },
    #[error("`{unit}` did not start: {last_line}")]
    UnitFailed { unit: String, last_line: String },
    #[error("`{unit}` did not answer within {START_LIMIT:?}")]
    UnitSilent { unit: String },
}

impl DataPlane {
    /// With the name of a unit, systemd is asked to start that one instead.
    pub(crate) fn new(
        state: StateDirectory,
        program: PathBuf,
        workers: usize,
        clients: Clients,
        handed: Vec<TcpListener>,
        unit: Option<String>,
    ) -> Self {
        let router = EmbeddedRouter::new(state.proxy_socket());
        let unit = unit.map(|name| ProxyUnit::new(name, &state));
        let hold = Hold { wanted: Arc::default(), router: router.clone(), workers, unit: unit.clone() };
        Self { state, program, router, child: None, unit, hold, clients, handed }
    }

    /// Finds the proxy that runs, or starts one that listens there; answers where it really listens.
    ///
    /// One that is started here refuses clients if `hold` says so, until the hold ends; one that runs already goes on
    /// as it is.
    pub(crate) async fn ensure(&mut self, listen: &Listen, hold: bool) -> Result<Listen, DataPlaneError> {
        if let (Ok(table), Ok(seen)) = (self.router.table().await, self.router.seen().await) {
            // A controller that ended too early may have left one that refuses clients.
            self.hold.wanted.store(!seen.listening, Ordering::SeqCst);
            if let Some(unit) = &self.unit {
                // For its next start, whoever causes it.
                unit.write(&self.seed(listen), &self.hold.arguments())?;
            }
            if table.clients != self.clients_of(&table.listen) {
                tracing::warn!(
                    "the proxy that runs already holds clients to something else; `cutover shutdown` ends it, and the next start uses `--clients`"
                );
            }
            return Ok(table.listen);
        }
        self.hold.wanted.store(hold, Ordering::SeqCst);
        if let Some(unit) = &self.unit {
            unit.write(&self.seed(listen), &self.hold.arguments())?;
        }
        self.start(listen).await
    }

    /// What the clients of these listeners are held to. Where TLS is not spoken nothing is said of it, so that an older proxy
    /// understands what it is told.
    fn clients_of(&self, listen: &Listen) -> Clients {
        let mut clients = self.clients.clone();
        if !listen.https.is_empty() {
            clients.tls.directory = Some(self.state.served_certificates());
        }
        clients
    }

    fn seed(&self, listen: &Listen) -> String {
        seed(listen, &self.clients_of(listen))
    }

    /// Whether the proxy refuses clients for now, and the way to end that.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold.wanted.load(Ordering::SeqCst).then(|| self.hold.clone())
    }

    async fn start(&mut self, listen: &Listen) -> Result<Listen, DataPlaneError> {
        if let Some(unit) = &self.unit {
            unit.start().await?;
        } else {
            std::fs::write(self.state.proxy_seed(), self.seed(listen))?;
            self.start_child().await?;
        }
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(table) = self.router.table().await {
                return Ok(table.listen);
            }
            if self.has_ended() {
                // Its socket may be another's who is there and says nothing.
                return Err(match self.router.holder().await.filter(|pid| exists(*pid)) {
                    Some(pid) => DataPlaneError::Hangs { pid },
                    None => DataPlaneError::Ended { last_line: self.last_line() },
                });
            }
            if let Some(unit) = &self.unit {
                unit.check().await?;
            }
            if Instant::now() > deadline {
                return Err(match &self.unit {
                    Some(unit) => unit.silent(),
                    None => DataPlaneError::Silent { log: self.state.proxy_log() },
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn start_child(&mut self) -> Result<(), DataPlaneError> {
        self.bound_log().await;
        let log = File::options().create(true).append(true).open(self.state.proxy_log())?;
        let mut command = Command::new(&self.program);
        command
            .args(["proxy", "--own-session", "--table"])
            .arg(self.state.proxy_seed())
            .arg("--admin")
            .arg(self.state.proxy_socket())
            .arg("--live")
            .arg(self.state.live_directory())
            .arg("--preview-key")
            .arg(self.state.preview_key())
            .args(self.hold.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // What was handed to the controller is handed on in another way.
            .env_remove("LISTEN_FDS")
            .current_dir("/");
        let handing = if self.handed.is_empty() {
            None
        } else {
            let (ours, theirs) = UnixStream::pair()?;
            command.arg("--sockets-on-stdin").stdin(OwnedFd::from(theirs));
            handed::send(&ours, &self.handed)?;
            Some(ours)
        };
        let child = command.spawn()?;
        drop(handing);
        // Only root may; without it the proxy is as likely to go as the rest.
        let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), SPARE_ME);
        self.child = Some(child);
        Ok(())
    }

    /// Whether a child of ours has ended; reaps it.
    fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended {
            self.child = None;
        }
        ended
    }

    async fn bound_log(&self) {
        let log = self.state.proxy_log();
        // Its own errors are told where they happen.
        let _ = tokio::task::spawn_blocking(move || log::bound(&log)).await;
    }

    fn last_line(&self) -> String {
        let log = std::fs::read_to_string(self.state.proxy_log()).unwrap_or_default();
        let line = log.lines().last().unwrap_or("it said nothing");
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    }

    /// Starts the proxy again whenever it is gone, for as long as it is polled; `restarted` is told each time that
    /// another run answers, whoever started it.
    pub(crate) async fn keep_alive(mut self, listen: Listen, restarted: impl Fn()) {
        let mut run = self.router.seen().await.ok().map(|seen| (seen.boot_id, seen.pid));
        let mut asked = Instant::now();
        let mut pause = WATCH;
        loop {
            tokio::time::sleep(pause).await;
            let lives = !self.has_ended() && run.as_ref().is_some_and(|(_, pid)| exists(*pid));
            if lives && asked.elapsed() < ASK {
                continue;
            }
            asked = Instant::now();
            pause = WATCH;
            if self.unit.is_none() {
                self.bound_log().await;
            }
            match self.router.seen().await {
                Ok(seen) if run.as_ref().is_some_and(|(boot_id, _)| *boot_id == seen.boot_id) => {}
                Ok(seen) => {
                    run = Some((seen.boot_id, seen.pid));
                    self.hold.let_go_of(seen.listening).await;
                    restarted();
                }
                // It is there and says something else than it should: another one could not even start.
                Err(reason) if lives => tracing::warn!(%reason, "the proxy does not answer as it should"),
                Err(reason) => {
                    tracing::warn!(%reason, "the proxy is gone, starting it again");
                    if let Err(error) = self.start(&listen).await {
                        tracing::error!(%error, "the proxy could not be started again");
                        pause = ASK;
                    }
                }
            }
        }
    }
}

impl Hold {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--workers".to_owned(), self.workers.to_string()];
        if self.wanted.load(Ordering::SeqCst) {
            arguments.extend(["--hold-listeners".to_owned(), format!("{}s", HOLD_LIMIT.as_secs())]);
        }
        arguments
    }

    /// A proxy that systemd has started again may have been told to hold by what was true before.
    async fn let_go_of(&self, listening: bool) {
        if !listening
            && !self.wanted.load(Ordering::SeqCst)
            && let Err(reason) = self.router.accept_clients().await
        {
            tracing::warn!(%reason, "the proxy does not accept clients");
        }
    }

    /// Has clients accepted, by the proxy that runs and by each that is started from now on.
    pub(crate) async fn end(self) {
        self.wanted.store(false, Ordering::SeqCst);
        if let Some(unit) = &self.unit
            && let Err(error) = unit.write_arguments(&self.arguments())
        {
            tracing::warn!(%error, "a proxy that dies would hold its clients once more");
        }
        loop {
            match self.router.seen().await {
                Ok(seen) if seen.listening => return,
                Ok(_) => {
                    if let Err(reason) = self.router.accept_clients().await {
                        tracing::warn!(%reason, "the proxy does not accept clients yet");
                    }
                }
                // It is being started again.
                Err(_) => {}
            }
            tokio::time::sleep(WATCH).await;
        }
    }
}

fn seed(listen: &Listen, clients: &Clients) -> String {
    let document = TableDocument { listen: listen.clone(), clients: clients.clone(), services: Vec::new() };
    let text =
        toml::to_string(&document).unwrap_or_else(|error| unreachable!("it has no map in a list: {error}"));
    format!("# Written by `cutover serve`: where the proxy listens, and what it holds clients to.\n{text}")
}

/// Whether a process lives. One that only waits to be reaped does not, and whoever has it for a child now may be in no hurry.
fn exists(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, a bracket too (proc(5)).
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
