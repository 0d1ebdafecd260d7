//! A small, fast application to send traffic to: for tests, for the demo, and cheap enough for the bench.
//!
//! It speaks HTTP/1.1 and, by prior knowledge on the same port, HTTP/2:
//!
//! - `GET /` and every other path: 200 with a body of 100 bytes
//! - `GET /slow?ms=N`: the same after N milliseconds, at most one minute
//! - `GET /stream?chunks=N&ms=M`: N times 1,024 bytes of a known pattern, with a wait of M milliseconds before each
//! - `POST` to any path: reads the whole body and states its length in `x-received-bytes`; a body of at most
//!   64 KiB is echoed, which `x-echo: body` says
//! - a request with an `Idempotency-Key`: the answer says in `x-processed` how often one with this key was processed
//! - every answer names the environment in `x-environment` and the version in `x-version`
//!
//! Sessions, which last until the client leaves or [`Backend::end_sessions`]:
//!
//! - `GET /ws` with HTTP/1.1: a WebSocket that echoes
//! - `GET /events?ms=M` with HTTP/1.1: numbered events, one every M milliseconds, from `Last-Event-ID` on
//! - `content-type: application/grpc` with HTTP/2: a call of any path that echoes each message
//!
//! It is strict where a proxy in front could be wrong: two framings at once, or an unreadable head, get 400
//! and a close. It does wrong itself where it is told to: [`Backend::misbehave`], [`Backend::refuse`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use application::Application;
use listening::Listening;

mod listening;

mod application;

mod request;

mod http1;

mod http2;

mod rewound;

mod web_socket;

mod events;

mod echo;

mod goodbye;

mod misdeed;

pub use goodbye::Goodbye;
pub use misdeed::{Misdeed, Moment, Way};

/// A running application. Dropping it closes its listener and all its connections at once.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    application: Arc<Application>,
    listening: Listening,
}

impl Backend {
    /// Listens on `bind` (port 0 for one from the kernel) and serves on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and IO enabled.
    pub fn start(bind: SocketAddr, environment: &str, version: &str) -> io::Result<Self> {
        let application = Arc::new(Application::new(environment, version));
        let listening = Listening::start(bind, Arc::clone(&application))?;
        Ok(Self { address: listening.address()?, application, listening })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has been read.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.application.requests.load(Ordering::Relaxed)
    }

    /// When the head of the last of them had been read; `None` before the first. After traffic was moved elsewhere it is
    /// the moment from which nothing began here any more.
    #[must_use]
    pub fn last_request_at(&self) -> Option<Instant> {
        self.application.last_request_at()
    }

    /// Those of them that asked for this path, without its query.
    #[must_use]
    pub fn requests_of(&self, path: &str) -> u64 {
        self.application.requests_of(path)
    }

    /// How often a request with this `Idempotency-Key` was processed.
    #[must_use]
    pub fn processed(&self, key: &str) -> u64 {
        self.application.processed(key)
    }

    /// How many requests were processed that had an `Idempotency-Key`, and how many keys they had: as many, unless one
    /// was processed twice.
    #[must_use]
    pub fn processed_and_keys(&self) -> (u64, u64) {
        self.application.processed_and_keys()
    }

    /// Bytes of all request bodies, without chunk framing.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.application.received_bytes.load(Ordering::Relaxed)
    }

    /// Connections that have been accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.application.connections.load(Ordering::Relaxed)
    }

    /// Sessions that are open now.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.application.sessions.load(Ordering::Relaxed)
    }

    /// Answers every request with this status from now on (200 at the start): a release that went bad.
    pub fn set_status(&self, status: u16) {
        self.application.status.store(status, Ordering::Relaxed);
    }

    /// Ends the whole process with code 3 as soon as this path is asked for, once its head was read: a release with a bug
    /// that takes everything with it. For a program that is nothing but this application; said once.
    pub fn die_at(&self, path: String) {
        // A second path would be a second release.
        let _ = self.application.dies_at.set(path);
    }

    /// Ends all sessions that are open, and all connections with HTTP/2, in this way.
    pub fn end_sessions(&self, goodbye: Goodbye) {
        self.application.farewell.say(goodbye);
    }

    /// Does this to the next `times` requests, or to all until [`Backend::behave`].
    pub fn misbehave(&self, misdeed: Misdeed, times: Option<u64>) {
        self.application.misdeeds.order(misdeed, times);
    }

    /// Does no more wrong.
    pub fn behave(&self) {
        self.application.misdeeds.stop();
    }

    /// How much wrong it has done.
    #[must_use]
    pub fn misdeeds(&self) -> u64 {
        self.application.misdeeds.done()
    }

    /// Refuses new connections from now on, as if nobody listened; keeps the port and the connections that stand. What has
    /// not been accepted yet is reset.
    ///
    /// # Errors
    ///
    /// If the kernel does not let go of the listener.
    pub fn refuse(&self) -> io::Result<()> {
        self.listening.refuse()
    }

    /// Listens again, on the same address.
    ///
    /// # Errors
    ///
    /// If the kernel does not let it.
    pub fn listen_again(&self) -> io::Result<()> {
        self.listening.again()
    }
}
