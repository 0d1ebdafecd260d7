//! What traffic is wanted: whom to ask, by which clients, within which bounds.

use std::net::SocketAddr;
use std::time::Duration;

/// The header by which an application says which environment it runs in, unless the plan names another.
const DEFAULT_ENVIRONMENT_HEADER: &str = "x-environment";
/// The headers whose values are counted, unless the plan names others.
const DEFAULT_COUNTED_HEADER: &str = "x-version";
/// Longer than any honest answer on loopback, shorter than a person's patience with a failing test.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The traffic to send. Build it with [`Plan::new`] or [`Plan::mixed`] and change fields as needed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The address that every client connects to.
    pub target: SocketAddr,
    /// The `Host` header; `None` sends the target's address.
    pub host: Option<String>,
    /// Further headers of every request, for instance a cookie; sent as they are.
    pub headers: Vec<(String, String)>,
    /// One task each, all at the same time.
    pub clients: Vec<Client>,
    /// The answer's header that names the answering environment; compared with
    /// [`Load::expect`](crate::Load::expect).
    pub answered_by_header: String,
    /// Further headers of the answer whose values are counted, for instance `x-version`.
    pub counted_headers: Vec<String>,
    /// How long one request may take, from before its connect to the last byte of its answer.
    pub timeout: Duration,
    /// Stop by itself after this many requests, all clients together; `None` for no bound.
    pub max_requests: Option<u64>,
    /// Start no further request after this time; `None` for no bound.
    pub max_time: Option<Duration>,
}

impl Plan {
    /// A plan without clients; add them with [`Plan::with`].
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            host: None,
            headers: Vec::new(),
            clients: Vec::new(),
            answered_by_header: DEFAULT_ENVIRONMENT_HEADER.to_owned(),
            counted_headers: vec![DEFAULT_COUNTED_HEADER.to_owned()],
            timeout: DEFAULT_TIMEOUT,
            max_requests: None,
            max_time: None,
        }
    }

    /// A handful of every kind: 4 keep-alive, 2 fresh, 3 posting (1 kB, 20 kB, 20 kB chunked), 2 slow, and 1
    /// keep-alive client that pauses 20 ms between requests, because an idle connection is where a close can
    /// cross a request.
    #[must_use]
    pub fn mixed(target: SocketAddr) -> Self {
        Self::new(target)
            .with(4, Client::keep_alive("/"))
            .with(2, Client::fresh("/"))
            .with(1, Client::post("/", 1_000))
            .with(1, Client::post("/", 20_000))
            .with(1, Client::post_chunked("/", 20_000))
            .with(2, Client::slow(Duration::from_millis(50)))
            .with(1, Client::keep_alive("/").pausing(Duration::from_millis(20)))
    }

    /// Adds `count` clients of one kind.
    #[must_use]
    pub fn with(mut self, count: usize, client: Client) -> Self {
        self.clients.extend(std::iter::repeat_n(client, count));
        self
    }

    /// Makes every client that the plan has so far wait this long after each answer.
    #[must_use]
    pub fn pausing(mut self, pause: Duration) -> Self {
        for client in &mut self.clients {
            client.pause = pause;
        }
        self
    }

    /// Sets the `Host` header.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }
}

/// One client: it sends a request, reads the whole answer, pauses, and begins again.
#[derive(Debug, Clone)]
pub struct Client {
    /// How it uses its connections and what it sends.
    pub kind: ClientKind,
    /// The request target with its query, for instance `/search?q=x`; sent as it is.
    pub path: String,
    /// The wait between an answer and the next request; zero for as fast as it goes.
    pub pause: Duration,
}

/// The ways of using HTTP that fail differently when a server or a proxy goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// GET after GET on one connection.
    KeepAlive,
    /// Each GET on a connection of its own, with `Connection: close`.
    Fresh,
    /// POST after POST on one connection; every byte is accounted for.
    ///
    /// The answer must state the length it received in `x-received-bytes`, or echo the body; with `x-echo:
    /// body` it says that it does both.
    Post {
        /// Length of the body in bytes.
        body_bytes: usize,
        /// Sends the body with `Transfer-Encoding: chunked` in place of a `Content-Length`.
        chunked: bool,
    },
    /// A keep-alive GET of something that takes its time, so that a switch finds requests in flight.
    Slow,
}

impl ClientKind {
    /// The name under which the report counts this kind.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep_alive",
            Self::Fresh => "fresh",
            Self::Post { chunked: false, .. } => "post",
            Self::Post { chunked: true, .. } => "post_chunked",
            Self::Slow => "slow",
        }
    }
}

impl Client {
    /// GET `path` again and again on one connection.
    #[must_use]
    pub fn keep_alive(path: impl Into<String>) -> Self {
        Self::of(ClientKind::KeepAlive, path)
    }

    /// GET `path`, each time on a new connection.
    #[must_use]
    pub fn fresh(path: impl Into<String>) -> Self {
        Self::of(ClientKind::Fresh, path)
    }

    /// POST `body_bytes` bytes to `path`, with a `Content-Length`.
    #[must_use]
    pub fn post(path: impl Into<String>, body_bytes: usize) -> Self {
        Self::of(ClientKind::Post { body_bytes, chunked: false }, path)
    }

    /// POST `body_bytes` bytes to `path`, in chunks.
    #[must_use]
    pub fn post_chunked(path: impl Into<String>, body_bytes: usize) -> Self {
        Self::of(ClientKind::Post { body_bytes, chunked: true }, path)
    }

    /// GET `/slow?ms=N`, which [`Backend`](crate::Backend) answers after that time.
    #[must_use]
    pub fn slow(answer_after: Duration) -> Self {
        Self::slow_at(format!("/slow?ms={}", answer_after.as_millis()))
    }

    /// GET a path of another application that is known to answer slowly.
    #[must_use]
    pub fn slow_at(path: impl Into<String>) -> Self {
        Self::of(ClientKind::Slow, path)
    }

    /// Waits this long between an answer and the next request.
    #[must_use]
    pub fn pausing(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    fn of(kind: ClientKind, path: impl Into<String>) -> Self {
        Self { kind, path: path.into(), pause: Duration::ZERO }
    }
}
