//! Certificates that look after themselves: what services want is ordered, renewed, and put where the proxy looks.
//!
//! [`CertificateKeeper`] looks every few seconds at what is wanted and what there is, and has done what follows from that. What
//! follows is decided in `core::certificates`; here is only who is asked, in which order, and what is written down before.
//! An order may take minutes and never holds up the looking. The shelf is the truth: what is remembered of a certificate is
//! corrected by what lies there, so a crash at any point leaves nothing to be repaired.
//!
//! Reading order: [`tenants`] is what services want, `book` what is remembered, `order` one order, `given` what came of it
//! until it is on the shelf, `files` what somebody else looks after, `look` one look.

mod book;
mod files;
mod given;
mod look;
mod order;
pub mod tenants;

pub use tenants::{Tenant, Tenants};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cutover_core::Timestamp;
use cutover_core::certificates::{LeftOut, Standing};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::certificates::book::Book;
use crate::certificates::files::Staging;
use crate::certificates::given::Given;
use crate::clock::Clock;
use crate::ports::{CertificateAuthority, CertificateFront, CertificateShelf};

/// How often it is looked, by default.
pub const LOOK: Duration = Duration::from_secs(2);

/// What a keeper needs.
#[derive(Clone)]
pub struct Keeping {
    /// Whose hosts there are; the manager.
    pub tenants: Arc<dyn Tenants>,
    /// Where certificates lie.
    pub shelf: Arc<dyn CertificateShelf>,
    /// Who gives them.
    pub authority: Arc<dyn CertificateAuthority>,
    /// Who serves them, and answers authorities.
    pub front: Arc<dyn CertificateFront>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// A random number from 0 to 1, such as [`chance`].
    pub random: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Where clients are accepted.
    pub listeners: Listeners,
    /// How often it is looked, such as [`LOOK`].
    pub every: Duration,
}

/// Which kinds of listeners there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    /// With TLS. Without one, no authority is asked for anything.
    pub tls: bool,
    /// Without TLS, on port 80, where authorities ask by `http-01` (RFC 8555, section 8.3). Without one, that is tried only
    /// for those who say so.
    pub plain: bool,
}

/// Looks after the certificates of all services.
#[derive(Clone)]
pub struct CertificateKeeper(Arc<Keeper>);

struct Keeper {
    with: Keeping,
    book: Book,
    left_out: Mutex<Vec<LeftOut>>,
    /// The directories and the names for which something is being asked.
    busy: Mutex<HashSet<Busy>>,
    /// What was given and could not be put on the shelf yet, by name.
    given: Mutex<BTreeMap<String, Given>>,
    /// Files whose reading has not come to an end, by name.
    staging: Mutex<HashMap<String, Staging>>,
    /// Told when there is a reason to look at once.
    reason: Notify,
}

/// One order at a time for a directory, and for a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Busy {
    Directory(String),
    Name(String),
}

impl CertificateKeeper {
    /// One that does nothing before it is run.
    #[must_use]
    pub fn new(with: Keeping) -> Self {
        let book = Book::on(Arc::clone(&with.shelf));
        let (left_out, busy, reason) = (Mutex::default(), Mutex::default(), Notify::new());
        let (given, staging) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Keeper { with, book, left_out, busy, given, staging, reason }))
    }

    /// Looks after the certificates for ever. Who ends it ends the orders that are under way.
    pub async fn run(&self) {
        let mut orders = JoinSet::new();
        loop {
            self.0.look(&mut orders).await;
            tokio::select! {
                () = tokio::time::sleep(self.0.with.every) => {}
                () = self.0.reason.notified() => {}
                // The next one for the same authority does not wait.
                Some(ended) = orders.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "an order of a certificate has ended by a bug");
                },
            }
        }
    }

    /// How each certificate stands, by name: those that are wanted, and those that are still there.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.0.book.standings()
    }

    /// The hosts that there is no certificate for, and why.
    #[must_use]
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.0.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a certificate ordered now, whatever it waits for. Answers whether there is one that is wanted and ordered.
    pub async fn ask(&self, name: &str) -> bool {
        use cutover_core::certificates::SourceKind;
        let asked = |standing: &Standing| standing.wanted && standing.source == SourceKind::Acme;
        if !self.standings().iter().any(|standing| standing.name == name && asked(standing)) {
            return false;
        }
        self.0.change(name, Standing::ask).await;
        self.0.reason.notify_one();
        true
    }
}

impl Keeper {
    /// The host's clock, for certificates live by the world's time: a host that slept is behind by its own.
    fn now(&self) -> Timestamp {
        let clock = &self.with.clock;
        Timestamp::from_millis(clock.now().as_millis().saturating_add_signed(clock.drift()))
    }

    fn chance(&self) -> f64 {
        (self.with.random)()
    }

    /// Changes what is remembered of a certificate. What cannot be written is remembered in memory, and written later.
    async fn change(&self, name: &str, change: impl FnOnce(&mut Standing)) {
        if let Err(error) = self.book.change(name, change).await {
            tracing::warn!(name, %error, "how a certificate stands could not be recorded");
        }
    }
}

/// A random number from 0 to 1.
#[must_use]
pub fn chance() -> f64 {
    // What the standard library draws to keep its tables safe.
    let random = RandomState::new().hash_one(0);
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
