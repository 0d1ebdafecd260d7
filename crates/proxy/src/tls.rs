//! TLS towards clients: which certificate for which name, which policy for which host, and the handshake.
//!
//! What lies in files is read by one thread, `watch`, and looked at again and again; workers read what it has made of them
//! through [`Tls`], which all of them share. A file that is no good any more changes nothing: the last good one stays.
//!
//! Reading order: `names` finds certificates, `files` keeps them, `policy` is what clients are asked for, `tickets` lets
//! them come back cheaply, `challenges` answers authorities; `accept` is the handshake, `rules` what TLS means for a request.

mod accept;
mod challenges;
pub(crate) mod files;
mod names;
mod policy;
mod rules;
pub(crate) mod tickets;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use cutover_core::routing::{ClientCertificates, ServiceRoute, TlsListeners};
use cutover_core::statistics::{CertificateReport, TlsReport};
use tokio::sync::Notify;

pub(crate) use accept::accept;
pub(crate) use challenges::{ChallengeAnswer, Challenges};
pub(crate) use names::Names;
pub(crate) use policy::Policies;
pub(crate) use watch::{Watch, watch};

use crate::tls::tickets::Tickets;
use crate::upstream::Secured;

/// What all workers, their administrators and the watch over files share.
pub(crate) struct Tls {
    settings: TlsListeners,
    /// Where TLS is spoken.
    listeners: Vec<SocketAddr>,
    /// Certificates by name, as rustls asks for them.
    names: Arc<names::Shown>,
    policies: ArcSwap<Policies>,
    /// TLS towards instances.
    pub(crate) upstreams: ArcSwap<Secured>,
    tickets: Arc<Tickets>,
    pub(crate) challenges: Challenges,
    reports: ArcSwap<Vec<CertificateReport>>,
    handshakes: Handshakes,
    /// Somebody wants the files looked at now.
    pub(crate) asked: Notify,
}

/// Handshakes, since the start.
#[derive(Debug, Default)]
struct Handshakes {
    full: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
}

/// What became of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    Full,
    Resumed,
    Failed,
}

impl Tls {
    pub(crate) fn new(settings: TlsListeners, listeners: Vec<SocketAddr>, tickets: Tickets) -> Self {
        Self {
            settings,
            listeners,
            names: Arc::default(),
            policies: ArcSwap::default(),
            upstreams: ArcSwap::default(),
            tickets: Arc::new(tickets),
            challenges: Challenges::default(),
            reports: ArcSwap::default(),
            handshakes: Handshakes::default(),
            asked: Notify::new(),
        }
    }

    /// Whether TLS is spoken anywhere.
    pub(crate) fn is_spoken(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Whether there is anything to report: also what is wrong with files where TLS is spoken to instances alone.
    pub(crate) fn has_something_to_tell(&self) -> bool {
        self.is_spoken() || !self.reports.load().is_empty()
    }

    /// The port that redirects name: that by which clients come.
    pub(crate) fn public_port(&self) -> u16 {
        let own = self.listeners.first().map_or(443, SocketAddr::port);
        self.settings.public_port.unwrap_or(own)
    }

    /// What a listener asks of clients, where their host asks nothing.
    pub(crate) fn clients_of(&self, listener: SocketAddr) -> Option<Arc<ClientCertificates>> {
        self.settings.clients_of(listener).cloned().map(Arc::new)
    }

    /// Whether there is a certificate for a host.
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.names.load().find(host).is_some()
    }

    /// Forgets the keys of tickets, and takes a new one.
    pub(crate) fn replace_tickets(&self) {
        self.tickets.replace();
    }

    /// Reads what these services name, before any request comes by them. What others need stays.
    pub(crate) fn take_up<'s>(&self, services: impl IntoIterator<Item = &'s ServiceRoute> + Clone) {
        self.renew(services, false);
    }

    /// Reads what has changed in files; whether anything had.
    fn renew<'s>(&self, services: impl IntoIterator<Item = &'s ServiceRoute> + Clone, prune: bool) -> bool {
        let listeners = self.settings.clients.iter().chain(self.settings.listeners.values());
        let hosts = services.clone().into_iter().filter_map(|route| route.https.clients.as_ref());
        let asked: Vec<ClientCertificates> = listeners.chain(hosts).cloned().collect();
        let policies = self.policies.load().renewed(self, &asked, prune);
        let instances = services.into_iter().flat_map(|route| [&route.upstream.blue, &route.upstream.green]);
        let spoken: Vec<_> = instances.filter_map(|upstream| upstream.tls.clone()).collect();
        let upstreams = self.upstreams.load().renewed(&spoken, prune);
        let changed = policies.is_some() || upstreams.is_some();
        if let Some(policies) = policies {
            self.policies.store(Arc::new(policies));
        }
        if let Some(upstreams) = upstreams {
            self.upstreams.store(Arc::new(upstreams));
        }
        changed
    }

    fn count(&self, handshake: Handshake) {
        let Handshakes { full, resumed, failed } = &self.handshakes;
        let counter = match handshake {
            Handshake::Full => full,
            Handshake::Resumed => resumed,
            Handshake::Failed => failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was seen so far, and what is shown to whom.
    pub(crate) fn report(&self) -> TlsReport {
        let Handshakes { full, resumed, failed } = &self.handshakes;
        TlsReport {
            handshakes: full.load(Ordering::Relaxed),
            resumed: resumed.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            certificates: self.reports.load().as_ref().clone(),
        }
    }
}
