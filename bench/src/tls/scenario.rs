//! What is asked of every candidate.

use crate::certificate::Kind;
use crate::request::Shape;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name in the report.
    pub title: &'static str,
    /// What clients do.
    pub load: Load,
    /// What they are shown.
    pub certificate: Kind,
}

/// What clients do.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// HTTP/1.1: kept-alive connections, each with one request in flight.
    Http1 {
        /// How many.
        connections: usize,
        /// What they ask.
        shape: Shape,
    },
    /// HTTP/2: kept-alive connections; the origin speaks HTTP/1.1.
    Http2 {
        /// How many.
        connections: usize,
        /// Requests in flight on each.
        streams: usize,
    },
    /// A connection for each request, over HTTP/1.1.
    Handshakes {
        /// How many at once.
        clients: usize,
        /// Whether they were there before, and come back with a ticket.
        resumed: bool,
    },
}

/// Enough for a candidate always to have something to do, few enough to keep what they remember in the cache.
const CLIENTS: usize = 16;

/// All of them, in the order of the report: those with one certificate together, for a candidate shows one.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        title: "HTTP/1.1 with TLS, body of 100 bytes, 64 connections",
        load: Load::Http1 { connections: 64, shape: Shape::Plain },
        certificate: Kind::EcdsaP256,
    },
    Scenario {
        title: "HTTP/1.1 with TLS, body of 10 KiB, 64 connections",
        load: Load::Http1 { connections: 64, shape: Shape::Long },
        certificate: Kind::EcdsaP256,
    },
    Scenario {
        title: "HTTP/2 with TLS, 16 connections with 10 streams each",
        load: Load::Http2 { connections: 16, streams: 10 },
        certificate: Kind::EcdsaP256,
    },
    Scenario {
        title: "Full handshakes, ECDSA P-256",
        load: Load::Handshakes { clients: CLIENTS, resumed: false },
        certificate: Kind::EcdsaP256,
    },
    Scenario {
        title: "Resumed handshakes",
        load: Load::Handshakes { clients: CLIENTS, resumed: true },
        certificate: Kind::EcdsaP256,
    },
    Scenario {
        title: "Full handshakes, RSA 2048",
        load: Load::Handshakes { clients: CLIENTS, resumed: false },
        certificate: Kind::Rsa2048,
    },
];

impl Scenario {
    /// Whether it is about handshakes, and not about requests on connections that are there.
    #[must_use]
    pub fn is_of_handshakes(&self) -> bool {
        matches!(self.load, Load::Handshakes { .. })
    }
}
