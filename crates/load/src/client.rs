//! One client of a plan: what it does, of which path, how fast, and with which headers.

use std::time::Duration;

use crate::kind::ClientKind;
use crate::pattern;

/// Between two messages of a session, unless its client says otherwise: fast enough to notice a gap, slow enough that a
/// hundred of them leave a processor to the proxy.
const MESSAGE_PAUSE: Duration = Duration::from_millis(20);
/// How fast [`Backend`](crate::Backend) is asked to send events.
const EVENT_PAUSE: Duration = Duration::from_millis(20);

/// One client: it sends a request, reads the whole answer, pauses, and begins again.
#[derive(Debug, Clone)]
pub struct Client {
    /// How it uses its connections and what it sends.
    pub kind: ClientKind,
    /// The request target with its query, for instance `/search?q=x`; sent as it is.
    pub path: String,
    /// The wait between an answer and the next request, or between the messages of a session; zero for as fast as it
    /// goes.
    pub pause: Duration,
    /// Further headers of this client's requests, after those of the plan; sent as they are.
    pub headers: Vec<(String, String)>,
    /// The header that carries a value of its own in each request of a [`ClientKind::KeyedPost`].
    pub key_header: String,
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

    /// POST `body_bytes` bytes to `path`, each time with another value in the header `key_header`, for instance
    /// `Idempotency-Key`.
    #[must_use]
    pub fn post_keyed(path: impl Into<String>, body_bytes: usize, key_header: impl Into<String>) -> Self {
        let client = Self::of(ClientKind::KeyedPost { body_bytes }, path);
        Self { key_header: key_header.into(), ..client }
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

    /// GET `/stream?chunks=N&ms=M` of [`Backend`](crate::Backend): `chunks` times 1,024 bytes, with a wait of `every`
    /// before each.
    #[must_use]
    pub fn streaming(chunks: usize, every: Duration) -> Self {
        let path = format!("/stream?chunks={chunks}&ms={}", every.as_millis());
        Self::of(ClientKind::Streaming { body_bytes: chunks * pattern::STREAM_CHUNK_BYTES }, path)
    }

    /// POST `pieces` chunks of `piece_bytes` bytes to `path`, with a wait of `every` before each. All of it has to fit
    /// into the plan's timeout.
    #[must_use]
    pub fn upload(path: impl Into<String>, pieces: usize, piece_bytes: usize, every: Duration) -> Self {
        Self::of(ClientKind::Upload { pieces, piece_bytes, every }, path)
    }

    /// GET `path` over HTTP/2, `streams` at once on one connection.
    #[must_use]
    pub fn http2(path: impl Into<String>, streams: usize) -> Self {
        Self::of(ClientKind::Http2 { streams }, path)
    }

    /// Sends a numbered message to the WebSocket at `path` every 20 ms and expects each echoed.
    #[must_use]
    pub fn web_socket(path: impl Into<String>) -> Self {
        Self::of(ClientKind::WebSocket, path).pausing(MESSAGE_PAUSE)
    }

    /// Follows the numbered events of `/events?ms=20`, as [`Backend`](crate::Backend) sends them.
    #[must_use]
    pub fn event_stream() -> Self {
        Self::event_stream_at(format!("/events?ms={}", EVENT_PAUSE.as_millis()))
    }

    /// Follows the events of another application, whose ids must be numbers that grow by one.
    #[must_use]
    pub fn event_stream_at(path: impl Into<String>) -> Self {
        Self::of(ClientKind::EventStream, path)
    }

    /// Sends a numbered message on a call of `/echo.Echo/Stream` every 20 ms and expects each echoed.
    #[must_use]
    pub fn grpc_stream() -> Self {
        Self::of(ClientKind::GrpcStream, "/echo.Echo/Stream").pausing(MESSAGE_PAUSE)
    }

    /// Waits this long between an answer and the next request, or between two messages.
    #[must_use]
    pub fn pausing(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sends one header more with each request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn of(kind: ClientKind, path: impl Into<String>) -> Self {
        let key_header = "idempotency-key".to_owned();
        Self { kind, path: path.into(), pause: Duration::ZERO, headers: Vec::new(), key_header }
    }
}
