//! The statistics as they travel over the admin socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, Weights};
use crate::epoch::Epoch;
use crate::names::{InstanceId, ServiceName};
use crate::receipt::ShiftReport;
use crate::routing::Lasting;
use crate::statistics::counters::Failure;
use crate::statistics::histogram::Histogram;
use crate::timestamp::Timestamp;

/// Everything a data plane tells about its traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Identifies the run of the data plane; when it changes, counts began anew.
    pub boot_id: String,
    /// Swaps of the table since then.
    pub generation: u64,
    /// Process id of the data plane.
    pub pid: u32,
    /// Whether clients are accepted; a data plane that holds its listeners refuses them.
    #[serde(default = "yes")]
    pub listening: bool,
    /// The fingerprint of the key by which it believes tokens of previews, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_key: Option<String>,
    /// What a table may hold: 0 from before it said so, 1 with replays, pauses and drains.
    #[serde(default)]
    pub table_format: u32,
    /// TLS towards clients; absent where none is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsReport>,
    /// Every service that is routed.
    pub services: Vec<ServiceReport>,
    /// Instances that a table names or that still hold a request.
    pub instances: Vec<InstanceReport>,
}

/// A data plane that does not say so listens from its start.
fn yes() -> bool {
    true
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: ServiceName,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its weights.
    pub weights: Weights,
    /// Counts per environment and tag, the most lately routed last.
    pub tags: Vec<TagReport>,
    /// What became of its last shift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<ShiftReport>,
    /// Requests that wait for the end of a hold; absent where nothing is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Connections on which clients were told after a shift to connect anew, since the data plane started.
    #[serde(default)]
    pub renewed: u64,
}

/// Counts of one environment and tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagReport {
    /// The environment.
    pub environment: Environment,
    /// The tag: the release; with [`PREVIEW_SUFFIX`](super::PREVIEW_SUFFIX) behind it for requests with a token.
    pub tag: String,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts since the data plane started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that an instance was picked for.
    pub requests: u64,
    /// Answers by hundreds, 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Failures by kind; kinds that did not happen are left out.
    pub failures: BTreeMap<Failure, u64>,
    /// Requests that were sent once more, elsewhere or on a fresh connection.
    pub retries: u64,
    /// Requests that went on to the other environment, because this one failed them before their answer began. Neither
    /// these nor the retries are among the requests and failures.
    #[serde(default)]
    pub replays: u64,
    /// Microseconds from the request's head to the answer's head.
    pub first_byte_us: Histogram,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Its id.
    pub id: InstanceId,
    /// Where it accepts requests.
    pub address: SocketAddr,
    /// Requests it holds.
    pub in_flight: u64,
    /// Of those, the ones that last as long as their ends like, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lasting: BTreeMap<Lasting, u64>,
    /// How its drain goes on, if those that last are asked to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainReport>,
    /// Whether new requests go to it.
    pub in_rotation: bool,
    /// What its probes say; `None` while they say nothing, or where nobody asks.
    #[serde(default)]
    pub healthy: Option<bool>,
}

/// Those that last are being asked to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// When whoever is left is cut off.
    pub until: Timestamp,
    /// So many were asked, on all instances of the same drain.
    pub asked: u64,
}

/// What TLS towards clients has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReport {
    /// Full handshakes.
    pub handshakes: u64,
    /// Handshakes of clients that came back with a ticket.
    pub resumed: u64,
    /// Handshakes that came to nothing.
    pub failed: u64,
    /// Certificates, and files that should hold some.
    pub certificates: Vec<CertificateReport>,
}

/// A certificate that is shown to clients, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// The file it comes from.
    pub file: PathBuf,
    /// The names that it is for.
    pub names: Vec<String>,
    /// Until when it may be used; absent if none is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// SHA-256 of it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Why the file is not used as it is; what was shown before goes on to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
