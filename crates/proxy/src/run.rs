//! Puts a data plane together, in order, and takes it apart.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cutover_core::preview::PreviewKey;
use cutover_core::routing::{Listen, Refused};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::arrival::Door;
use crate::listen::{Bound, ListenError, bind_all};
use crate::plane::Plane;
use crate::request_ids::RequestIds;
use crate::saved::{SavedTable, Seed, SeedError};
use crate::settings::ProxySettings;
use crate::tls::Tls;
use crate::tls::tickets::Tickets;
use crate::worker::{self, Outfit, Phase};
use crate::{admin, handed, holding, live, probe, tls, trails};

/// Why a data plane did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The seed cannot be used.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The seed or the saved table contradicts itself.
    #[error("the table in `{path}` cannot be routed by: {refused}")]
    Table {
        /// The seed file.
        path: PathBuf,
        /// Why.
        refused: Refused,
    },
    /// An address is taken or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Something is asked of clients at an address where nobody listens: they would be asked for nothing.
    #[error("`[tls] listeners` names {0}, where TLS is not spoken; name it as `https` does")]
    NoListener(SocketAddr),
    /// Another proxy uses the same admin socket.
    #[error("another proxy has the admin socket `{0}`; stop it first, or give this one a socket of its own")]
    AdminTaken(PathBuf),
    /// A file beside the admin socket cannot be used.
    #[error("cannot use `{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread or a runtime could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// A worker ended although nobody asked for it.
    #[error("a worker ended by itself: {0}")]
    WorkerEnded(String),
}

/// Runs a data plane until `shutdown` completes or somebody asks for the end on the admin socket.
///
/// Must be called within a current-thread runtime with IO and time: probes and administration run on it.
///
/// # Errors
/// [`ProxyError`] if it cannot start; when it returns, nothing of it runs any more.
pub async fn run(settings: ProxySettings, shutdown: impl Future<Output = ()>) -> Result<(), ProxyError> {
    raise_descriptor_limit();
    let seed = Seed::read(&settings.table)?;
    let lock = lock_admin(&settings.admin)?;
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| ProxyError::File { path, source }
    };
    let (saved, candidates) = SavedTable::open(&settings.admin, &seed).map_err(file(&settings.admin))?;
    let Listen { http, https } = &seed.document.listen;
    let handed = match &settings.sockets {
        Some(from) => handed::receive(from),
        None => handed::from_environment(),
    };
    let handed = handed.map_err(ProxyError::Start)?;
    let bound = bind_all(&[http.as_slice(), https].concat(), settings.workers.max(1), handed)?;
    let addresses = bound.addresses.clone();
    let (http, https) = addresses.split_at(http.len());
    let listen = Listen { http: http.to_vec(), https: https.to_vec() };
    let clients = seed.document.clients.clone();
    let tickets = Some(settings.admin.with_extension("tickets")).filter(|_| !https.is_empty());
    let tickets = Tickets::open(tickets, SystemTime::now()).map_err(ProxyError::Start)?;
    let tls = Tls::new(clients.tls.clone(), https.to_vec(), tickets);
    let wanted = &seed.document.listen.https;
    if let Some(nowhere) = clients.tls.listeners.keys().find(|address| !wanted.contains(address)) {
        return Err(ProxyError::NoListener(*nowhere));
    }
    let boot_id = boot_id().map_err(ProxyError::Start)?;
    let preview_key = settings.preview_key.as_deref().and_then(preview_key);
    let fingerprint = preview_key.as_ref().map(PreviewKey::fingerprint);
    let plane = Plane::new(boot_id, listen, clients, tls, fingerprint, candidates, saved)
        .map_err(|refused| ProxyError::Table { path: settings.table.clone(), refused })?;
    let mut watch = tls::Watch::new(&plane.tls);
    watch.look(&plane);
    // Before any client is accepted: what fails from here on would cut them.
    let socket = bind_admin(&settings.admin).map_err(file(&settings.admin))?;

    let (phase, phases) = watch::channel(Phase::Serving);
    let mut workers = JoinSet::new();
    let held = match settings.hold_listeners {
        None => {
            start_workers(&mut workers, bound, &plane, preview_key.as_ref(), &phases)?;
            None
        }
        Some(limit) => Some((bound, limit)),
    };

    let (end, mut ends) = mpsc::channel(1);
    let administration = tokio::spawn(administer(socket, settings.admin.clone(), Arc::clone(&plane), end));
    let probes = tokio::spawn(probe::follow(Arc::clone(&plane)));
    let watching = tokio::spawn(tls::watch(Arc::clone(&plane), watch));
    let holds = tokio::spawn(holding::end_in_time(Arc::clone(&plane)));
    let trails = tokio::spawn(trails::follow(Arc::clone(&plane)));
    let telling = settings.live.as_deref().map(|directory| tell_what_is_live(&plane, directory));
    tracing::info!(listen = ?addresses, workers = settings.workers, admin = %settings.admin.display(), "routing");

    let working = async {
        if let Some((bound, limit)) = held {
            plane.hold_clients(limit).await;
            start_workers(&mut workers, bound, &plane, preview_key.as_ref(), &phases)?;
        }
        let ended = workers.join_next().await;
        Err(ProxyError::WorkerEnded(format!("{ended:?}")))
    };
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        _ = ends.recv() => Ok(()),
        failed = working => failed,
    };
    tracing::info!(in_flight = plane.in_flight(), "ending: waiting for requests in flight");
    let _ = phase.send(Phase::Closing);
    // Clients that are connected and silent get a moment for a request that is on its way already.
    let quiet = wait_until_quiet(&plane, Duration::from_millis(200));
    if tokio::time::timeout(settings.drain, quiet).await.is_err() {
        tracing::warn!(
            in_flight = plane.in_flight(),
            "ending with requests in flight: the drain time is over"
        );
    }
    let _ = phase.send(Phase::Ended);
    while workers.join_next().await.is_some() {}
    probes.abort();
    watching.abort();
    holds.abort();
    trails.abort();
    administration.abort();
    drop(telling);
    let _ = fs::remove_file(&settings.admin);
    drop(lock);
    ended
}

/// The key of previews; without it everything else goes on.
fn preview_key(path: &Path) -> Option<PreviewKey> {
    let read = fs::read(path).and_then(|bytes| {
        let wrong = || io::Error::other(format!("it does not hold {} bytes", PreviewKey::LENGTH));
        PreviewKey::try_from(bytes.as_slice()).map_err(|_| wrong())
    });
    read.inspect_err(|error| {
        tracing::error!(path = %path.display(), %error, "no key of previews: every token is refused");
    })
    .ok()
}

/// Says to instances what is live until the set is dropped. Without it requests go on, so that trouble with it ends
/// nothing.
fn tell_what_is_live(plane: &Arc<Plane>, directory: &Path) -> JoinSet<()> {
    let mut telling = JoinSet::new();
    telling.spawn(live::follow(Arc::clone(plane), directory.to_owned()));
    let plane = Arc::clone(plane);
    match live::bind(directory) {
        Ok(listener) => {
            telling.spawn(async move {
                if let Err(error) = live::serve(plane, listener).await {
                    tracing::error!(%error, "instances cannot ask what is live any more");
                }
            });
        }
        Err(error) => tracing::error!(%error, "instances cannot ask what is live"),
    }
    telling
}

/// Accepts clients, with a thread for each member of the group.
fn start_workers(
    workers: &mut JoinSet<std::thread::Result<io::Result<()>>>,
    bound: Bound,
    plane: &Plane,
    preview_key: Option<&PreviewKey>,
    phases: &watch::Receiver<Phase>,
) -> Result<(), ProxyError> {
    let doors = doors(plane);
    for (number, listeners) in bound.listen()?.into_iter().enumerate() {
        let outfit = Outfit {
            listeners: listeners.into_iter().zip(doors.iter().cloned()).collect(),
            cell: plane.cell.clone(),
            changed: Arc::clone(&plane.changed),
            drains: Arc::clone(&plane.drains),
            clients: plane.clients().clone(),
            tls: Arc::clone(&plane.tls),
            ids: RequestIds::new(random().map_err(ProxyError::Start)?),
            preview_key: preview_key.cloned(),
        };
        let worker = worker::start(number, outfit, phases.clone()).map_err(ProxyError::Start)?;
        workers.spawn_blocking(move || worker.join());
    }
    plane.note_listening();
    Ok(())
}

/// What is behind each listener, in their order.
fn doors(plane: &Plane) -> Vec<Door> {
    let Listen { http, https } = plane.listen();
    let tls = https.iter().map(|address| Door::Tls(plane.tls.clients_of(*address)));
    http.iter().map(|_| Door::Plain).chain(tls).collect()
}

/// Serves the admin socket, and makes it again if somebody has deleted it: without it nothing could be moved.
async fn administer(socket: UnixListener, path: PathBuf, plane: Arc<Plane>, end: mpsc::Sender<()>) {
    let serve = |socket| axum::serve(socket, admin::router(Arc::clone(&plane), end.clone())).into_future();
    let mut serving = JoinSet::new();
    serving.spawn(serve(socket));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        if path.exists() {
            continue;
        }
        match bind_admin(&path) {
            Ok(socket) => {
                tracing::warn!(path = %path.display(), "the admin socket was gone and is there again");
                serving.spawn(serve(socket));
            }
            Err(error) => tracing::error!(path = %path.display(), %error, "the admin socket is gone"),
        }
    }
}

async fn wait_until_quiet(plane: &Plane, moment: Duration) {
    let mut quiet = Duration::ZERO;
    let step = Duration::from_millis(10);
    while quiet < moment {
        tokio::time::sleep(step).await;
        quiet = if plane.in_flight() + plane.waiting() == 0 { quiet + step } else { Duration::ZERO };
    }
}

/// The lock dies with its process, so it never has to be broken by hand.
fn lock_admin(admin: &Path) -> Result<File, ProxyError> {
    let path = admin.with_extension("lock");
    let failed = |source| ProxyError::File { path: path.clone(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ProxyError::AdminTaken(admin.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

fn bind_admin(admin: &Path) -> io::Result<UnixListener> {
    // The lock is ours, so a socket that is there belongs to a process that is gone.
    match fs::remove_file(admin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(admin)?;
    fs::set_permissions(admin, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Random, so that two runs never share it.
fn boot_id() -> io::Result<String> {
    random::<8>().map(hex::encode)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Every client and every upstream connection is a descriptor; the soft limit is often 1024.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
