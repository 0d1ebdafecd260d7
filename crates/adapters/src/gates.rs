//! Runs gates: hooks, smoke suites, steps of the database.
//!
//! Programs run through the port [`Console`], so with what the release is run with, under a guard that ends whatever
//! they start, and never twice at once: before anything else, what a former run of the same gate has left is ended.
//! Suites and the programs of hooks reach the release through the proxy, as users will: by the private way while it is
//! idle, by the public one when it is live. By the private way no verdict is a pass if what was asked may have been
//! somebody else.

mod exchange;
mod hook;
mod http_hook;
mod hurl;
mod program;
mod relay;
mod report;
mod requests;
mod scratch;
mod secrets;
mod suite;
mod tail;
mod target;
mod tries;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::SystemTime;

use async_trait::async_trait;
use cutover_controller::ports::{Console, GateRun, GateRunner, Migrator};
use cutover_core::gates::{Check, Finding, Gate, HookPoint, Suite};
use cutover_core::{ReleaseId, ServiceName, Timestamp};
use cutover_smoke::Mask;

use self::scratch::Scratch;
use self::secrets::Secrets;
use self::target::{Target, Way};

/// Where the proxy listens, as it is now.
pub type Listeners = Arc<dyn Fn() -> Vec<SocketAddr> + Send + Sync>;

/// What leads to a service, good until a moment; `None` if there is nothing that does.
pub type SignedWay = Arc<dyn Fn(&ServiceName, Leads<'_>, Timestamp) -> Option<String> + Send + Sync>;

/// Where a signed way leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads<'a> {
    /// To a release, whether users get it or not.
    To(&'a ReleaseId),
    /// Where users get, without TLS and what else is asked of them: the proxy is on this host.
    AsUsers,
}

/// Runs what a release brings along.
pub struct Gatekeeper {
    console: Arc<dyn Console>,
    listeners: Listeners,
    signed_way: SignedWay,
    state_directory: PathBuf,
    scratch: Scratch,
}

impl fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatekeeper").field("state_directory", &self.state_directory).finish_non_exhaustive()
    }
}

impl Gatekeeper {
    /// A keeper for the releases of this state directory; `gates/` in it belongs to it alone.
    #[must_use]
    pub fn new(
        state_directory: PathBuf,
        console: Arc<dyn Console>,
        listeners: Listeners,
        signed_way: SignedWay,
    ) -> Self {
        let scratch = Scratch::at(state_directory.join("gates"));
        Self { console, listeners, signed_way, state_directory, scratch }
    }

    async fn ask(&self, wanted: GateRun<'_>) -> Finding {
        if let Err(error) = self.console.end(wanted.id).await {
            return Finding::not_yet(format!("what runs of it already cannot be ended: {error}"));
        }
        let secrets =
            match Secrets::read(&self.state_directory, &wanted.context.service, wanted.release).await {
                Ok(secrets) => secrets,
                Err(reason) => return Finding::not_yet(reason),
            };
        let target = self.target(&wanted);
        let token = target.as_ref().ok().and_then(|target| target.token()).map(str::to_owned);
        let mask = Mask::new(secrets.values().chain(token));
        let run = Run { wanted, keeper: self, secrets, target, mask, programs: AtomicU32::new(0) };
        let finding = Finding::of(run.checks().await);
        run.mask.hide_in(finding).in_short()
    }

    /// Who is asked for the gate, or why nobody can be.
    fn target(&self, wanted: &GateRun<'_>) -> Result<Target, String> {
        let route = &wanted.release.configuration.route;
        let until = now() + target::validity(&wanted.release.configuration.gates);
        let sign = |leads| (self.signed_way)(&wanted.context.service, leads, until);
        let (token, proof) = match way_of(wanted.gate) {
            None => return Err("nobody is asked".to_owned()),
            Some(Way::Public) => (sign(Leads::AsUsers), None),
            Some(Way::Private) => {
                let token = sign(Leads::To(&wanted.release.id));
                let token = token.ok_or("there is no private way to the idle environment")?;
                (Some(token), Some(wanted.release.id.clone()))
            }
        };
        Target::new(&(self.listeners)(), route, token, proof)
    }
}

/// How a gate reaches the release.
fn way_of(gate: &Gate) -> Option<Way> {
    match gate {
        Gate::Smoke => Some(Way::Private),
        Gate::StillWorks | Gate::DuringBake { .. } => Some(Way::Public),
        Gate::Hook(HookPoint::AfterHealthy | HookPoint::AfterSmoke | HookPoint::BeforeShift) => {
            Some(Way::Private)
        }
        Gate::Hook(_) | Gate::Expand | Gate::Contract => None,
    }
}

/// One gate that is asked.
struct Run<'a> {
    wanted: GateRun<'a>,
    keeper: &'a Gatekeeper,
    secrets: Secrets,
    target: Result<Target, String>,
    mask: Mask,
    /// How many programs it has started.
    programs: AtomicU32,
}

impl Run<'_> {
    async fn checks(&self) -> Vec<Check> {
        let gates = &self.wanted.release.configuration.gates;
        match self.wanted.gate {
            Gate::Hook(point) => self.hooks(*point).await,
            Gate::Expand => self.migration(gates.migrate.expand.as_deref()).await,
            Gate::Contract => self.migration(gates.migrate.contract.as_deref()).await,
            Gate::Smoke | Gate::StillWorks => self.suites(&gates.smoke.iter().collect::<Vec<_>>()).await,
            Gate::DuringBake { suite } => {
                let found: Vec<&Suite> = gates.smoke.iter().filter(|it| it.name == *suite).collect();
                self.suites(&found).await
            }
        }
    }

    /// Tells what is waited for.
    fn waits_for(&self, what: String) {
        // Nobody may care any more.
        let _ = self.wanted.waiting_for.send(what);
    }
}

#[async_trait]
impl GateRunner for Gatekeeper {
    async fn run(&self, wanted: GateRun<'_>) -> Finding {
        self.ask(wanted).await
    }
}

#[async_trait]
impl Migrator for Gatekeeper {
    async fn expand(&self, wanted: GateRun<'_>) -> Finding {
        self.ask(GateRun { gate: &Gate::Expand, ..wanted }).await
    }

    async fn contract(&self, wanted: GateRun<'_>) -> Finding {
        self.ask(GateRun { gate: &Gate::Contract, ..wanted }).await
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// How long something took, for a check.
fn milliseconds(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
