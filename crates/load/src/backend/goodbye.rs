//! How sessions end by the server's will.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A way of ending sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// In the words of the protocol: close code 1012, the end of the body between two events, status 14; GOAWAY on
    /// connections with HTTP/2.
    Asked,
    /// The connection is closed without a word.
    Cut,
    /// The connection is reset.
    Reset,
}

/// Tells all sessions that are open.
#[derive(Debug)]
pub(super) struct Farewell {
    told: watch::Sender<Option<Goodbye>>,
}

/// One session waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    told: watch::Receiver<Option<Goodbye>>,
}

impl Default for Farewell {
    fn default() -> Self {
        Self { told: watch::Sender::new(None) }
    }
}

impl Farewell {
    pub(super) fn say(&self, goodbye: Goodbye) {
        self.told.send_replace(Some(goodbye));
    }

    /// What was said before does not concern who waits from now on.
    pub(super) fn wait(&self) -> Waiting {
        Waiting { told: self.told.subscribe() }
    }
}

impl Waiting {
    pub(super) async fn told(&mut self) -> Goodbye {
        loop {
            if self.told.changed().await.is_err() {
                return Goodbye::Cut;
            }
            if let Some(goodbye) = *self.told.borrow_and_update() {
                return goodbye;
            }
        }
    }
}

/// Counts a session while it is open.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    pub(super) fn new(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
