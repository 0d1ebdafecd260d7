//! Exchanges that last as long as their two ends like: a drain has to ask for their end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU64, Ordering};

/// The kinds, by how each can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasting {
    /// By a close frame (RFC 6455, section 5.5.1).
    WebSocket,
    /// By its end between two events: a client of it comes again by itself.
    EventStream,
    /// By GOAWAY and a status.
    Grpc,
    /// Not at all: bytes that nobody here understands.
    Tunnel,
}

impl Lasting {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::EventStream, Self::Grpc, Self::Tunnel];

    /// The word used in JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "web_socket",
            Self::EventStream => "event_stream",
            Self::Grpc => "grpc",
            Self::Tunnel => "tunnel",
        }
    }
}

/// How many of each an instance holds.
#[derive(Debug)]
pub struct LastingCounts([AtomicU64; Lasting::ALL.len()]);

impl Default for LastingCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl LastingCounts {
    /// One has begun.
    pub fn begin(&self, kind: Lasting) {
        self.0[kind as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// One has ended.
    pub fn end(&self, kind: Lasting) {
        self.0[kind as usize].fetch_sub(1, Ordering::Release);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// By kind; kinds of which there are none are left out.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<Lasting, u64> {
        let count = |kind: Lasting| (kind, self.0[kind as usize].load(Ordering::Acquire));
        Lasting::ALL.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
    }
}
