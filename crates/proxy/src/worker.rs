//! One thread that accepts clients and carries their requests: a runtime, listeners and upstream connections of
//! its own, so that nothing on a request's way is shared with another core but counters.

use std::cell::Cell as Flag;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cutover_core::preview::PreviewKey;
use cutover_core::routing::Clients;
use tokio::net::TcpStream;
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use crate::arrival::{Door, arrive};
use crate::buffers::Buffers;
use crate::cell::Cell;
use crate::clock;
use crate::leaving::drains::Drains;
use crate::leaving::stayers::Stayers;
use crate::pages::Pages;
use crate::request_ids::RequestIds;
use crate::tls::Tls;
use crate::upstream::{H2Pool, Pool};
use crate::watchdog::Watchdog;

/// At the end of the process clients get this long to take what was answered over HTTP/2.
pub(crate) const LAST_FRAMES: Duration = Duration::from_secs(2);

/// How far the end of the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients are accepted.
    Serving,
    /// No client is accepted, and those that are connected are told to go with their next answer.
    Closing,
    /// Nothing is waited for any more.
    Ended,
}

/// What all connections of a worker share.
pub(crate) struct Worker {
    pub(crate) cell: Cell,
    /// Told of each change of the table, and of each end of a hold.
    pub(crate) changed: Arc<Notify>,
    pub(crate) clients: Clients,
    pub(crate) pool: Pool,
    pub(crate) h2_pool: H2Pool,
    /// Those that last.
    pub(crate) stayers: Rc<Stayers>,
    /// Which instances they have to leave.
    pub(crate) drains: Arc<Drains>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) watchdog: Rc<Watchdog>,
    pub(crate) ids: RequestIds,
    pub(crate) pages: Pages,
    pub(crate) tls: Arc<Tls>,
    /// Whether any listener speaks TLS.
    pub(crate) speaks_tls: bool,
    /// What tokens of previews are signed with.
    pub(crate) preview_key: Option<PreviewKey>,
    /// Set when the process is about to end: clients are told with their next answer, never cut.
    pub(crate) closing: Flag<bool>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// HTTP/2 connections with something to send, or with clients that may not have read what was sent last.
    pub(crate) streaming: Flag<usize>,
    /// Clients that are connected.
    connections: Flag<usize>,
    /// Clients that were refused for want of room, since that was last said.
    refused: Flag<u64>,
}

/// What a worker is given at its start.
pub(crate) struct Outfit {
    pub(crate) listeners: Vec<(TcpListener, Door)>,
    pub(crate) cell: Cell,
    pub(crate) changed: Arc<Notify>,
    pub(crate) drains: Arc<Drains>,
    pub(crate) clients: Clients,
    pub(crate) tls: Arc<Tls>,
    pub(crate) ids: RequestIds,
    pub(crate) preview_key: Option<PreviewKey>,
}

/// Starts a worker; it ends with the phase.
pub(crate) fn start(
    number: usize,
    outfit: Outfit,
    phase: watch::Receiver<Phase>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let name = format!("worker-{number}");
    // Each draws by itself; nothing of worth depends on it.
    let seed = clock::now_us() ^ (number as u64 + 1) << 48;
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(work(outfit, seed, phase))
    })
}

async fn work(outfit: Outfit, seed: u64, mut phase: watch::Receiver<Phase>) -> io::Result<()> {
    let Outfit { listeners, cell, changed, drains, clients, tls, ids, preview_key } = outfit;
    let worker = Rc::new(Worker {
        cell,
        changed,
        pages: Pages::new(clients.pages.clone()),
        speaks_tls: tls.is_spoken(),
        tls,
        clients,
        pool: Pool::default(),
        h2_pool: H2Pool::default(),
        stayers: Rc::default(),
        drains,
        buffers: Rc::default(),
        watchdog: Rc::default(),
        ids,
        preview_key,
        closing: Flag::new(false),
        phase: phase.clone(),
        streaming: Flag::new(0),
        connections: Flag::new(0),
        refused: Flag::new(0),
    });
    spawn_local(Rc::clone(&worker.watchdog).watch());
    let mut acceptors = Vec::new();
    for (listener, door) in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        acceptors.push(spawn_local(accept(listener, door, Rc::clone(&worker))));
    }
    spawn_local(tidy(Rc::clone(&worker)));
    spawn_local(Rc::clone(&worker).ask_those_who_last(seed));
    // The sender's end counts as the end of the process.
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    worker.closing.set(true);
    worker.changed.notify_waiters();
    for acceptor in acceptors {
        acceptor.abort();
    }
    let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
    // An answer over HTTP/2 may lie in its connection when its request has ended.
    let deadline = tokio::time::Instant::now() + LAST_FRAMES;
    while worker.streaming.get() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn tidy(worker: Rc<Worker>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        worker.pool.close_expired();
        worker.h2_pool.close_expired();
        let refused = worker.refused.take();
        if refused > 0 {
            let most = worker.clients.limits.connections;
            tracing::warn!(
                refused,
                most,
                "clients were refused: as many are connected as may be, and none is idle"
            );
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, door: Door, worker: Rc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let is_full = worker.connections.get() >= worker.clients.limits.connections;
                worker.admit(stream, client, door.clone());
                if is_full {
                    // Those that came just now have to be looked at before it is known whether they are idle.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: those that are connected need time to end, and idle ones need not
                // stay.
                worker.watchdog.expire_longest_idle();
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Worker {
    /// Serves a client if there is room for it, or if an idle one can go instead.
    fn admit(self: &Rc<Self>, stream: TcpStream, client: SocketAddr, door: Door) {
        if self.connections.get() >= self.clients.limits.connections && !self.watchdog.expire_longest_idle() {
            self.refused.set(self.refused.get() + 1);
            return;
        }
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return };
        let counted = Counted::new(self);
        spawn_local(async move {
            arrive(Rc::clone(&counted.0), stream, client, local, door).await;
        });
    }
}

/// A client that is connected.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}
