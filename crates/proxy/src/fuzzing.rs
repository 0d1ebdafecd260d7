//! The parsers, shown to fuzz targets and differential tests: bytes in, plain data out. No API; it changes as they do.
//!
//! `requests` and `answers` read heads and tell what is written for the other side, `bodies` moves what follows a head,
//! `connections` is what stands around messages. Nothing here decides anything.

mod requests;

mod answers;

mod bodies;

mod connections;

pub use answers::{Answer, Asked, answer};
pub use bodies::{carried, relayed};
pub use connections::{Introduction, Meter, introduction, written_introduction};
pub use requests::{Request, Target, grpc_timeout, host, http2_request, request, target};

use crate::head::Framing;

/// What became of reading a message, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It ends further on.
    Partial,
    /// It is not read; the status says why.
    Refused(u16),
    /// It is there, and this many bytes long.
    Whole(T, usize),
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    Empty,
    /// By its length in bytes.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

impl From<Framing> for Body {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Empty,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl From<Body> for Framing {
    fn from(body: Body) -> Self {
        match body {
            Body::Empty => Self::Empty,
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunked,
            Body::UntilClose => Self::UntilClose,
        }
    }
}
