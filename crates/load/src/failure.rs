//! The ways a request can fail, told apart by what the client saw.

use serde::{Serialize, Serializer};

/// Why a request counts as failed. Each failed request has exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// Nobody listens: the connect was answered with a reset.
    Refused,
    /// The connect failed in another way: no route, no local port left, reset during the handshake.
    ConnectFailed,
    /// The connection was reset after the request was begun, before one byte of the answer.
    ResetBeforeByte,
    /// The connection was closed in order after the request was begun, before one byte of the answer.
    ///
    /// This includes the race on a kept-alive connection in which the peer's FIN crosses our request: for a
    /// POST the client cannot know whether trying again is safe. A FIN that had arrived before we wrote is no
    /// failure.
    ClosedBeforeByte,
    /// Head or body was cut: the connection ended after the first byte and before the last one.
    Partial,
    /// A whole answer with status 500 to 599.
    Status5xx,
    /// A whole answer with status 400 to 499.
    Status4xx,
    /// A whole answer with another status outside 200 to 299.
    StatusOther,
    /// No whole answer within the plan's timeout.
    TimedOut,
    /// Bytes that are no HTTP/1.1 answer, or bytes that nobody asked for.
    Malformed,
    /// A POST whose answer shows that the application received, or sent back, other bytes than we sent.
    BodyMismatch,
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
            Self::ResetBeforeByte => "reset_before_byte",
            Self::ClosedBeforeByte => "closed_before_byte",
            Self::Partial => "partial",
            Self::Status5xx => "status_5xx",
            Self::Status4xx => "status_4xx",
            Self::StatusOther => "status_other",
            Self::TimedOut => "timed_out",
            Self::Malformed => "malformed",
            Self::BodyMismatch => "body_mismatch",
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
#[derive(Debug, Clone, thiserror::Error)]
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
