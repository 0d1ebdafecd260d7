//! The one immutable value by which the data plane routes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::environment::{Environment, PerEnvironment};
use crate::epoch::Epoch;
use crate::names::ServiceName;
use crate::receipt::{Receipt, ShiftReport};
use crate::routing::desired::ServiceRoute;
use crate::routing::fence::Fence;
use crate::routing::https::Hsts;
use crate::routing::instance::InstanceState;
use crate::routing::lease::{NoTarget, Private};
use crate::routing::pause::Pause;
use crate::routing::renewal::Renewal;
use crate::routing::trail::{ServiceObserved, Trail};
use crate::statistics::{Counters, PrivateCounters};
use crate::sync::{AtomicUsize, Ordering};

/// Requests go on.
const OPEN: usize = 0;
/// They wait.
const HELD: usize = 1;
/// They are sent away.
const MAINTENANCE: usize = 2;

/// All services of one generation, found by host and path.
#[derive(Debug, Default)]
pub struct RouteTable {
    generation: u64,
    services: Vec<Arc<ServiceEntry>>,
    /// Lower-case host → its services; `*.example.com` under `example.com` in `wildcards`.
    exact: HashMap<String, Vec<Listed>>,
    wildcards: HashMap<String, Vec<Listed>>,
    every_host: Vec<Listed>,
}

/// A service under one of its hosts.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) service: Arc<ServiceEntry>,
    /// The host is that of its preview.
    pub(crate) only_previews: bool,
}

/// One service in one epoch.
#[derive(Debug)]
pub struct ServiceEntry {
    pub(crate) desired: ServiceRoute,
    pub(crate) epoch: Epoch,
    pub(crate) targets: PerEnvironment<Vec<Arc<Target>>>,
    /// The same instances and those of the preview, for requests with a token.
    pub(crate) private: Vec<PrivateTargets>,
    /// The receipt of the change that made it; written once, right after its table is stored.
    receipt: OnceLock<Receipt>,
    /// `Strict-Transport-Security`, as it is written.
    hsts: Option<String>,
    /// Lowered when a hold's time is over; a new table says anew what is.
    paused: AtomicUsize,
    pub(crate) observed: Arc<ServiceObserved>,
    pub(crate) trail: Arc<Trail>,
    /// Targets of entries before it that still held something when it was published.
    older: OnceLock<PerEnvironment<Vec<Arc<Target>>>>,
    split: AtomicUsize,
    turns: PerEnvironment<AtomicUsize>,
}

/// The targets of one release, for requests with a token.
#[derive(Debug)]
pub(crate) struct PrivateTargets {
    pub(crate) tag: String,
    pub(crate) targets: Vec<Arc<Target>>,
    turns: AtomicUsize,
}

impl PrivateTargets {
    pub(crate) fn new(tag: String, targets: Vec<Arc<Target>>) -> Self {
        Self { tag, targets, turns: AtomicUsize::new(0) }
    }
}

/// One instance in one epoch of one service.
#[derive(Debug)]
pub struct Target {
    pub(crate) fence: Fence,
    pub(crate) environment: Environment,
    pub(crate) instance: Arc<InstanceState>,
    pub(crate) counted: Counted,
}

/// Where the requests of a target are counted.
#[derive(Debug)]
pub(crate) enum Counted {
    /// With those of all users.
    Public(Arc<Counters>),
    /// Apart, for a token led to it.
    Private(Arc<PrivateCounters>),
}

impl Target {
    /// The instance behind it.
    #[must_use]
    pub fn instance(&self) -> &Arc<InstanceState> {
        &self.instance
    }

    /// The environment it belongs to.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Where its requests are counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        match &self.counted {
            Counted::Public(counters) => counters,
            Counted::Private(private) => private.counters(),
        }
    }

    /// Whether requests can still be given to it: not once its table was replaced.
    #[must_use]
    pub fn takes_claims(&self) -> bool {
        !self.fence.is_raised()
    }

    /// The tag in letters that may stand in a header field, if a token led here.
    #[must_use]
    pub fn preview(&self) -> Option<&str> {
        match &self.counted {
            Counted::Public(_) => None,
            Counted::Private(private) => Some(private.tag()),
        }
    }
}

impl ServiceEntry {
    pub(crate) fn new(
        desired: ServiceRoute,
        epoch: Epoch,
        targets: PerEnvironment<Vec<Arc<Target>>>,
        private: Vec<PrivateTargets>,
        trail: Arc<Trail>,
        observed: Arc<ServiceObserved>,
    ) -> Self {
        let hsts = desired.https.hsts.as_ref().map(Hsts::value);
        let paused = match desired.pause {
            None => OPEN,
            Some(Pause::Hold(_)) => HELD,
            Some(Pause::Maintenance(_)) => MAINTENANCE,
        };
        Self {
            desired,
            epoch,
            targets,
            private,
            receipt: OnceLock::new(),
            hsts,
            paused: AtomicUsize::new(paused),
            observed,
            trail,
            older: OnceLock::new(),
            split: AtomicUsize::new(0),
            turns: PerEnvironment::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn desired(&self) -> &ServiceRoute {
        &self.desired
    }

    /// What was asked for, with the epoch it is in.
    #[must_use]
    pub fn route(&self) -> ServiceRoute {
        ServiceRoute { epoch: Some(self.epoch), ..self.desired.clone() }
    }

    /// What answers over TLS tell browsers to remember.
    #[must_use]
    pub fn hsts(&self) -> Option<&str> {
        self.hsts.as_deref()
    }

    /// Whether it asks more of requests than to be for one of its hosts: another name, or a client's certificate.
    #[must_use]
    pub fn has_demands(&self) -> bool {
        self.desired.canonical_host.is_some() || self.desired.https.clients.is_some()
    }

    /// Why a request for this path is not sent on; those that ask for the service's health are.
    pub(crate) fn paused(&self, path: &str) -> Option<NoTarget> {
        let why = match self.paused.load(Ordering::Acquire) {
            OPEN => return None,
            HELD => NoTarget::Held,
            _ => NoTarget::Maintenance,
        };
        let health = self.desired.health.as_ref().map(|health| health.path.as_str());
        // A path that is the health path's but for its query is asked for by those who look after it.
        let is_health = health.is_some_and(|health| health.split('?').next() == Some(path));
        (!is_health).then_some(why)
    }

    /// Whether requests wait.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.paused.load(Ordering::Acquire) == HELD
    }

    /// The time of its hold is over: whoever waits may look again.
    pub fn end_hold(&self) {
        let _ = self.paused.compare_exchange(HELD, OPEN, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// What is observed about the service.
    #[must_use]
    pub fn observed(&self) -> &Arc<ServiceObserved> {
        &self.observed
    }

    /// Whether the first answer of an environment since the shift is still to come.
    #[must_use]
    pub fn awaits_answer(&self, environment: Environment) -> bool {
        self.trail.awaits_answer(environment)
    }

    /// Notes an answer of an environment, by the data plane's clock.
    pub fn note_answer(&self, environment: Environment, now_us: u64) {
        self.trail.note_answer(environment, now_us);
    }

    /// The turns of clients whose connections are older than the last shift; `None` for one that has been there since this
    /// moment and is not, and where nobody is told.
    #[must_use]
    pub fn renewal(&self, since_us: u64) -> Option<&Renewal> {
        self.trail.renewal(since_us)
    }

    /// Says that they are told from now on, if that shift was a switch; the first word counts.
    pub fn renew_clients(&self, renewal: Renewal) {
        self.trail.renew_clients(renewal);
    }

    /// Looks whether the last request has ended that was in flight at the shift; `true` if there is none to wait for.
    pub fn look_at_trail(&self, now_us: u64) -> bool {
        self.trail.look(now_us)
    }

    /// What became of its last shift.
    #[must_use]
    pub fn shift_report(&self) -> ShiftReport {
        let boot_id = self.receipt().map(|receipt| receipt.boot_id.clone()).unwrap_or_default();
        ShiftReport { boot_id, ..self.trail.report() }
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The receipt of the change that made it.
    #[must_use]
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.get()
    }

    /// Targets of entries before it that hold something, with how much: what is in flight whatever was published since it
    /// began.
    pub(crate) fn older(&self, environment: Environment) -> impl Iterator<Item = (Arc<Target>, u64)> {
        let older = self.older.get().map(|older| older[environment].as_slice()).unwrap_or_default();
        older.iter().map(|target| (Arc::clone(target), target.fence.held()))
    }

    pub(crate) fn note_older(&self, held: PerEnvironment<Vec<Arc<Target>>>) {
        // An entry is new in exactly one publication.
        let _ = self.older.set(held);
    }

    pub(crate) fn remember(&self, receipt: Receipt) {
        // An entry is new in exactly one publication, so there is never a second receipt to keep.
        let _ = self.receipt.set(receipt);
    }

    /// The targets of one environment.
    #[must_use]
    pub fn targets(&self, environment: Environment) -> &[Arc<Target>] {
        &self.targets[environment]
    }

    /// The targets that tokens lead to, those of a preview first.
    pub fn private_targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.private.iter().flat_map(|private| &private.targets)
    }

    /// The path prefix under which a host and path are those of what is routed, or of what is tried: a token leads
    /// nowhere else.
    #[must_use]
    pub fn covers(&self, host: &str, path: &str) -> Option<&str> {
        let host = host.trim_end_matches('.');
        let desired = &self.desired;
        let preview = desired.preview.as_ref();
        let own = preview.and_then(|preview| preview.host.as_ref());
        let tried = preview.map(|preview| (preview.hosts.as_slice(), preview.path.as_str()));
        let places = [(desired.hosts.as_slice(), desired.path.as_str())].into_iter().chain(tried);
        // A host that is named nowhere is every host's; that of a preview is always named.
        let places = places.map(|(hosts, prefix)| (hosts, prefix, hosts.is_empty()));
        let places = places.chain(own.map(|own| (std::slice::from_ref(own), desired.path.as_str(), false)));
        places
            .filter(|(hosts, _, every)| *every || hosts.iter().any(|named| is_host(named, host)))
            .map(|(_, prefix, _)| prefix)
            .filter(|prefix| has_prefix(path, prefix))
            .max_by_key(|prefix| prefix.len())
    }

    /// Whether a token for this tag leads anywhere.
    #[must_use]
    pub fn has_release(&self, tag: &str) -> bool {
        let preview = self.desired.preview.as_ref().map(|preview| &preview.tag);
        let held = |environment: &Environment| !self.desired.instances(*environment).is_empty();
        let tags =
            Environment::ALL.into_iter().filter(held).map(|environment| &self.desired.tags[environment]);
        !tag.is_empty() && preview.into_iter().chain(tags).any(|known| known == tag)
    }

    /// The next environment by weight: of any 100 requests in a row each gets exactly its percentage, spread
    /// evenly (Bresenham's line).
    fn next_environment(&self) -> Environment {
        if let Some(sole) = self.desired.weights.sole() {
            return sole;
        }
        let green = usize::from(self.desired.weights.of(Environment::Green));
        let turn = self.split.fetch_add(1, Ordering::Relaxed) % 100;
        if (turn + 1) * green / 100 > turn * green / 100 { Environment::Green } else { Environment::Blue }
    }

    /// The next target in turn of the next environment by weight: one in rotation if there is one, else any,
    /// for an unhealthy instance is better than none. A request that all of them have failed goes on to the other
    /// environment, if that may take it.
    pub(crate) fn pick(&self, avoid: &[Arc<InstanceState>]) -> Option<&Arc<Target>> {
        let failed = avoid.last().and_then(|failed| self.environment_of(failed));
        let environment = failed.unwrap_or_else(|| self.next_environment());
        let of = |environment| next(&self.targets[environment], &self.turns[environment], avoid);
        let other = || Some(environment.other()).filter(|other| !avoid.is_empty() && self.takes_over(*other));
        of(environment).or_else(|| other().and_then(of))
    }

    /// The environment with weight that an instance belongs to: what it failed stays there if it can.
    fn environment_of(&self, instance: &Arc<InstanceState>) -> Option<Environment> {
        let has = |environment: &Environment| {
            self.desired.weights.of(*environment) > 0
                && self.targets[*environment].iter().any(|target| Arc::ptr_eq(&target.instance, instance))
        };
        Environment::ALL.into_iter().find(has)
    }

    /// Whether an environment takes what the other one failed: the live one always does, the idle one where it is said
    /// to; a share of the traffic is no more than that share.
    fn takes_over(&self, environment: Environment) -> bool {
        let is_live = self.desired.live() == environment;
        is_live && !self.desired.replay.within_release
            || self.desired.replay.to == Some(environment) && self.desired.weights.of(environment) == 0
    }

    /// The next target in turn of the release that a token is for.
    pub(crate) fn pick_private(
        &self,
        private: Private<'_>,
        avoid: &[Arc<InstanceState>],
    ) -> Result<&Arc<Target>, NoTarget> {
        let Private { service, tag } = private;
        if self.desired.name.as_str() != service || !self.has_release(tag) {
            return Err(NoTarget::NoPreview);
        }
        let found = self.private.iter().find(|private| private.tag == tag);
        found.and_then(|found| next(&found.targets, &found.turns, avoid)).ok_or(NoTarget::NoInstance)
    }
}

/// The next target in turn: one in rotation if there is one, else any.
fn next<'t>(
    targets: &'t [Arc<Target>],
    turns: &AtomicUsize,
    avoid: &[Arc<InstanceState>],
) -> Option<&'t Arc<Target>> {
    let fresh = |target: &Target| !avoid.iter().any(|instance| Arc::ptr_eq(instance, &target.instance));
    match targets {
        [] => None,
        [only] => fresh(only).then_some(only),
        several => {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            let (before, from) = several.split_at(turn % several.len());
            let in_turn = || from.iter().chain(before).filter(|target| fresh(target));
            in_turn().find(|target| target.instance.is_in_rotation()).or_else(|| in_turn().next())
        }
    }
}

impl RouteTable {
    pub(crate) fn new(generation: u64, services: Vec<Arc<ServiceEntry>>) -> Self {
        let mut table = Self { generation, services, ..Self::default() };
        for service in &table.services {
            let listed = |only_previews| Listed { service: Arc::clone(service), only_previews };
            let is_listed = !service.desired.unlisted;
            if is_listed && service.desired.hosts.is_empty() {
                table.every_host.push(listed(false));
            }
            for host in service.desired.hosts.iter().filter(|_| is_listed) {
                let (map, key) = match host.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcards, parent),
                    None => (&mut table.exact, host.as_str()),
                };
                map.entry(key.to_ascii_lowercase()).or_default().push(listed(false));
            }
            if let Some(host) = service.desired.preview.as_ref().and_then(|preview| preview.host.as_ref()) {
                table.exact.entry(host.to_ascii_lowercase()).or_default().push(listed(true));
            }
        }
        let lists =
            table.exact.values_mut().chain(table.wildcards.values_mut()).chain([&mut table.every_host]);
        for list in lists {
            list.sort_by_key(|listed| std::cmp::Reverse(listed.service.desired.path.len()));
        }
        table
    }

    /// Swaps of the table since the data plane started.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every service, in the order they were given.
    #[must_use]
    pub fn services(&self) -> &[Arc<ServiceEntry>] {
        &self.services
    }

    /// The service of a name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<ServiceEntry>> {
        self.named(name.as_str())
    }

    /// The service that is called so.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<ServiceEntry>> {
        self.services.iter().find(|service| service.desired.name.as_str() == name)
    }

    /// The service of a request: an exact host before the closest wildcard before every host, then the longest
    /// path prefix.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<ServiceEntry>> {
        self.listed(host, path).map(|listed| &listed.service)
    }

    /// All services that a request for this host may be for, whatever its path: those of the host itself, of every
    /// `*.` above it, and of every host.
    #[must_use]
    pub fn at_host(&self, host: &str) -> Vec<&Arc<ServiceEntry>> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let mut lists: Vec<&Vec<Listed>> = self.exact.get(&host).into_iter().collect();
        let mut rest = host.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            lists.extend(self.wildcards.get(parent));
            rest = parent;
        }
        lists.push(&self.every_host);
        lists.into_iter().flatten().map(|listed| &listed.service).collect()
    }

    /// The same, with what it is listed as.
    pub(crate) fn listed(&self, host: &str, path: &str) -> Option<&Listed> {
        let longest = |list: &'_ [Listed]| {
            list.iter().position(|listed| has_prefix(path, &listed.service.desired.path))
        };
        if !self.exact.is_empty() || !self.wildcards.is_empty() {
            let host = host.trim_end_matches('.');
            // Nearly every client writes it so already, and then nothing is allocated.
            let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(host.to_ascii_lowercase())
            } else {
                Cow::Borrowed(host)
            };
            if let Some(list) = self.exact.get(&*host)
                && let Some(index) = longest(list)
            {
                return Some(&list[index]);
            }
            let mut parents = host.split_once('.').map(|(_, parent)| parent);
            while let Some(parent) = parents {
                if let Some(list) = self.wildcards.get(parent)
                    && let Some(index) = longest(list)
                {
                    return Some(&list[index]);
                }
                parents = parent.split_once('.').map(|(_, parent)| parent);
            }
        }
        longest(&self.every_host).map(|index| &self.every_host[index])
    }
}

/// Whether a host is the one that is named, or, for `*.` and a name, below it.
fn is_host(named: &str, host: &str) -> bool {
    let Some(parent) = named.strip_prefix("*.") else { return named.eq_ignore_ascii_case(host) };
    let at = host.len().checked_sub(parent.len()).filter(|at| host.is_char_boundary(*at));
    at.is_some_and(|at| host[..at].ends_with('.') && host[at..].eq_ignore_ascii_case(parent))
}

/// Whether `path` lies under `prefix` at a segment boundary: `/api` has `/api` and `/api/x`, not `/apis`.
#[must_use]
pub fn has_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
