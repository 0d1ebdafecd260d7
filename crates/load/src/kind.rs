//! The ways of using a service that fail differently when a server or a proxy goes away.

use std::time::Duration;

/// What a client does with its connections. Requests end by themselves; sessions last until the load is over or the
/// server ends them.
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
    /// As [`ClientKind::Post`] with a length, and each request with a value of its own in
    /// [`Client::key_header`](crate::Client::key_header), so that an application knows a request that comes again.
    KeyedPost {
        /// Length of the body in bytes.
        body_bytes: usize,
    },
    /// A keep-alive GET of something that takes its time, so that a switch finds requests in flight.
    Slow,
    /// A keep-alive GET of a long body that comes slowly and of which every byte is known.
    Streaming {
        /// Length of the body in bytes; a whole answer that is shorter counts as cut.
        body_bytes: usize,
    },
    /// A POST in chunks with a pause before each: it begins before a switch and ends after it.
    Upload {
        /// How many chunks.
        pieces: usize,
        /// Length of each in bytes.
        piece_bytes: usize,
        /// The wait before each.
        every: Duration,
    },
    /// GETs over HTTP/2, several at once on one connection.
    Http2 {
        /// How many at once.
        streams: usize,
    },
    /// A session: numbered messages over a WebSocket, each to be echoed.
    WebSocket,
    /// A session: numbered server-sent events, resumed by `Last-Event-ID`.
    EventStream,
    /// A session: numbered messages over one gRPC call, each to be echoed.
    GrpcStream,
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
            Self::KeyedPost { .. } => "post_keyed",
            Self::Slow => "slow",
            Self::Streaming { .. } => "streaming",
            Self::Upload { .. } => "upload",
            Self::Http2 { .. } => "http2",
            Self::WebSocket => "web_socket",
            Self::EventStream => "event_stream",
            Self::GrpcStream => "grpc_stream",
        }
    }

    /// Whether it lasts until the load is over, in place of ending with an answer.
    #[must_use]
    pub fn is_session(self) -> bool {
        matches!(self, Self::WebSocket | Self::EventStream | Self::GrpcStream)
    }
}
