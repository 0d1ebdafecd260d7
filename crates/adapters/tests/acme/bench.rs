//! A place with an authority, somebody who answers it, and what is under test.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cutover_adapters::acme::AcmeAuthority;
use cutover_controller::ports::{CertificateAuthority, Issued, NotIssued, Order};
use cutover_core::tls::{Acme, Challenge};
use cutover_tls::Pair;
use tempfile::TempDir;

use crate::front::Front;
use crate::pebble::{Names, Pebble, Settings};

pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) settings: Settings,
    pub(crate) names: Names,
    pub(crate) pebble: Pebble,
    pub(crate) front: Front,
    pub(crate) authority: AcmeAuthority,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Front::start(false).await, |_| {})
    }

    pub(crate) fn with(front: Front, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings =
            Settings { http_port: front.http_port, tls_port: front.tls_port, ..Settings::default() };
        change(&mut settings);
        let names = Names::start(&directory.path().join("records"));
        let pebble = Pebble::start(directory.path(), &settings, &names);
        let authority = AcmeAuthority::new(&directory.path().join("state"));
        Self { directory, settings, names, pebble, front, authority }
    }

    pub(crate) fn acme(&self) -> Acme {
        Acme {
            directory: self.pebble.url(),
            ca: Some(self.pebble.ca()),
            contact: Some("admin@shop.test".to_owned()),
            dns_wait: Duration::ZERO,
            ..Acme::default()
        }
    }

    pub(crate) fn order(&self, hosts: &[&str], challenge: Challenge) -> Order {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Order { hosts, acme: self.acme(), challenge, replaces: None }
    }

    pub(crate) async fn obtain(&self, order: &Order) -> Result<Issued, NotIssued> {
        let obtained = self.authority.obtain(order, &self.front).await;
        assert_eq!(*self.front.shown.lock().unwrap(), [], "answers are withdrawn whatever came of it");
        obtained
    }

    /// Obtains it, and looks whether it is good.
    pub(crate) async fn succeeds(&self, order: &Order) -> Issued {
        let issued = self.obtain(order).await;
        let issued = issued.unwrap_or_else(|error| panic!("{error}\n{}", self.pebble.log()));
        let pair = Pair::from_pem(issued.chain.as_bytes(), issued.key.expose().as_bytes()).unwrap();
        let mut names = pair.facts().names.clone();
        let mut hosts = order.hosts.clone();
        names.sort();
        hosts.sort();
        assert_eq!(names, hosts);
        assert!(pair.chain().len() > 1, "what has signed it comes along");
        issued
    }

    pub(crate) async fn fails(&self, order: &Order) -> NotIssued {
        self.obtain(order).await.unwrap_err()
    }

    /// The files of accounts.
    pub(crate) fn accounts(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(self.directory.path().join("state/certificates/accounts"));
        found.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}
