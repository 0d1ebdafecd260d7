//! How long those stay who are with an environment that gets no more requests, and how they are asked to leave.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::InstanceId;

/// What a service says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// Plain requests are waited for so long before the environment may be stopped.
    #[serde(with = "humantime_serde")]
    pub requests: Duration,
    /// What becomes of connections that last.
    pub connections: Connections,
}

/// What becomes of WebSockets, event streams and streams of gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Connections {
    /// They are asked to leave, one after the other.
    Within {
        /// Whoever is left then is cut off.
        #[serde(with = "humantime_serde")]
        limit: Duration,
        /// So many are asked in a second at most.
        rate: Rate,
        /// What becomes of the connections of all others.
        #[serde(default, skip_serializing_if = "Clients::is_default")]
        clients: Clients,
    },
    /// Nobody is asked: the environment is kept until the last one has left by itself.
    UntilEmpty,
}

/// What becomes of connections that clients had before a switch, on which they ask one thing after the other.
///
/// They are the data plane's own, so nothing has to become of them. But what stands in front of a service spreads clients
/// anew only when they connect anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clients {
    /// Each is told once, with an answer and no more than `rate` of them in a second, that the next request needs another
    /// connection: by `Connection: close` (RFC 9112, section 9.6), or by GOAWAY (RFC 9113, section 6.8).
    #[default]
    Reconnect,
    /// They stay.
    Stay,
}

impl Clients {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a data plane is told: those that last are to leave these instances, which get no more requests.
///
/// A data plane that is older than its controller does what it understands of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// Which.
    pub instances: Vec<InstanceId>,
    /// Calls of gRPC may end by themselves for so long.
    #[serde(with = "humantime_serde")]
    pub requests: Duration,
    /// Whoever is left then is cut off.
    #[serde(with = "humantime_serde")]
    pub limit: Duration,
    /// So many are asked in a second at most.
    pub rate: Rate,
    /// What becomes of the connections of all others.
    #[serde(default, skip_serializing_if = "Clients::is_default")]
    pub clients: Clients,
}

/// A number per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u32);

impl Rate {
    /// The most that can be said.
    pub const MOST: u32 = 1_000_000;

    /// So many per second; `None` for none, and for more than a million.
    #[must_use]
    pub fn new(per_second: u32) -> Option<Self> {
        (1..=Self::MOST).contains(&per_second).then_some(Self(per_second))
    }

    /// How many in a second.
    #[must_use]
    pub fn per_second(self) -> u32 {
        self.0
    }
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate such as 50/s, from 1/s to 1000000/s")]
pub struct NotARate(String);

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let number = text.strip_suffix("/s").and_then(|number| number.trim().parse().ok());
        number.and_then(Self::new).ok_or_else(|| NotARate(text.to_owned()))
    }
}

impl TryFrom<String> for Rate {
    type Error = NotARate;

    fn try_from(text: String) -> Result<Self, NotARate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            requests: Duration::from_secs(30),
            connections: Connections::Within {
                limit: Duration::from_secs(600),
                rate: Rate(50),
                clients: Clients::Reconnect,
            },
        }
    }
}

impl Drain {
    /// Whether it is what holds where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The longest that anybody is waited for; `None` if for ever.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        match self.connections {
            Connections::Within { limit, .. } => Some(limit.max(self.requests)),
            Connections::UntilEmpty => None,
        }
    }

    /// What a data plane is told of these instances; nothing if nobody is to be asked.
    #[must_use]
    pub fn departure(&self, instances: &[InstanceId]) -> Option<Departure> {
        let Connections::Within { limit, rate, clients } = self.connections else { return None };
        Some(Departure { instances: instances.to_vec(), requests: self.requests, limit, rate, clients })
    }

    /// For whoever cannot wait: connections that last get no more time than plain requests do, and are asked as fast as
    /// it takes. Connections of clients are in nobody's way.
    #[must_use]
    pub fn at_once(&self) -> Self {
        Self {
            requests: self.requests,
            connections: Connections::Within {
                limit: self.requests,
                rate: Rate(Rate::MOST),
                clients: Clients::Stay,
            },
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        assert_eq!("50/s".parse(), Ok(Rate(50)));
        assert_eq!(Rate(50).to_string(), "50/s");
        for wrong in ["50", "0/s", "/s", "-1/s", "50/m", "1000001/s", "5.5/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_wait_takes_no_longer_than_requests_do() {
        let patient = Drain { connections: Connections::UntilEmpty, ..Drain::default() };
        assert_eq!(patient.longest(), None);
        assert_eq!(patient.at_once().longest(), Some(patient.requests));
        assert_eq!(Drain::default().longest(), Some(Duration::from_secs(600)));
        // Idle clients are in nobody's way.
        let told = |drain: &Drain| drain.departure(&[]).map(|departure| departure.clients);
        assert_eq!(told(&Drain::default()), Some(Clients::Reconnect));
        assert_eq!((told(&Drain::default().at_once()), told(&patient)), (Some(Clients::Stay), None));
    }
}
