//! What the instances of an environment speak: part of their release, so blue and green may differ.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::environment::PerEnvironment;

/// How a proxy speaks to instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// The protocol of requests.
    pub protocol: Protocol,
    /// What tells an instance at the start of each connection who the client is; `None` tells it in header fields
    /// alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How TLS is spoken to instances; `None` speaks none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<UpstreamTls>>,
}

/// TLS towards instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// The authorities that instances are believed by, in PEM; absent, those of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The name that their certificates must be for; absent, the address of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// What the proxy shows instances of itself: a chain in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Whoever answers is believed to be the instance: nothing about its certificate is checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_believe_anybody: bool,
}

/// The protocol of requests to an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113, section 3.3).
    H2c,
    /// HTTP/2 with TLS.
    H2,
    /// Each instance is asked once: HTTP/2 if it answers its preface or, with TLS, agrees to it (ALPN); else
    /// HTTP/1.1.
    Auto,
}

/// A version of the PROXY protocol (HAProxy's `proxy-protocol.txt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyProtocol {
    /// The 12 bytes that begin a header of version 2.
    pub const V2_SIGNATURE: &'static [u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

    /// The header of a connection that speaks for nobody but itself, such as a probe: `UNKNOWN`, or the command LOCAL.
    #[must_use]
    pub fn header_of_nobody(self) -> &'static [u8] {
        match self {
            Self::V1 => b"PROXY UNKNOWN\r\n",
            Self::V2 => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        }
    }
}

impl Upstream {
    /// Whether it is what is meant where nothing is said: HTTP/1.1, and nothing before it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether both environments are plain: then a table does not mention it.
pub(super) fn is_plain(upstream: &PerEnvironment<Upstream>) -> bool {
    upstream.blue.is_plain() && upstream.green.is_plain()
}

/// In files: one word or one table for both environments, or a table for each.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`upstream` is `h1`, `h2c`, `h2` or `auto`, or a table with `protocol`, `proxy_protocol` (`v1` or `v2`) and `tls`"
)]
pub(super) enum UpstreamText {
    Word(Protocol),
    Both(Upstream),
    Each(Box<Each>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Each {
    blue: Upstream,
    green: Upstream,
}

impl From<UpstreamText> for PerEnvironment<Upstream> {
    fn from(text: UpstreamText) -> Self {
        let both = |upstream: Upstream| PerEnvironment::from_fn(|_| upstream.clone());
        match text {
            UpstreamText::Word(protocol) => both(Upstream { protocol, ..Upstream::default() }),
            UpstreamText::Both(upstream) => both(upstream),
            UpstreamText::Each(each) => PerEnvironment { blue: each.blue, green: each.green },
        }
    }
}

pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<PerEnvironment<Upstream>, D::Error> {
    UpstreamText::deserialize(deserializer).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        #[serde(deserialize_with = "deserialize")]
        upstream: PerEnvironment<Upstream>,
    }

    fn check(json: &str, blue: Upstream, green: Upstream) {
        let held: Holder = serde_json::from_str(&format!("{{\"upstream\":{json}}}")).unwrap();
        assert_eq!((held.upstream.blue, held.upstream.green), (blue, green), "{json}");
    }

    #[test]
    fn it_is_one_word_or_one_table_for_both_or_a_table_for_each() {
        let h2c = Upstream { protocol: Protocol::H2c, ..Upstream::default() };
        let v2 = Upstream { proxy_protocol: Some(ProxyProtocol::V2), ..Upstream::default() };
        check("\"h2c\"", h2c.clone(), h2c.clone());
        check("{\"proxy_protocol\":\"v2\"}", v2.clone(), v2.clone());
        check("{\"blue\":{\"protocol\":\"h2c\"}}", h2c.clone(), Upstream::default());
        check(
            &serde_json::to_string(&PerEnvironment { blue: v2.clone(), green: h2c.clone() }).unwrap(),
            v2,
            h2c,
        );
    }

    #[test]
    fn a_word_that_is_no_protocol_is_an_error() {
        assert!(serde_json::from_str::<Holder>("{\"upstream\":\"h3\"}").is_err());
        assert!(serde_json::from_str::<Holder>("{\"upstream\":{\"protocl\":\"h1\"}}").is_err());
    }
}
