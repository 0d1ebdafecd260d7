//! What has happened to an application server, and what it is permitted to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Shared by a server's connections and the test.
#[derive(Debug)]
pub struct Ledger {
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Requests that wait for the test's permission now.
    waiting: AtomicUsize,
    /// Requests that went away before they were answered, or in the middle of it.
    abandoned: AtomicUsize,
    /// Requests of which the body broke off.
    broken: AtomicUsize,
    /// Bytes of patterns that were taken from this server.
    given: AtomicUsize,
    /// Requests for `/health`.
    probes: AtomicUsize,
    permissions: Semaphore,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            connections: AtomicUsize::default(),
            requests: AtomicUsize::default(),
            waiting: AtomicUsize::default(),
            abandoned: AtomicUsize::default(),
            broken: AtomicUsize::default(),
            given: AtomicUsize::default(),
            probes: AtomicUsize::default(),
            permissions: Semaphore::new(0),
        }
    }
}

impl Ledger {
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::SeqCst)
    }

    pub fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    pub fn probes(&self) -> usize {
        self.probes.load(Ordering::SeqCst)
    }

    /// Lets so many requests, or events, go on.
    pub fn permit(&self, steps: usize) {
        self.permissions.add_permits(steps);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn requested(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn probed(&self) {
        self.probes.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn gave(&self, bytes: usize) {
        self.given.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn body_broke(&self) {
        self.broken.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits for the test's permission to do one step.
    pub(super) async fn permission(&self) {
        self.permissions.acquire().await.unwrap().forget();
    }

    /// Counts a request as waiting until the visit ends, and as abandoned unless it has said that it is over.
    pub(super) fn visit(self: &Arc<Self>) -> Visit {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Visit { ledger: Arc::clone(self), over: false }
    }
}

/// A request that waits for something.
#[derive(Debug)]
pub struct Visit {
    ledger: Arc<Ledger>,
    over: bool,
}

impl Visit {
    pub fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.ledger.waiting.fetch_sub(1, Ordering::SeqCst);
        if !self.over {
            self.ledger.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}
