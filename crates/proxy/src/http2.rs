//! HTTP/2 on the client's side: the frames are the `h2` crate's matter, what a client may do with them is ours.
//!
//! Reading order: `meter` watches what a connection sends, `stream` moves bodies, `answer` is the way back, `connection`
//! the life of one.

mod answer;
pub(crate) mod connection;
pub(crate) mod meter;
pub(crate) mod stream;

/// What a client sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
