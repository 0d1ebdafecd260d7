//! What traffic is wanted: whom to ask, by which clients, within which bounds.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Client;
use crate::tls::Tls;

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
    /// With this all clients speak TLS; `None` for cleartext, where HTTP/2 is spoken by prior knowledge.
    pub tls: Option<Tls>,
    /// One task each, all at the same time.
    pub clients: Vec<Client>,
    /// The answer's header that names the answering environment; compared with
    /// [`Load::expect`](crate::Load::expect).
    pub answered_by_header: String,
    /// Further headers of the answer whose values are counted, for instance `x-version`.
    pub counted_headers: Vec<String>,
    /// How long one request may take, from before its connect to the last byte of its answer; in a session, the
    /// opening, each message and the leaving.
    pub timeout: Duration,
    /// Stop by itself after this many requests, all clients together; `None` for no bound. A session counts as one
    /// and leaves once another client has found the bound reached.
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
            tls: None,
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

    /// A few of every kind that [`Backend`](crate::Backend) knows: those of [`Plan::mixed`], paused so that no kind
    /// starves another, and 2 each of keyed posts, downloads and uploads of half a second, HTTP/2 with 4 streams,
    /// WebSockets, event streams and gRPC calls.
    #[must_use]
    pub fn every_kind(target: SocketAddr) -> Self {
        let piece = Duration::from_millis(50);
        let often = Duration::from_millis(5);
        Self::mixed(target)
            .with(2, Client::post_keyed("/", 1_000, "Idempotency-Key"))
            .with(2, Client::http2("/", 4))
            .pausing(often)
            .with(2, Client::streaming(10, piece))
            .with(2, Client::upload("/", 10, 1_000, piece))
            .with(2, Client::web_socket("/ws"))
            .with(2, Client::event_stream())
            .with(2, Client::grpc_stream())
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

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the `Host` header.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// What stands in the `Host` header.
    pub(crate) fn authority(&self) -> String {
        self.host.clone().unwrap_or_else(|| self.target.to_string())
    }
}
