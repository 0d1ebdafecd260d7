//! The recorded proof of a shift, as the data plane answers it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, PerEnvironment, Weights};
use crate::epoch::Epoch;
use crate::names::ServiceName;
use crate::statistics::{Failure, Marks};
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
    /// Of those, the ones that last as long as their ends like: WebSockets, streams.
    #[serde(default, skip_serializing_if = "none_last")]
    pub lasting: PerEnvironment<u64>,
}

fn none_last(lasting: &PerEnvironment<u64>) -> bool {
    *lasting == PerEnvironment::default()
}

/// What became of a shift since it was published. All that is counted is counted from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftReport {
    /// The epoch that changed the weights.
    pub epoch: Epoch,
    /// Identifies the run of the data plane that has counted; empty from one that does not say.
    #[serde(default)]
    pub boot_id: String,
    /// Microseconds until the head of the first answer from each environment; absent while there is none.
    pub first_answer_us: PerEnvironment<Option<u64>>,
    /// Microseconds until the last of the requests that were in flight had ended, looked at every 5 ms; absent while some
    /// are left.
    pub emptied_us: PerEnvironment<Option<u64>>,
    /// How many are left.
    pub left: PerEnvironment<u64>,
    /// What each environment has done.
    pub sides: PerEnvironment<Side>,
    /// Requests that got no instance: there was none, or no room to wait for one.
    pub turned_away: u64,
    /// Requests that waited for the end of a hold.
    pub held: u64,
}

/// What was found out about a shift after it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// When that was.
    pub at: Timestamp,
    /// Whether there is nothing left to be found out.
    pub is_whole: bool,
    /// Whether the data plane ended amid it, with what it had counted since it was asked last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
    /// What the data plane says.
    pub report: ShiftReport,
    /// What those found who went the way of users.
    pub probes: Vec<Probe>,
}

/// One look through a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The listener.
    pub listener: SocketAddr,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// Which environment has answered; absent if none has.
    pub answered: Option<Environment>,
    /// The status of its answer.
    pub status: Option<u16>,
    /// What went wrong, if nobody has answered.
    pub problem: Option<String>,
}

/// One environment's part of a shift.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Side {
    /// Requests that it answered or failed.
    pub requests: u64,
    /// Answers with 5xx.
    pub errors: u64,
    /// Requests that failed on their way, by reason; reasons that did not occur are left out.
    pub failures: BTreeMap<Failure, u64>,
    /// Requests that were sent once more, elsewhere or on a fresh connection.
    pub retries: u64,
    /// Requests that went on to the other environment.
    pub replays: u64,
}

impl From<Marks> for Side {
    fn from(marks: Marks) -> Self {
        let failures = Failure::ALL.into_iter().zip(marks.failures).filter(|(_, count)| *count > 0);
        Self {
            requests: marks.requests,
            errors: marks.errors,
            failures: failures.collect(),
            retries: marks.retries,
            replays: marks.replays,
        }
    }
}
