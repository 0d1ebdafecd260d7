//! When a request that failed before its answer began is sent once more, and where.

use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// What a service says of requests that are sent once more.
///
/// What was never sent may go on whatever it is. What was sent and lost goes on if its method is idempotent (RFC 9110,
/// section 9.2.2), or if it carries the key by which the application knows it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// Bytes of a body that are kept for it; a request with a longer one is not sent again once some of it was taken.
    pub body_bytes: u64,
    /// The field that makes a request one that may be repeated, whatever its method; lower-case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Whether what all instances of a release fail stays failed, however warm the former release is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub within_release: bool,
    /// The environment that takes what the other one failed, while it has no weight: it is warm, was live, and fits the
    /// schema. Named, so that it is no other one when somebody has moved the weights by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Environment>,
}

impl Default for Replay {
    fn default() -> Self {
        Self { body_bytes: 64 * 1024, idempotency_key: None, within_release: false, to: None }
    }
}

impl Replay {
    /// Whether it is what holds where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
