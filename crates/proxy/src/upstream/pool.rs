//! Idle connections of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

use crate::body::RequestBody;

/// Node.js closes idle connections after 5 s: ours must be gone before.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// A request that cannot be repeated takes no connection that was idle for longer.
const FRESH_LIMIT: Duration = Duration::from_secs(1);
/// Per instance and worker.
const IDLE_PER_INSTANCE: usize = 256;

/// Which idle connections suit a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any: the request can be sent twice.
    Any,
    /// One that was used just now and holds no FIN: the request cannot be sent twice.
    Fresh,
    /// None: one of them has just failed.
    None,
}

/// Idle connections, the one used last first.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

struct Idle {
    connection: Pooled,
    since: Instant,
    until: Instant,
}

/// A connection that can carry a request.
pub(crate) struct Pooled {
    pub(super) sender: SendRequest<RequestBody>,
    /// The socket under it, to look for a FIN without taking bytes from the HTTP library.
    pub(super) socket: Rc<TcpStream>,
}

/// A connection in use, with its way back.
pub(crate) struct Reusable {
    connection: Pooled,
    address: SocketAddr,
    pool: Rc<Pool>,
    idle_limit: Duration,
}

impl Reusable {
    pub(super) fn new(
        connection: Pooled,
        address: SocketAddr,
        pool: Rc<Pool>,
        promised_seconds: Option<u64>,
    ) -> Self {
        // The promise counts from the answer; one second for its way here and the next request's way there.
        let promised = promised_seconds.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)));
        let idle_limit = promised.map_or(IDLE_LIMIT, |promised| promised.min(IDLE_LIMIT));
        Self { connection, address, pool, idle_limit }
    }

    /// Puts the connection back; both its directions must have ended.
    pub(crate) fn give_back(self) {
        if self.connection.sender.is_closed() || self.idle_limit.is_zero() {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        let list = idle.entry(self.address).or_default();
        if list.len() < IDLE_PER_INSTANCE {
            let since = Instant::now();
            list.push(Idle { connection: self.connection, since, until: since + self.idle_limit });
        }
    }
}

impl Pool {
    /// An idle connection that suits the request, if there is one.
    pub(super) fn take(&self, address: SocketAddr, reuse: Reuse) -> Option<Pooled> {
        if reuse == Reuse::None {
            return None;
        }
        let any = reuse == Reuse::Any;
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&address)?;
        while let Some(last) = list.last() {
            if !any && now.duration_since(last.since) >= FRESH_LIMIT {
                // The others were idle for longer; they may serve requests that can be repeated.
                return None;
            }
            let Idle { connection, until, .. } = list.pop()?;
            if now < until && !connection.sender.is_closed() && (any || is_quiet(&connection.socket)) {
                return Some(connection);
            }
        }
        None
    }

    /// Closes what was idle for too long; called about once a second.
    pub(crate) fn close_expired(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, list| {
            list.retain(|idle| now < idle.until && !idle.connection.sender.is_closed());
            !list.is_empty()
        });
    }
}

/// Whether neither bytes nor a FIN have arrived on an idle connection.
fn is_quiet(socket: &TcpStream) -> bool {
    let peeked = recv(socket, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Err(rustix::io::Errno::WOULDBLOCK))
}
