//! Idle HTTP/1.1 connections of one worker.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::stream::Stream;

/// Node.js closes idle connections after 5 s: ours must be gone before.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// A request that cannot be repeated takes no connection that was idle for longer.
const FRESH_LIMIT: Duration = Duration::from_secs(1);
/// Nor one that has carried a single request and is idle for less: an instance that ends its connections after an answer
/// without saying so is about to. One that has carried more has shown that it does not.
const SETTLED: Duration = Duration::from_millis(100);
/// Per key and worker.
const IDLE_PER_KEY: usize = 256;

/// Which idle connections suit a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any: the request can be sent twice.
    Any,
    /// One that was used just now and holds no FIN: the request cannot be sent twice.
    Fresh,
    /// None: one of them has just failed.
    None,
    /// None, nor one that is shared: what others did on such a one may have ended this request with theirs.
    Alone,
}

/// Whose connections may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The instance.
    pub(crate) address: SocketAddr,
    /// The client that the connection's PROXY protocol header names, if it has one.
    pub(crate) client: Option<SocketAddr>,
    /// How it is secured; 0 for not at all.
    pub(crate) secured: u64,
}

/// By hand, because each request pays for it: what is hardly ever there, or the same for all, tells nothing apart.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        if let Some(client) = self.client {
            client.hash(state);
        }
    }
}

/// Idle connections, the one used last first.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
}

struct Idle {
    stream: Stream,
    since: Instant,
    until: Instant,
    /// Requests that it has carried.
    carried: u64,
}

impl Pool {
    /// Puts a connection back that has carried so many requests; both its directions must have ended.
    pub(crate) fn give_back(&self, key: Key, stream: Stream, carried: u64, promised_seconds: Option<u64>) {
        // The promise counts from the answer; one second for its way here and the next request's way there.
        let promised = promised_seconds.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)));
        let limit = promised.map_or(IDLE_LIMIT, |promised| promised.min(IDLE_LIMIT));
        if limit.is_zero() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(key).or_default();
        if list.len() < IDLE_PER_KEY {
            let since = Instant::now();
            list.push(Idle { stream, since, until: since + limit, carried });
        }
    }

    /// An idle connection that suits the request, if there is one, and how many it has carried.
    pub(crate) fn take(&self, key: Key, reuse: Reuse) -> Option<(Stream, u64)> {
        if matches!(reuse, Reuse::None | Reuse::Alone) {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&key)?;
        let any = reuse == Reuse::Any;
        let mut index = list.len();
        let now = if index > 0 { Instant::now() } else { return None };
        while index > 0 {
            index -= 1;
            if !any {
                let time = now.duration_since(list[index].since);
                if time >= FRESH_LIMIT {
                    // The others were idle for longer; they may serve requests that can be repeated.
                    return None;
                }
                if list[index].carried < 2 && time < SETTLED {
                    continue;
                }
            }
            let Idle { stream, until, carried, .. } = list.remove(index);
            if now < until && (if any { stream.seems_quiet() } else { stream.is_quiet() }) {
                return Some((stream, carried));
            }
        }
        None
    }

    /// Closes what is idle to these addresses.
    pub(crate) fn close_to(&self, addresses: &HashSet<SocketAddr>) {
        self.idle.borrow_mut().retain(|key, _| !addresses.contains(&key.address));
    }

    /// Closes what was idle for too long, or was closed by the instance; called about once a second.
    pub(crate) fn close_expired(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, list| {
            list.retain(|idle| now < idle.until && idle.stream.seems_quiet());
            !list.is_empty()
        });
    }
}
