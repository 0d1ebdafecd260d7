//! The ways a request can fail, told apart by what the client saw.

use serde::{Serialize, Serializer};

/// Why a request counts as failed. Each failed request has exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// Nobody listens: the connect was answered with a reset.
    Refused,
    /// The connect failed in another way: no route, no local port left, reset during the handshake.
    ConnectFailed,
    /// The connection stood and the TLS handshake failed: cut, no trust, or another protocol than we speak.
    TlsFailed,
    /// The connection was reset after the request was begun, before one byte of the answer.
    ResetBeforeByte,
    /// The connection was closed in order after the request was begun, before one byte of the answer.
    ///
    /// This includes the race on a kept-alive connection in which the peer's FIN crosses our request: for a
    /// POST the client cannot know whether trying again is safe. A FIN that had arrived before we wrote is no
    /// failure.
    ClosedBeforeByte,
    /// Head, body or message was cut: it ended after the first byte and before the last one.
    Partial,
    /// A whole answer with status 500 to 599.
    Status5xx,
    /// A whole answer with status 400 to 499.
    Status4xx,
    /// A whole answer with another status outside 200 to 299.
    StatusOther,
    /// No whole answer within the plan's timeout.
    TimedOut,
    /// Bytes that are no answer in the protocol asked for, or bytes that nobody asked for.
    Malformed,
    /// A POST whose answer shows that the application received, or sent back, other bytes than we sent; a download
    /// with another byte than must stand there.
    BodyMismatch,
    /// A session's connection was closed between two messages without a word of its protocol.
    Cut,
    /// A session's connection was reset.
    Reset,
    /// One HTTP/2 stream was reset (`RST_STREAM`), or refused for the second time.
    StreamReset,
    /// The server ended a WebSocket with another code than 1001 or 1012, or with none.
    CloseCode,
    /// A gRPC call ended with another status than 0 or 14, without one, or was turned away before it began.
    GrpcStatus,
    /// A message had not been echoed when its session ended, and there had been time for it.
    EchoLost,
    /// A message came back as another one.
    EchoWrong,
    /// The number of an event does not follow that of the one before.
    Gap,
    /// Answered by another environment than the one that has all traffic since before the request was
    /// written.
    Stale,
}

impl FailureClass {
    /// The name used in reports and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectFailed => "connect_failed",
            Self::TlsFailed => "tls_failed",
            Self::ResetBeforeByte => "reset_before_byte",
            Self::ClosedBeforeByte => "closed_before_byte",
            Self::Partial => "partial",
            Self::Status5xx => "status_5xx",
            Self::Status4xx => "status_4xx",
            Self::StatusOther => "status_other",
            Self::TimedOut => "timed_out",
            Self::Malformed => "malformed",
            Self::BodyMismatch => "body_mismatch",
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::StreamReset => "stream_reset",
            Self::CloseCode => "close_code",
            Self::GrpcStatus => "grpc_status",
            Self::EchoLost => "echo_lost",
            Self::EchoWrong => "echo_wrong",
            Self::Gap => "gap",
            Self::Stale => "stale",
        }
    }
}

impl Serialize for FailureClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// One request's failure, with the detail that goes into the report's examples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", class.label())]
pub(crate) struct Failure {
    pub(crate) class: FailureClass,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(class: FailureClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::new(FailureClass::Malformed, text)
    }
}
