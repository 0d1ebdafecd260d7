//! HTTP/1.1, read and written by ourselves on both sides: the client's connection in `connection`, an instance's in
//! `upstream::h1`. One task a connection, and one framer a message, so that no two can disagree.
//!
//! Reading order: `chunks` is a body's framing, `reader` and `writer` move bodies, `answer` is the way back to a client,
//! `connection` is the life of one.

pub(crate) mod answer;
pub(crate) mod chunks;
pub(crate) mod connection;
pub(crate) mod reader;
pub(crate) mod writer;
