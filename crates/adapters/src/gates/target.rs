//! Who is asked: the proxy, and on whose behalf.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use cutover_core::ReleaseId;
use cutover_core::gates::Gates;
use cutover_core::release::Route;
use http::{HeaderMap, HeaderName, StatusCode};

/// Leads a request to the idle environment, and says of an answer which release it comes from.
pub(super) const PREVIEW: HeaderName = HeaderName::from_static("x-cutover-preview");

/// How long the private way is good beyond what the gate may take.
const MARGIN: Duration = Duration::from_secs(60);

/// By which way a release is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As users reach it.
    Public,
    /// Before users do.
    Private,
}

/// A release that is reached through the proxy.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// The host that its service answers to; absent if it answers to every one.
    pub(super) host: Option<String>,
    token: Option<String>,
    /// The release that answers by the private way.
    proof: Option<ReleaseId>,
}

impl Target {
    /// Whoever listens there for this route, with this token; by the private way to this release.
    pub(super) fn new(
        listeners: &[SocketAddr],
        route: &Route,
        token: Option<String>,
        proof: Option<ReleaseId>,
    ) -> Result<Self, String> {
        let mut address = *listeners.first().ok_or("the proxy does not listen anywhere")?;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Self { address, host: host_of(route), token, proof })
    }

    /// What is sent as `Host`.
    pub(super) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("localhost")
    }

    /// What leads there; absent where nothing is needed.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether an answer comes from the release that was to be asked.
    pub(super) fn check_proof(&self, status: StatusCode, answer: &HeaderMap) -> Result<(), String> {
        let Some(release) = &self.proof else { return Ok(()) };
        let proof = answer.get(PREVIEW).map(http::HeaderValue::as_bytes);
        if proof == Some(release.as_str().as_bytes()) {
            Ok(())
        } else {
            // What the proxy says itself says more than that.
            let own = match status.as_u16() {
                403 => {
                    ": the proxy refuses its token; one that runs since before the controller was exchanged knows none"
                }
                404 => ": the proxy knows no such service",
                502 => ": the proxy could not reach an instance, or could not understand it",
                503 => ": the proxy has no instance of it",
                504 => ": the proxy waited for an instance in vain",
                _ => "",
            };
            Err(format!("the answer did not come from the idle environment{own}"))
        }
    }
}

/// A host that a route matches: the one that all others lead to, one that is written out, else one below the first wildcard.
fn host_of(route: &Route) -> Option<String> {
    if let Some(host) = &route.canonical_host {
        return Some(host.clone());
    }
    let plain = route.hosts.iter().find(|host| !host.starts_with("*."));
    plain.cloned().or_else(|| {
        let wildcard = route.hosts.first()?.strip_prefix("*.")?;
        Some(format!("smoke.{wildcard}"))
    })
}

/// How long the gates of a release need its private way at most: suites run at the same time, hooks one after the
/// other.
pub(super) fn validity(gates: &Gates) -> Duration {
    let suites = gates.smoke.iter().map(|suite| suite.timeout).max().unwrap_or_default();
    let hooks = gates.hooks.iter().fold(Duration::ZERO, |all, hook| all.saturating_add(hook.timeout));
    suites.max(hooks).saturating_add(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(listeners: &[&str], hosts: &[&str]) -> Result<Target, String> {
        let listeners: Vec<SocketAddr> = listeners.iter().map(|it| it.parse().unwrap()).collect();
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Target::new(&listeners, &Route { hosts, path: "/".to_owned(), canonical_host: None }, None, None)
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_this_host() {
        let check = |listener: &str, expected: &str| {
            assert_eq!(target(&[listener], &[]).unwrap().address, expected.parse().unwrap());
        };
        check("0.0.0.0:80", "127.0.0.1:80");
        check("[::]:80", "[::1]:80");
        check("192.0.2.1:80", "192.0.2.1:80");
        assert_eq!(target(&[], &[]).unwrap_err(), "the proxy does not listen anywhere");
    }

    #[test]
    fn the_host_is_one_that_the_route_matches() {
        let check = |hosts: &[&str], expected: &str| {
            assert_eq!(target(&["127.0.0.1:80"], hosts).unwrap().host(), expected);
        };
        check(&[], "localhost");
        check(&["shop.example.com", "example.com"], "shop.example.com");
        check(&["*.example.com", "example.com"], "example.com");
        check(&["*.example.com"], "smoke.example.com");
        let hosts = vec!["www.example.com".to_owned(), "example.com".to_owned()];
        let route = Route { hosts, path: "/".to_owned(), canonical_host: Some("example.com".to_owned()) };
        assert_eq!(host_of(&route).as_deref(), Some("example.com"));
    }
}
