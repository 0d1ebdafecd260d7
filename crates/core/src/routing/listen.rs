//! Where clients are accepted, whom of them is believed, and what each may cost.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::routing::https::TlsListeners;

/// Where clients are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Addresses for HTTP without TLS: HTTP/1.1, and HTTP/2 by prior knowledge.
    pub http: Vec<SocketAddr>,
    /// Addresses for HTTP with TLS: the same protocols, as client and listener agree (ALPN, RFC 7301).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub https: Vec<SocketAddr>,
}

/// What clients are held to, and believed. Fixed for the life of a data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Proxies in front: what they say of a client is passed on, what others say of themselves is replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// Whether every connection begins with a PROXY protocol header, version 1 or 2.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// A directory of pages for what the proxy answers itself: `503.html`, `404.json`, `error.html`, and the same in
    /// a directory named like a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<PathBuf>,
    /// How TLS is spoken.
    #[serde(skip_serializing_if = "TlsListeners::is_default")]
    pub tls: TlsListeners,
    /// What one client may cost.
    #[serde(skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// What one client may cost. What is beyond is refused or closed; each has a default that ordinary traffic stays below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's head; beyond 431.
    pub head_bytes: usize,
    /// Fields of a request's head; beyond 431. At most [`Limits::MOST_FIELDS`].
    pub head_fields: usize,
    /// Bytes of a request's target; beyond 414.
    pub target_bytes: usize,
    /// From the first byte of a head to its last; beyond 408.
    #[serde(with = "humantime_serde")]
    pub head_time: Duration,
    /// How long a connection without a request is kept.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Bytes of a request's body; beyond 413. 0 for no limit.
    pub body_bytes: u64,
    /// Bytes per second that a client has to send of a body, or to take of an answer, on the average and once
    /// `slow_grace` is over; a slower one is closed, before its answer with 408. 0 for no limit.
    pub slow_rate: u64,
    /// For how long a client may be slower than that.
    #[serde(with = "humantime_serde")]
    pub slow_grace: Duration,
    /// Connections of clients in each worker. One more takes the place of the one that has been idle for longest, and is
    /// refused where none is.
    pub connections: usize,
    /// Requests that an HTTP/2 connection may have open at a time.
    pub streams: u32,
    /// Requests that an HTTP/2 connection may take back, as a share of all its requests in percent, once it has taken
    /// back more than `resets_at_least`; beyond it is closed (CVE-2023-44487).
    pub resets_percent: u32,
    /// Requests that an HTTP/2 connection may always take back.
    pub resets_at_least: u32,
    /// Frames other than of requests and bodies (PING, SETTINGS, empty DATA and such) that an HTTP/2 connection may send
    /// per second, on the average over ten; beyond it is closed.
    pub control_frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            head_fields: 100,
            target_bytes: 16 * 1024,
            head_time: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            body_bytes: 0,
            // A hundredth of 1 Mbit/s, at which 2 GB take four and a half hours.
            slow_rate: 1_250,
            slow_grace: Duration::from_secs(30),
            connections: 20_000,
            streams: 250,
            resets_percent: 50,
            resets_at_least: 200,
            control_frames: 100,
        }
    }
}

impl Limits {
    /// Fields of a head that can be read at all.
    pub const MOST_FIELDS: usize = 200;

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Clients {
    /// What of it cannot be meant, in one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Limits {
            head_bytes, head_fields, target_bytes, head_time, keep_alive, connections, streams, ..
        } = self.limits;
        let most = Limits::MOST_FIELDS;
        let short = |time: Duration| time < Duration::from_millis(100);
        let sentence = if !(1..=most).contains(&head_fields) {
            format!("`head_fields` is 1 to {most}")
        } else if !(1024..=1024 * 1024).contains(&head_bytes) {
            "`head_bytes` is 1024 to 1048576".to_owned()
        } else if target_bytes == 0 {
            "`target_bytes` is at least 1".to_owned()
        } else if short(head_time) || short(keep_alive) {
            "`head_time` and `keep_alive` are at least `100ms`".to_owned()
        } else if self.limits.resets_percent > 100 {
            "`resets_percent` is at most 100".to_owned()
        } else if connections == 0 || streams == 0 {
            "`connections` and `streams` are at least 1".to_owned()
        } else {
            return None;
        };
        Some(sentence)
    }

    /// Whether nothing was said about clients: then a table does not mention them.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Addresses with a common prefix, in CIDR notation; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a network like `10.0.0.0/8`")]
pub struct NotANetwork(String);

impl Network {
    /// Whether an address lies in it. An IPv4 address that was mapped into IPv6 is what it was.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => longest,
        };
        if prefix > longest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, address: &str, expected: bool) {
        let network: Network = network.parse().unwrap();
        assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
    }

    #[test]
    fn an_address_lies_in_a_network_by_its_prefix() {
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00::/8", "fd12::1", true);
        check("::/0", "2001:db8::1", true);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
    }

    #[test]
    fn limits_that_would_let_nobody_in_are_told() {
        let problem = |limits| Clients { limits, ..Clients::default() }.problem();
        assert_eq!(problem(Limits::default()), None);
        assert_eq!(
            problem(Limits { head_fields: 201, ..Limits::default() }).as_deref(),
            Some("`head_fields` is 1 to 200")
        );
        assert!(problem(Limits { connections: 0, ..Limits::default() }).is_some());
        assert!(problem(Limits { head_time: Duration::ZERO, ..Limits::default() }).is_some());
        assert!(problem(Limits { target_bytes: 0, ..Limits::default() }).is_some());
        assert!(problem(Limits { head_bytes: 1, ..Limits::default() }).is_some());
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_text() {
        for text in ["10.0.0.0/33", "10.0.0/8", "a.example", "", "::/129", "10.0.0.0/+8", "10.0.0.0/"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork(text.to_owned())));
        }
    }
}
