//! What is asked of every candidate.

use crate::candidate::Candidate;
use crate::request::Shape;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name in the report.
    pub title: &'static str,
    /// How the load is made.
    pub driver: Driver,
    /// Whose figures the others' are divided by.
    pub references: &'static [Candidate],
}

/// What makes the load.
#[derive(Debug, Clone, Copy)]
pub enum Driver {
    /// HTTP/1.1: kept-alive connections, each with one request in flight.
    Http1 {
        /// How many.
        connections: usize,
        /// What they ask.
        shape: Shape,
    },
    /// HTTP/2 without TLS, by prior knowledge; the origin speaks HTTP/1.1.
    H2c {
        /// How many.
        connections: usize,
        /// Requests in flight on each.
        streams: usize,
    },
}

/// All of them, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        title: "HTTP/1.1, body of 100 bytes, 64 connections",
        driver: Driver::Http1 { connections: 64, shape: Shape::Plain },
        references: &[Candidate::Haproxy],
    },
    Scenario {
        title: "HTTP/1.1, body of 100 bytes, 256 connections",
        driver: Driver::Http1 { connections: 256, shape: Shape::Plain },
        references: &[Candidate::Haproxy],
    },
    Scenario {
        title: "HTTP/1.1, body of 10 KiB, 64 connections",
        driver: Driver::Http1 { connections: 64, shape: Shape::Long },
        references: &[Candidate::Haproxy],
    },
    Scenario {
        title: "HTTP/1.1, a browser's 20 request fields, 64 connections",
        driver: Driver::Http1 { connections: 64, shape: Shape::Browser },
        references: &[Candidate::Haproxy],
    },
    Scenario {
        title: "HTTP/2 without TLS, 16 connections with 10 streams each",
        driver: Driver::H2c { connections: 16, streams: 10 },
        references: &[Candidate::Nginx, Candidate::Haproxy],
    },
];

impl Scenario {
    /// Whether it speaks HTTP/2.
    #[must_use]
    pub fn is_h2c(&self) -> bool {
        matches!(self.driver, Driver::H2c { .. })
    }
}
