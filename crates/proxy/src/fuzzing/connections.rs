//! What stands around messages: the PROXY protocol before the first one, the frames of HTTP/2 between them.

use std::net::SocketAddr;

use cutover_core::routing::{Limits, ProxyProtocol};

use super::Outcome;
use crate::http2::meter;
use crate::proxy_protocol::{self, Header};

/// Source and destination; `None` where the sender speaks for itself.
pub type Introduction = Option<(SocketAddr, SocketAddr)>;

/// Reads a header of the PROXY protocol.
#[must_use]
pub fn introduction(bytes: &[u8]) -> Outcome<Introduction> {
    match proxy_protocol::read(bytes) {
        Header::Partial => Outcome::Partial,
        Header::Malformed => Outcome::Refused(400),
        Header::Whole { length, client } => Outcome::Whole(client, length),
    }
}

/// Writes one, of version 1 or 2.
#[must_use]
pub fn written_introduction(is_v2: bool, client: Introduction) -> Vec<u8> {
    proxy_protocol::header(if is_v2 { ProxyProtocol::V2 } else { ProxyProtocol::V1 }, client)
}

/// Counts the frames that a client sends over HTTP/2.
#[derive(Debug)]
pub struct Meter(meter::Meter);

impl Meter {
    /// With these limits, at second 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(meter::Meter::new(limits, 0))
    }

    /// Notes bytes that were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.0.sent(bytes);
    }

    /// Takes the next bytes; `false` once too much came that is of no use.
    pub fn take(&mut self, bytes: &[u8], seconds: u64) -> bool {
        self.0.take(bytes, seconds)
    }
}
