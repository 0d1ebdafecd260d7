//! Requests that are kept waiting, or sent away, while something is done that bears no traffic.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// Why the requests of a service do not go to its instances now. Those for its health path, and those with a token, do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pause {
    /// They wait. It ends by itself, whoever has died meanwhile.
    Hold(Hold),
    /// They are told to come again later.
    Maintenance(Maintenance),
}

/// How many may wait, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The moment at which they go on by themselves.
    pub until: Timestamp,
    /// Requests that wait at most; the next one is sent away.
    #[serde(default = "some_requests")]
    pub requests: u32,
    /// Bytes of heads and bodies that those may keep in memory together.
    #[serde(default = "some_bytes")]
    pub bytes: u64,
}

const fn some_requests() -> u32 {
    Hold::REQUESTS
}

const fn some_bytes() -> u64 {
    Hold::BYTES
}

impl Hold {
    /// Requests that wait at most where nothing is said.
    pub const REQUESTS: u32 = 10_000;
    /// Bytes that they keep at most where nothing is said.
    pub const BYTES: u64 = 64 * 1024 * 1024;

    /// A hold until then within the ordinary bounds.
    #[must_use]
    pub fn until(until: Timestamp) -> Self {
        Self { until, requests: Self::REQUESTS, bytes: Self::BYTES }
    }
}

/// What those are told that are sent away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// A page for whoever reads HTML; others are told in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: u32,
}

impl Maintenance {
    /// The longest page, in bytes: it is part of the table.
    pub const LONGEST_PAGE: usize = 32 * 1024;
}
