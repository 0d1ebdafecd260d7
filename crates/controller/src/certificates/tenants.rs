//! What services want of certificates.

use async_trait::async_trait;
use cutover_core::ServiceName;
use cutover_core::certificates::Hosted;
use cutover_core::release::Configuration;
use cutover_core::tls::Tls;

use crate::manager::DeploymentManager;
use crate::service_loop::Snapshot;

/// A service with its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub service: ServiceName,
    /// What its live release wants; `None` without one.
    pub live: Option<Wish>,
    /// What the releases in its environments want, the live one among them: one of them may be live in an instant.
    pub held: Vec<Wish>,
    /// Whether that is all: what the record of a service says may be unreadable.
    pub is_known: bool,
}

/// What a release wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its hosts; empty for every host.
    pub hosts: Vec<String>,
    /// What it says about TLS.
    pub tls: Tls,
}

impl Wish {
    /// As it is decided by.
    #[must_use]
    pub fn hosted<'a>(&'a self, service: &'a ServiceName) -> Hosted<'a> {
        Hosted { service, hosts: &self.hosts, tls: &self.tls }
    }
}

/// Knows the services.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// All of them, as they are now.
    async fn tenants(&self) -> Vec<Tenant>;
}

#[async_trait]
impl Tenants for DeploymentManager {
    async fn tenants(&self) -> Vec<Tenant> {
        self.services().await.iter().map(|snapshot| tenant(snapshot)).collect()
    }
}

fn tenant(snapshot: &Snapshot) -> Tenant {
    let state = &snapshot.state;
    let wish = |configuration: &Configuration| Wish {
        hosts: configuration.route.hosts.clone(),
        tls: configuration.tls.clone(),
    };
    let held =
        |slot: &cutover_core::service::Slot| slot.release.as_ref().map(|held| wish(&held.configuration));
    let slots = &state.environments;
    let (live, idle) = (held(&slots[state.live]), held(&slots[state.live.other()]));
    Tenant {
        service: state.name.clone(),
        // Whoever removes a service wants nothing new for it.
        live: live.clone().filter(|_| state.removal.is_none()),
        is_known: snapshot.journal_trouble.is_none() || live.is_some() || idle.is_some(),
        // Once that is done, nobody goes back to anything of it.
        held: live
            .into_iter()
            .chain(idle)
            .filter(|_| !state.removal.as_ref().is_some_and(|removal| removal.done))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::health::HealthPolicy;
    use cutover_core::release::Release;
    use cutover_core::service::{Removal, ServiceState};
    use cutover_core::{Environment, Timestamp};

    use super::*;

    fn release(host: &str) -> Release {
        let configuration = serde_json::json!({
            "route": { "hosts": [host], "path": "/" }, "command": ["./shop"], "env": {},
            "run": {
                "instances": 1, "user": null, "workdir": ".", "stop_signal": "SIGTERM", "stop_timeout": "5s",
            },
            "health": HealthPolicy::default(),
            "health_deadline": humantime::format_duration(Duration::from_secs(30)).to_string(),
        });
        Release {
            id: "0123456789abcdef".parse().unwrap(),
            version: "v1".parse().unwrap(),
            directory: "/releases".into(),
            artifact_bytes: 0,
            configuration: serde_json::from_value(configuration).unwrap(),
            secrets: Vec::new(),
        }
    }

    /// Green is live; expects the live host, those that are held, and whether that is all.
    fn check(
        change: impl FnOnce(&mut ServiceState),
        trouble: Option<&str>,
        expected: (Option<&str>, &[&str], bool),
    ) {
        let mut state = ServiceState::new("shop".parse().unwrap());
        change(&mut state);
        let journal_trouble = trouble.map(str::to_owned);
        let (last_closed, waiting_for) = (None, None);
        let found = tenant(&Snapshot { sequence: 1, state, last_closed, waiting_for, journal_trouble });
        let live = found.live.as_ref().map(|wish| wish.hosts[0].as_str());
        let held: Vec<&str> = found.held.iter().map(|wish| wish.hosts[0].as_str()).collect();
        assert_eq!((live, held.as_slice(), found.is_known), expected);
    }

    #[test]
    fn the_live_release_wants_certificates_and_what_is_held_keeps_those_it_had() {
        let fill = |state: &mut ServiceState, live: bool| {
            state.environments[Environment::Blue].release = Some(release("idle.dev"));
            if live {
                state.environments[Environment::Green].release = Some(release("live.dev"));
            }
        };
        check(|state| fill(state, true), None, (Some("live.dev"), &["live.dev", "idle.dev"], true));
        check(|state| fill(state, false), None, (None, &["idle.dev"], true));
        check(|_| {}, None, (None, &[], true));
        check(|_| {}, Some("the record is damaged"), (None, &[], false));
        check(
            |state| fill(state, true),
            Some("disk full"),
            (Some("live.dev"), &["live.dev", "idle.dev"], true),
        );
        let removed = |state: &mut ServiceState, done: bool| {
            fill(state, true);
            state.removal =
                Some(Removal { by: "me".to_owned(), at: Timestamp::default(), done, retry_at: None });
        };
        check(|state| removed(state, false), None, (None, &["live.dev", "idle.dev"], true));
        check(|state| removed(state, true), None, (None, &[], true));
    }
}
