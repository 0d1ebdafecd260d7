//! The recorded proof of a shift, as the data plane answers it.

use serde::{Deserialize, Serialize};

use crate::environment::{PerEnvironment, Weights};
use crate::epoch::Epoch;
use crate::names::ServiceName;
use crate::timestamp::Timestamp;

/// What was true when a change of one service was answered.
///
/// From then on no request whose head is read later goes to an environment of weight 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The service that was changed.
    pub service: ServiceName,
    /// The epoch it is in now.
    pub epoch: Epoch,
    /// The weights it has now.
    pub weights: Weights,
    /// Swaps of the whole route table since the data plane started, this one included.
    pub generation: u64,
    /// Identifies the run of the data plane that answered.
    pub boot_id: String,
    /// When the table was stored.
    pub published_at: Timestamp,
    /// Microseconds from the table's store until every replaced target was fenced.
    pub fenced_after_us: u64,
    /// Requests that were still in flight on replaced targets when the last fence was set.
    pub in_flight: PerEnvironment<u64>,
}
