//! The listener: it accepts, or refuses for a while without losing its port.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::application::Application;
use super::http1;

/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const BACKLOG: i32 = 1024;

/// The listener, as far as it is told what to do. Dropping it ends its connections.
#[derive(Debug)]
pub(super) struct Listening {
    listener: StdListener,
    listens: watch::Sender<bool>,
    accepting: AbortHandle,
}

impl Listening {
    /// Listens, and serves each connection with `application`.
    pub(super) fn start(bind: SocketAddr, application: Arc<Application>) -> io::Result<Self> {
        // A port that was asked for by its number is kept through a shutdown; one that the kernel chose is not.
        let chosen = Socket::new(Domain::for_address(bind), Type::STREAM, None)?;
        chosen.set_reuse_address(true)?;
        chosen.bind(&bind.into())?;
        let bound = chosen.local_addr()?.as_socket().unwrap_or(bind);
        let listener = StdListener::bind(bound)?;
        drop(chosen);
        listener.set_nonblocking(true)?;
        let (listens, told) = watch::channel(true);
        let accepting = tokio::spawn(accept(listener.try_clone()?, told, application)).abort_handle();
        Ok(Self { listener, listens, accepting })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// On Linux a listener that is shut down listens no more and stays bound.
    pub(super) fn refuse(&self) -> io::Result<()> {
        self.listens.send_replace(false);
        SockRef::from(&self.listener).shutdown(Shutdown::Both)
    }

    pub(super) fn again(&self) -> io::Result<()> {
        SockRef::from(&self.listener).listen(BACKLOG)?;
        self.listens.send_replace(true);
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves each connection in a task of its own; they end with this one. An error is that of the first registration with
/// tokio, after which nothing is served.
async fn accept(
    listener: StdListener,
    mut told: watch::Receiver<bool>,
    application: Arc<Application>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        told.wait_for(|listens| *listens).await.map_err(io::Error::other)?;
        // Registered anew each time: tokio takes a shutdown for the last thing that happens to a socket.
        let accepting = TcpListener::from_std(listener.try_clone()?)?;
        loop {
            tokio::select! {
                biased;
                _ = told.changed() => break,
                accepted = accepting.accept() => match accepted {
                    Ok((stream, _)) => {
                        application.connections.fetch_add(1, Ordering::Relaxed);
                        connections.spawn(http1::serve(stream, Arc::clone(&application)));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}
