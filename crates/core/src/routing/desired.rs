//! What somebody wants routed: the one schema of the seed file, the saved table and the admin socket.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, PerEnvironment, Weights};
use crate::epoch::Epoch;
use crate::health::HealthPolicy;
use crate::names::{InstanceId, ServiceName};
use crate::routing::https::Https;
use crate::routing::listen::{Clients, Listen};
use crate::routing::pause::Pause;
use crate::routing::replay::Replay;
use crate::routing::upstream::{self, Upstream};

/// A whole table: listeners and services. `[listen]` and `[[service]]` in TOML, the same keys in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDocument {
    /// Where clients are accepted; fixed for the life of a data plane.
    pub listen: Listen,
    /// What clients are held to, and believed; fixed as well.
    #[serde(default, skip_serializing_if = "Clients::is_default")]
    pub clients: Clients,
    /// What is routed.
    #[serde(default, rename = "service")]
    pub services: Vec<ServiceRoute>,
}

/// One service as it should be routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRoute {
    /// Its name.
    pub name: ServiceName,
    /// Its epoch; absent means "one more than the present one".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Host names, `*.` in front for all sub-domains; empty for every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefix, matched at segment boundaries.
    #[serde(default = "root_path")]
    pub path: String,
    /// The share of new requests per environment.
    pub weights: Weights,
    /// Which environment is live while both have weight; absent where one has everything and is live by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Environment>,
    /// Instances of blue.
    #[serde(default)]
    pub blue: Vec<DesiredInstance>,
    /// Instances of green.
    #[serde(default)]
    pub green: Vec<DesiredInstance>,
    /// What statistics are counted under besides the environment: the release.
    #[serde(default)]
    pub tags: PerEnvironment<String>,
    /// How instances are probed; without it every instance is always in rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthPolicy>,
    /// How long the upstream may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What the instances speak.
    #[serde(default, deserialize_with = "upstream::deserialize", skip_serializing_if = "upstream::is_plain")]
    pub upstream: PerEnvironment<Upstream>,
    /// What its hosts do with TLS.
    #[serde(default, skip_serializing_if = "Https::is_default")]
    pub https: Https,
    /// The one host that requests for all others of the service are sent to, with 308.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_host: Option<String>,
    /// A release that users do not get, and whoever has a token for it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewRoute>,
    /// Whether nobody gets here without a token: nothing of it has earned its hosts yet, which may be another's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
    /// What is sent once more.
    #[serde(default, skip_serializing_if = "Replay::is_default")]
    pub replay: Replay,
    /// Why nothing is sent at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// A release that is reached with a token alone, because it has not earned its place in an environment yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewRoute {
    /// What tokens call it: the release.
    pub tag: String,
    /// The environment that it is meant for, whose `upstream` it speaks.
    pub environment: Environment,
    /// Its instances.
    #[serde(default)]
    pub instances: Vec<DesiredInstance>,
    /// The hosts that it is meant for, as those of a service: they may be others than those that are routed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The path prefix that it is meant for.
    #[serde(default = "root_path")]
    pub path: String,
    /// A host name of its own, where nobody gets anything without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

fn root_path() -> String {
    "/".to_owned()
}

impl ServiceRoute {
    /// Which environment is live: the one that has everything, else the one that is said to be, else the heavier.
    #[must_use]
    pub fn live(&self) -> Environment {
        let heavier =
            || if self.weights.of(Environment::Green) > 50 { Environment::Green } else { Environment::Blue };
        self.weights.sole().or(self.live).unwrap_or_else(heavier)
    }

    /// The instances of one environment.
    #[must_use]
    pub fn instances(&self, environment: Environment) -> &[DesiredInstance] {
        match environment {
            Environment::Blue => &self.blue,
            Environment::Green => &self.green,
        }
    }
}

/// One instance; in files, `"address"` alone is short for an id that equals the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "InstanceText")]
pub struct DesiredInstance {
    /// Its id.
    pub id: InstanceId,
    /// Where it accepts requests.
    pub address: SocketAddr,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an instance is an address with its port and no name, or a table with `id` and `address`"
)]
enum InstanceText {
    Address(SocketAddr),
    Full { id: InstanceId, address: SocketAddr },
}

impl From<InstanceText> for DesiredInstance {
    fn from(text: InstanceText) -> Self {
        match text {
            InstanceText::Full { id, address } => Self { id, address },
            InstanceText::Address(address) => Self::at(address),
        }
    }
}

impl DesiredInstance {
    /// An instance whose id is its address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        let id =
            InstanceId::try_from(address.to_string()).unwrap_or_else(|_| unreachable!("addresses are short"));
        Self { id, address }
    }
}

/// How long the upstream of a service may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To accept a connection.
    #[serde(with = "humantime_serde")]
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer.
    #[serde(with = "humantime_serde")]
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// The same where silence is ordinary: WebSockets and other upgrades, event streams, gRPC.
    #[serde(with = "humantime_serde", skip_serializing_if = "is_an_hour")]
    pub stream: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);

/// Left out of what is written, so that a table from before it existed is still the same table.
fn is_an_hour(stream: &Duration) -> bool {
    *stream == HOUR
}

impl Timeouts {
    /// Whether they are those that hold where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            stream: HOUR,
        }
    }
}

/// A change of one service: what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePatch {
    /// The service to change.
    pub name: ServiceName,
    /// The epoch of the change; absent means "one more than the present one".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// New weights.
    pub weights: Weights,
}
