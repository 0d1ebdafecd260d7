//! One thread that accepts clients and carries their requests: a runtime, listeners and upstream connections of
//! its own, so that nothing on a request's way is shared with another core but counters.

use std::cell::Cell as Flag;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::cell::Cell;
use crate::forward::Forwarder;
use crate::server::Server;
use crate::upstream::Pool;

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

/// Starts a worker; it ends with the phase.
pub(crate) fn start(
    number: usize,
    listeners: Vec<TcpListener>,
    cell: Cell,
    phase: watch::Receiver<Phase>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let name = format!("worker-{number}");
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, work(listeners, cell, phase))
    })
}

async fn work(listeners: Vec<TcpListener>, cell: Cell, mut phase: watch::Receiver<Phase>) -> io::Result<()> {
    let pool = Rc::<Pool>::default();
    let forwarder = Forwarder { cell, pool: Rc::clone(&pool) };
    let server = Rc::new(Server { forwarder, closing: Flag::new(false) });
    let mut acceptors = Vec::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        acceptors.push(spawn_local(accept(listener, Rc::clone(&server))));
    }
    spawn_local(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            pool.close_expired();
        }
    });
    // The sender's end counts as the end of the process.
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    server.closing.set(true);
    for acceptor in acceptors {
        acceptor.abort();
    }
    let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, server: Rc<Server>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let _ = stream.set_nodelay(true);
                spawn_local(Rc::clone(&server).serve(stream, client));
            }
            Err(error) => {
                // Out of descriptors, most likely: those that are connected need time to end.
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
