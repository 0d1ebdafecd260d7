//! The one place where the rooms are put together.

mod restoration;

use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cutover_adapters::acme::AcmeAuthority;
use cutover_adapters::certificates::DirectoryShelf;
use cutover_adapters::embedded::EmbeddedRouter;
use cutover_adapters::gates::{Gatekeeper, Leads, SignedWay};
use cutover_adapters::http_health::HttpHealth;
use cutover_adapters::listener_probe::{ListenerProbe, UsersWay};
use cutover_adapters::notify::Receivers;
use cutover_adapters::preview_key;
use cutover_adapters::preview_key::Readers;
use cutover_adapters::process::{Parent, ProcessExecutor, ProcessSettings};
use cutover_adapters::release_store::DirectoryStore;
use cutover_controller::certificates::{self, Listeners, chance};
use cutover_controller::ports::{DeploymentExecutor, Mandate};
use cutover_controller::{
    CertificateKeeper, Clock, DeploymentManager, Keep, Keeping, Ports, SqliteJournal, SystemClock, Tidied,
};
use cutover_core::preview::PreviewKey;
use cutover_core::routing::{Clients, Listen};
use rustix::net::{AddressFamily, SocketType, bind, socket};
use tokio::net::{TcpListener as Figures, UnixListener};
use tokio::sync::mpsc;

use crate::api::server::{self, Outside, Served};
use crate::api::views::ControllerView;
use crate::api::{VERSION, metrics};
use crate::cli::exit::{Exit, Failure};
use crate::data_plane::{DataPlane, DataPlaneError, HOLD_LIMIT, Hold};
use crate::state_directory::{ControllerLock, StateDirectory, StateError};
use crate::wiring::restoration::Restoration;

/// What a controller that ends still does takes so long at most.
const LAST_DEEDS: Duration = Duration::from_secs(2);
/// The ports that browsers take where an address names none.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const LOCK_POLL: Duration = Duration::from_millis(20);

/// How often services that rest are compared with what really runs.
const LOOK: Duration = Duration::from_secs(5);

/// What a controller is started with.
#[derive(Debug)]
pub(crate) struct ServeSettings {
    pub(crate) state: StateDirectory,
    pub(crate) http: Vec<SocketAddr>,
    /// Where TLS is spoken; empty if nobody has said.
    pub(crate) https: Vec<SocketAddr>,
    /// Sockets that somebody has bound for the proxy.
    pub(crate) handed: Vec<TcpListener>,
    pub(crate) clients: Clients,
    /// Where figures are given.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) workers: usize,
    pub(crate) instance_ports: RangeInclusive<u16>,
    /// This binary, for the proxy and the supervisors.
    pub(crate) program: PathBuf,
    /// How much of the past stays.
    pub(crate) keep: Keep,
    /// How often what is older is removed.
    pub(crate) tidy_every: Duration,
    /// The unit that systemd shall start as the proxy; without one, the proxy is started as a child.
    pub(crate) proxy_unit: Option<String>,
    /// Who starts the supervisors of instances.
    pub(crate) parent: Parent,
}

/// A controller with everything around it, not yet serving.
pub(crate) struct World {
    pub(crate) controller: ControllerView,
    served: Served,
    socket: UnixListener,
    /// Where figures are given.
    figures: Option<Figures>,
    router: EmbeddedRouter,
    data_plane: DataPlane,
    restoration: Restoration,
    shutdown: mpsc::Receiver<()>,
    certificates: CertificateKeeper,
    manager: Arc<DeploymentManager>,
    keep: Keep,
    tidy_every: Duration,
    state: StateDirectory,
    /// Held for the life of the controller.
    lock: Arc<ControllerLock>,
}

/// How a controller ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The controller alone: proxy and instances go on.
    ControllerOnly,
    /// Everything, with so many instances stopped.
    Everything { instances: usize },
    /// Another controller has taken over, for this reason; nothing was touched.
    Deposed { reason: String },
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match &error {
            StateError::Unusable { .. } => Self::new(Exit::Refused, error.to_string())
                .hint("name a directory that you may write to with `--state-dir`"),
            StateError::Taken(_) => Self::new(Exit::Refused, error.to_string())
                .hint("stop that one first, or give this one a `--state-dir` of its own"),
        }
    }
}

impl From<DataPlaneError> for Failure {
    fn from(error: DataPlaneError) -> Self {
        let hint = match &error {
            DataPlaneError::Ended { .. } => {
                "`--http` and `--https` choose other addresses; the proxy's log is in `proxy/proxy.log`"
            }
            DataPlaneError::Hangs { pid } => {
                let hint = format!(
                    "`kill -CONT {pid}` if it was stopped, else `kill -KILL {pid}`: the next start goes on with the table \
                     that it had; what it said last is in `proxy/proxy.log`"
                );
                return Self::new(Exit::Refused, error.to_string())
                    .hint(format!("{hint} of the state directory"));
            }
            DataPlaneError::Start(_) | DataPlaneError::Silent { .. } => {
                "what it said last is in `proxy/proxy.log`"
            }
            DataPlaneError::UnitFailed { unit, .. } | DataPlaneError::UnitSilent { unit } => {
                let hint = format!("`journalctl --unit {unit}` shows what it said");
                return Self::new(Exit::Refused, error.to_string()).hint(hint);
            }
        };
        Self::new(Exit::Refused, error.to_string()).hint(format!("{hint} of the state directory"))
    }
}

/// Whoever ends gives the lock back last. A controller that is just ending is waited for, another one is not.
async fn lock(state: &StateDirectory) -> Result<ControllerLock, StateError> {
    let deadline = tokio::time::Instant::now() + LAST_DEEDS;
    loop {
        match state.lock() {
            Err(StateError::Taken(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOCK_POLL).await;
            }
            result => return result,
        }
    }
}

impl World {
    /// Puts a controller together, in order: directory, lock, journal, what runs, proxy, ports, recovery, socket.
    pub(crate) async fn build(settings: ServeSettings) -> Result<Self, Failure> {
        let state = settings.state;
        state.prepare()?;
        let lock = Arc::new(lock(&state).await?);
        let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, error.to_string());
        let journal = SqliteJournal::open(&state.journal()).map_err(|error| refused(&error))?;
        let figures = match settings.metrics {
            Some(address) => Some(
                metrics::listener::bind(address)
                    .await
                    .map_err(|error| refused(&error).hint("`--metrics` chooses another address, or none"))?,
            ),
            None => None,
        };
        let clock = SystemClock::start_after(&journal).await.map_err(|error| refused(&error))?;
        let mut processes = ProcessSettings::new(state.path().to_owned(), settings.program.clone());
        let instance_ports = (*settings.instance_ports.start(), *settings.instance_ports.end());
        processes.ports = settings.instance_ports;
        processes.parent = settings.parent;
        processes.live = state.live_directory();
        let executor = ProcessExecutor::new(processes, lock.clone()).map_err(|error| refused(&error))?;
        let preview_key = preview_key(&state, settings.proxy_unit.is_some());
        let restoration = Restoration::needed(&journal, &executor).await.map_err(|error| refused(&error))?;
        let shelf = shelf(&state, settings.proxy_unit.is_some())?;
        for listener in settings.handed.iter().filter_map(|listener| listener.local_addr().ok()) {
            let named = settings.http.iter().chain(&settings.https);
            if !named.clone().any(|address| address.port() == listener.port()) && listener.port() != HTTPS {
                tracing::warn!(address = %listener, "a socket was handed in that neither `--http` nor `--https` names; nobody is answered there");
            }
        }
        let is_unit = settings.proxy_unit.is_some();
        if is_unit && !settings.handed.is_empty() {
            return Err(Failure::new(
                Exit::Refused,
                "sockets were handed to the controller, and the proxy is another unit",
            )
            .hint("give them to the unit of the proxy: `Sockets=` of its `[Service]`"));
        }
        let handed: Vec<SocketAddr> =
            settings.handed.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let mut data_plane = DataPlane::new(
            state.clone(),
            settings.program,
            settings.workers,
            settings.clients,
            settings.handed,
            settings.proxy_unit,
        );
        let runs = EmbeddedRouter::new(state.proxy_socket()).table().await.ok().map(|table| table.listen);
        let wanted = listeners(settings.http, settings.https, &handed, runs, is_unit);
        let listen = data_plane.ensure(&wanted, restoration.is_needed()).await?;
        warn_if_elsewhere(&wanted.http, &listen.http);
        warn_if_elsewhere(&wanted.https, &listen.https);
        let Listen { http, https } = listen;
        let executor = Arc::new(executor);
        let router = EmbeddedRouter::new(state.proxy_socket());
        let store = DirectoryStore::new(state.path(), lock.clone()).map_err(|error| refused(&error))?;
        let uploads = store.uploads();
        let notifier = Receivers::new(state.path(), lock.clone()).map_err(|error| refused(&error))?;
        let rehearsal = Arc::new(store.clone());
        let listeners = http.clone();
        let gatekeeper = Arc::new(Gatekeeper::new(
            state.path().to_owned(),
            executor.clone(),
            Arc::new(move || listeners.clone()),
            signed_way(preview_key.clone()),
        ));
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let certificate_clock = Arc::clone(&clock);
        let ports = Ports {
            executor: executor.clone(),
            router: Arc::new(router.clone()),
            prober: Arc::new(ListenerProbe::new(
                Listen { http: http.clone(), https: https.clone() },
                users_way(preview_key.clone()),
            )),
            health: Arc::new(HttpHealth),
            releases: Arc::new(store),
            clock,
            mandate: lock.clone(),
            notifier: Arc::new(notifier),
            gates: gatekeeper.clone(),
            migrator: gatekeeper,
        };
        let manager =
            DeploymentManager::start(ports, Arc::new(journal)).await.map_err(|error| refused(&error))?;
        let manager = Arc::new(manager);
        let controller = ControllerView {
            v: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            http,
            https,
            metrics: figures.as_ref().and_then(|listener| listener.local_addr().ok()),
            instance_ports: Some(instance_ports),
            state_directory: state.path().display().to_string(),
        };
        let certificates = CertificateKeeper::new(Keeping {
            tenants: manager.clone(),
            shelf: Arc::new(shelf),
            authority: Arc::new(AcmeAuthority::new(state.path())),
            front: Arc::new(router.clone()),
            clock: certificate_clock,
            random: Arc::new(chance),
            listeners: Listeners {
                tls: !controller.https.is_empty(),
                plain: controller.http.iter().any(|address| address.port() == HTTP),
            },
            every: certificates::LOOK,
        });
        let (end, shutdown) = mpsc::channel(1);
        let socket = server::bind(&state.api_socket()).map_err(|error| refused(&error))?;
        let outside = Outside {
            logs: executor.clone(),
            console: executor.clone(),
            meter: executor,
            rehearsal,
            uploads,
            router: router.clone(),
            preview_key,
            certificates: certificates.clone(),
        };
        let served = Served::new(Arc::clone(&manager), controller.clone(), end, outside);
        Ok(Self {
            controller,
            served,
            socket,
            figures,
            router,
            data_plane,
            restoration,
            shutdown,
            certificates,
            manager,
            keep: settings.keep,
            tidy_every: settings.tidy_every,
            state,
            lock,
        })
    }

    /// Serves until `stop` completes or somebody asks for the end of everything.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) -> Result<Ending, Failure> {
        let Self {
            controller,
            served,
            socket,
            figures,
            router,
            data_plane,
            restoration,
            mut shutdown,
            certificates,
            manager,
            keep,
            tidy_every,
            state,
            lock,
        } = self;
        let accepting = data_plane.hold().map(|hold| {
            let manager = Arc::clone(&manager);
            tokio::spawn(async move { accept_after(&restoration, &manager, hold).await })
        });
        let observing = Arc::clone(&manager);
        let listen = Listen { http: controller.http, https: controller.https };
        let plane = data_plane.keep_alive(listen, move || {
            // On a task of its own: a proxy that dies meanwhile must be noticed.
            let observing = Arc::clone(&observing);
            tokio::spawn(async move { observing.look_again().await });
        });
        let plane = tokio::spawn(plane);
        let figures =
            figures.map(|listener| tokio::spawn(metrics::listener::serve(listener, served.clone())));
        let api = tokio::spawn(server::serve(socket, served, Arc::new(router.clone())));
        let resting = Arc::clone(&manager);
        let looking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                resting.look_at_what_rests().await;
            }
        });
        let tidying = tokio::spawn(tidy_for_ever(Arc::clone(&manager), keep, tidy_every));
        let certifying = tokio::spawn(async move { certificates.run().await });
        let telling = Arc::clone(&manager);
        let telling = tokio::spawn(async move { telling.tell_for_ever().await });
        let ending = tokio::select! {
            () = stop => Ending::ControllerOnly,
            reason = manager.deposed() => Ending::Deposed { reason },
            Some(()) = shutdown.recv() => if let Err(reason) = lock.holds() {
                // What is there is another controller's to end.
                Ending::Deposed { reason }
            } else {
                plane.abort();
                looking.abort();
                accepting.iter().for_each(tokio::task::JoinHandle::abort);
                // First the clients, then what serves them.
                if let Err(error) = router.shut_down().await {
                    tracing::warn!(%error, "the proxy was gone already");
                }
                while router.seen().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let stopped = manager.stop_everything().await;
                let instances = stopped.map_err(|error| Failure::new(Exit::Stuck, error.to_string()))?;
                Ending::Everything { instances }
            }
        };
        plane.abort();
        looking.abort();
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        api.abort();
        figures.iter().for_each(tokio::task::JoinHandle::abort);
        telling.abort();
        certifying.abort();
        tidying.abort();
        // The socket of a controller that was taken over from is the other's by now.
        if !matches!(ending, Ending::Deposed { .. }) {
            let _ = std::fs::remove_file(state.api_socket());
        }
        Ok(ending)
    }
}

/// The shelf with certificates, before a proxy is started that looks at it.
fn shelf(state: &StateDirectory, proxy_is_another_user: bool) -> Result<DirectoryShelf, Failure> {
    let readers = if proxy_is_another_user { Readers::Group } else { Readers::Owner };
    DirectoryShelf::open(state.path(), readers).map_err(|error| {
        Failure::new(
            Exit::Refused,
            format!("there is no place for certificates in the state directory: {error}"),
        )
    })
}

/// Where clients are accepted. Where nobody has said so, TLS is spoken where it is spoken already, or else beside the port
/// for HTTP, if that one is free. A unit has other privileges than this process, so `setup` has decided for it.
fn listeners(
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    handed: &[SocketAddr],
    runs: Option<Listen>,
    is_unit: bool,
) -> Listen {
    if !https.is_empty() {
        return Listen { http, https };
    }
    if let Some(runs) = runs {
        return Listen { http, https: runs.https };
    }
    let usual = http.iter().find(|address| address.port() == HTTP).filter(|_| !is_unit);
    let beside = usual.map(|usual| SocketAddr::new(usual.ip(), HTTPS));
    let https =
        beside.filter(|address| handed.iter().any(|handed| handed.port() == HTTPS) || is_free(*address));
    Listen { http, https: https.into_iter().collect() }
}

/// Whether an address can be bound. Nobody listens there meanwhile, so that no client is accepted and cut.
fn is_free(address: SocketAddr) -> bool {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let bound = socket(family, SocketType::STREAM, None).and_then(|socket| bind(&socket, &address));
    if let Err(error) = bound {
        tracing::warn!(%address, %error, "TLS is not spoken: `--https` chooses another address");
    }
    bound.is_ok()
}

/// The key of previews, before a proxy is started that reads it. Without one there are no previews, and all else goes on.
fn preview_key(state: &StateDirectory, proxy_is_another_user: bool) -> Option<PreviewKey> {
    let readers = if proxy_is_another_user { Readers::Group } else { Readers::Owner };
    let key = preview_key::of_host(&state.preview_key(), readers);
    key.inspect_err(|error| tracing::error!(%error, "there is no key to sign previews with")).ok()
}

/// The ways by which suites reach a release before users do, and as they do.
fn signed_way(key: Option<PreviewKey>) -> SignedWay {
    Arc::new(move |service, leads, until| {
        let tag = match leads {
            Leads::To(release) => release.as_str(),
            Leads::AsUsers => PreviewKey::AS_USERS,
        };
        Some(key.as_ref()?.sign(service, tag, until))
    })
}

/// What says that somebody of us asks as users do.
fn users_way(key: Option<PreviewKey>) -> UsersWay {
    Arc::new(move |service, until| Some(key.as_ref()?.sign(service, PreviewKey::AS_USERS, until)))
}

/// Removes what is older than what shall be kept, now and then.
async fn tidy_for_ever(manager: Arc<DeploymentManager>, keep: Keep, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match manager.tidy(&keep).await {
            Ok(tidied) if tidied == Tidied::default() => {}
            Ok(tidied) => tracing::info!(?tidied, "removed what is old"),
            Err(error) => tracing::warn!(%error, "what is old could not be removed"),
        }
    }
}

/// The instances that run although no controller does; the lock is that of whoever asks.
pub(crate) async fn left_running(
    state: &StateDirectory,
    lock: ControllerLock,
) -> Result<Vec<String>, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, error.to_string());
    let settings = ProcessSettings::new(state.path().to_owned(), PathBuf::new());
    let executor = ProcessExecutor::new(settings, Arc::new(lock)).map_err(|error| refused(&error))?;
    let running = executor.observe().await.map_err(|error| refused(&error))?;
    Ok(running.into_iter().map(|running| running.instance.id.to_string()).collect())
}

/// Has clients accepted once what was live runs again, and after a while in any case.
async fn accept_after(restoration: &Restoration, manager: &DeploymentManager, hold: Hold) {
    tracing::info!("clients are refused until what was live runs again");
    if tokio::time::timeout(HOLD_LIMIT, restoration.wait(manager)).await.is_err() {
        tracing::warn!(limit = ?HOLD_LIMIT, "what was live does not run yet, and clients are accepted all the same");
    }
    hold.end().await;
    tracing::info!("clients are accepted");
}

/// The listeners of a proxy that runs cannot be changed: it would have to be ended first.
fn warn_if_elsewhere(wanted: &[SocketAddr], real: &[SocketAddr]) {
    let matches = |wanted: &SocketAddr, real: &SocketAddr| {
        // systemd binds every address of both kinds where a port alone is named.
        let same = wanted.ip() == real.ip() || wanted.ip().is_unspecified() && real.ip().is_unspecified();
        same && (wanted.port() == 0 || wanted.port() == real.port())
    };
    let same =
        wanted.len() == real.len() && wanted.iter().zip(real).all(|(wanted, real)| matches(wanted, real));
    if !same {
        tracing::warn!(
            ?wanted,
            ?real,
            "the proxy that runs already listens elsewhere; `cutover shutdown` ends it, and the next start uses the wanted addresses"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_spoken_where_it_is_said_or_spoken_already() {
        let parsed =
            |all: &[&str]| -> Vec<SocketAddr> { all.iter().map(|one| one.parse().unwrap()).collect() };
        let check =
            |https: &[&str], handed: &[&str], runs: Option<&[&str]>, is_unit: bool, expected: &[&str]| {
                let runs = runs.map(|https| Listen { http: Vec::new(), https: parsed(https) });
                let found =
                    listeners(parsed(&["127.0.0.1:80"]), parsed(https), &parsed(handed), runs, is_unit);
                assert_eq!(found.https, parsed(expected), "{https:?} {handed:?}");
            };
        check(&["127.0.0.1:8443"], &[], Some(&[]), false, &["127.0.0.1:8443"]);
        // A controller that starts again beside a proxy that has the port does not take it for another's.
        check(&[], &[], Some(&["127.0.0.1:443"]), true, &["127.0.0.1:443"]);
        check(&[], &[], Some(&[]), false, &[]);
        check(&[], &["0.0.0.0:443"], None, false, &["127.0.0.1:443"]);
        // This process may not try what the unit may.
        check(&[], &[], None, true, &[]);
    }
}
