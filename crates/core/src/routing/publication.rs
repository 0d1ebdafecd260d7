//! How one table is replaced by the next: checked, built, stored, and then the replaced targets are fenced.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::environment::{Environment, PerEnvironment};
use crate::epoch::Epoch;
use crate::names::{InstanceId, ServiceName};
use crate::receipt::Receipt;
use crate::routing::claims::check_claims;
use crate::routing::desired::{DesiredInstance, PreviewRoute, ServicePatch, ServiceRoute};
use crate::routing::fence::Fence;
use crate::routing::instance::InstanceState;
use crate::routing::lease::TableCell;
use crate::routing::removed::Removed;
use crate::routing::table::{Counted, PrivateTargets, RouteTable, ServiceEntry, Target};
use crate::routing::trail::Trail;
use crate::statistics::Registry;
use crate::timestamp::Timestamp;

/// A wanted change of the table: all of it happens, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These services and no others.
    Replace(Vec<ServiceRoute>),
    /// These services as given; others stay.
    Put(Vec<ServiceRoute>),
    /// New weights for services that exist.
    Weights(Vec<ServicePatch>),
    /// These services are routed no longer; with an epoch only if what is in force is not newer.
    Remove(Vec<(ServiceName, Option<Epoch>)>),
}

/// Why a change was refused; the table is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody newer was here already.
    #[error("epoch {given} of service `{service}` is older than {present}, which is in force")]
    OlderEpoch {
        /// The service.
        service: ServiceName,
        /// The epoch that came.
        given: Epoch,
        /// The epoch in force.
        present: Epoch,
    },
    /// The epoch in force says something else.
    #[error("epoch {epoch} of service `{service}` is in force with other content")]
    SameEpochOtherContent {
        /// The service.
        service: ServiceName,
        /// The epoch.
        epoch: Epoch,
    },
    /// There is no such service.
    #[error("there is no service `{0}`")]
    UnknownService(ServiceName),
    /// A service is named twice in one change.
    #[error("service `{0}` is named twice")]
    NamedTwice(ServiceName),
    /// Two services claim the same requests.
    #[error("services `{first}` and `{second}` both claim {route}")]
    SameRoute {
        /// The one that came first.
        first: ServiceName,
        /// The other.
        second: ServiceName,
        /// Host and path.
        route: String,
    },
    /// An instance is named twice within a service.
    #[error("service `{service}` names instance `{instance}` twice")]
    SameInstance {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceId,
    },
    /// A path or host that cannot be routed by.
    #[error("service `{service}`: {reason}")]
    BadRoute {
        /// The service.
        service: ServiceName,
        /// What is wrong.
        reason: String,
    },
}

type InstanceKey = (InstanceId, std::net::SocketAddr);

/// The one writer of a table.
///
/// A change costs what it changes, besides a few cheap passes over all services: the table of ten thousand services is
/// changed within milliseconds.
#[derive(Debug)]
pub struct Publication<C> {
    cell: C,
    boot_id: String,
    instances: HashMap<InstanceKey, Arc<InstanceState>>,
    /// How many targets of the present table name an instance.
    named: HashMap<InstanceKey, usize>,
    /// Instances that no table may name any more, kept until they hold no request.
    leaving: Vec<InstanceKey>,
    counters: Registry,
    removed: Arc<Removed>,
}

/// A change that was checked and built, not yet in force.
#[derive(Debug)]
pub struct Prepared {
    services: Vec<Arc<ServiceEntry>>,
    /// Receipts of changes that are in force already, and places for new ones.
    answers: Vec<PreparedAnswer>,
    removed: Arc<Removed>,
    changed: bool,
}

#[derive(Debug)]
enum PreparedAnswer {
    Again(Receipt),
    New(ServiceName),
}

impl Prepared {
    /// Every service as it will be, in the order of names: what is kept on disk.
    #[must_use]
    pub fn services(&self) -> &[Arc<ServiceEntry>] {
        &self.services
    }

    /// What will be remembered of services that are routed no longer: kept on disk beside the routes.
    #[must_use]
    pub fn removed(&self) -> Arc<Removed> {
        Arc::clone(&self.removed)
    }

    /// Whether committing it will change anything.
    #[must_use]
    pub fn changes_anything(&self) -> bool {
        self.changed
    }
}

impl<C: TableCell> Publication<C> {
    /// A writer of the table in `cell`, which must be empty.
    pub fn new(cell: C, boot_id: String) -> Self {
        Self {
            cell,
            boot_id,
            instances: HashMap::new(),
            named: HashMap::new(),
            leaving: Vec::new(),
            counters: Registry::default(),
            removed: Arc::default(),
        }
    }

    /// Takes over what a former run remembered of services that are routed no longer, before the first change.
    pub fn take_over(&mut self, removed: Arc<Removed>) {
        self.removed = removed;
    }

    /// The cell that is written.
    pub fn cell(&self) -> &C {
        &self.cell
    }

    /// Where requests are counted.
    pub fn counters(&self) -> &Registry {
        &self.counters
    }

    /// Identifies this run of the data plane.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Every instance that a table names or that still holds a request.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<InstanceState>> {
        self.instances.values()
    }

    /// Checks a change and builds what it leads to.
    ///
    /// # Errors
    /// [`Refused`] if anything in it is older than what is in force, or wrong.
    pub fn prepare(&mut self, change: Change) -> Result<Prepared, Refused> {
        let present = self.cell.load();
        let kept = |names: &HashSet<&ServiceName>| -> Vec<Arc<ServiceEntry>> {
            let others = present.services().iter().filter(|entry| !names.contains(&entry.desired.name));
            others.map(Arc::clone).collect()
        };
        let (mut services, wanted) = match change {
            Change::Replace(routes) => (Vec::new(), routes),
            Change::Put(routes) => {
                let names = routes.iter().map(|route| &route.name).collect();
                (kept(&names), routes)
            }
            Change::Weights(patches) => {
                let names = patches.iter().map(|patch| &patch.name).collect();
                let others = kept(&names);
                let routes = patches.into_iter().map(|patch| patched(&present, patch));
                (others, routes.collect::<Result<_, _>>()?)
            }
            Change::Remove(unwanted) => {
                for (name, given) in &unwanted {
                    let entry = present.service(name).ok_or_else(|| Refused::UnknownService(name.clone()))?;
                    let present = entry.epoch();
                    if let Some(given) = given.filter(|given| *given < present) {
                        return Err(Refused::OlderEpoch { service: name.clone(), given, present });
                    }
                }
                (kept(&unwanted.iter().map(|(name, _)| name).collect()), Vec::new())
            }
        };
        let mut changed = services.len() + wanted.len() != present.services().len();
        let mut answers = Vec::new();
        let mut fresh = Vec::new();
        let mut seen = HashSet::new();
        for mut route in wanted {
            if !seen.insert(route.name.clone()) {
                return Err(Refused::NamedTwice(route.name));
            }
            let given = route.epoch.take();
            if let Some(entry) = present.service(&route.name)
                && let Some(again) = in_force(entry, &route, given)?
            {
                answers.push(PreparedAnswer::Again(again));
                services.push(Arc::clone(entry));
                continue;
            }
            check_route(&route)?;
            changed = true;
            answers.push(PreparedAnswer::New(route.name.clone()));
            fresh.push((self.epoch_of(&present, &route.name, given)?, route));
        }
        let same_names = services.len() + fresh.len() == present.services().len()
            && fresh.iter().all(|(_, route)| present.service(&route.name).is_some());
        check_claims(services.iter().map(|entry| &entry.desired), fresh.iter().map(|(_, route)| route))?;
        // Only what is not refused leaves a trace among instances and counters.
        for (epoch, route) in fresh {
            let before = present.service(&route.name);
            services.push(Arc::new(self.build(route, epoch, before.map(Arc::as_ref))));
        }
        // Names keep their order, whatever was changed last.
        services.sort_by(|a, b| a.desired.name.cmp(&b.desired.name));
        let removed =
            if same_names { Arc::clone(&self.removed) } else { self.removed_after(&present, &services) };
        Ok(Prepared { services, answers, removed, changed })
    }

    fn removed_after(&self, present: &RouteTable, services: &[Arc<ServiceEntry>]) -> Arc<Removed> {
        let before: HashSet<_> = present.services().iter().map(|entry| &entry.desired.name).collect();
        let after: HashSet<_> = services.iter().map(|entry| &entry.desired.name).collect();
        let mut removed = Removed::clone(&self.removed);
        for entry in present.services().iter().filter(|entry| !after.contains(&entry.desired.name)) {
            removed.remember(entry.desired.name.clone(), entry.epoch);
        }
        for name in after.difference(&before) {
            removed.forget(name);
        }
        Arc::new(removed)
    }

    /// The epoch of a changed service: as given, or one more than the last. One that was removed is remembered.
    fn epoch_of(
        &self,
        present: &RouteTable,
        name: &ServiceName,
        given: Option<Epoch>,
    ) -> Result<Epoch, Refused> {
        let entry = present.service(name).map(|entry| entry.epoch);
        let removed = self.removed.epoch_of(name);
        let last = entry.or(removed).unwrap_or(Epoch::ZERO);
        match given {
            // What was removed is not brought back by the same word that comes late.
            Some(given) if entry.is_none() && Some(given) == removed => {
                Err(Refused::OlderEpoch { service: name.clone(), given, present: last.next() })
            }
            Some(given) if given < last => {
                Err(Refused::OlderEpoch { service: name.clone(), given, present: last })
            }
            Some(given) => Ok(given),
            None => Ok(last.next()),
        }
    }

    fn build(&mut self, route: ServiceRoute, epoch: Epoch, before: Option<&ServiceEntry>) -> ServiceEntry {
        let counters = PerEnvironment::from_fn(|environment| {
            self.counters.counters(&route.name, environment, &route.tags[environment])
        });
        let targets = PerEnvironment::from_fn(|environment| {
            let counted = || Counted::Public(Arc::clone(&counters[environment]));
            self.targets(environment, route.instances(environment), counted)
        });
        let private = self.private_targets(&route);
        let observed = before.map(|before| Arc::clone(&before.observed)).unwrap_or_default();
        let unmoved = before.filter(|before| before.desired.weights == route.weights);
        let trail = unmoved.map_or_else(
            || {
                let settled = before.and_then(|before| before.trail.settled());
                // Where there is nobody, nobody was.
                let sole = route.weights.sole().filter(|sole| !route.instances(*sole).is_empty());
                Arc::new(Trail::new(epoch, counters, Arc::clone(&observed), settled, sole))
            },
            |before| Arc::clone(&before.trail),
        );
        ServiceEntry::new(route, epoch, targets, private, trail, observed)
    }

    /// What tokens lead to: the preview, and each environment by its tag.
    fn private_targets(&mut self, route: &ServiceRoute) -> Vec<PrivateTargets> {
        let preview = route.preview.iter();
        let preview = preview.map(|preview| (&preview.tag, preview.environment, &*preview.instances));
        let environments = Environment::ALL
            .into_iter()
            .map(|environment| (&route.tags[environment], environment, route.instances(environment)));
        // Without a tag nothing can be asked for.
        let reachable = preview
            .chain(environments)
            .filter(|(tag, _, instances)| !tag.is_empty() && !instances.is_empty());
        reachable
            .map(|(tag, environment, instances)| {
                let counters = self.counters.private(&route.name, environment, tag);
                let counted = || Counted::Private(Arc::clone(&counters));
                PrivateTargets::new(tag.clone(), self.targets(environment, instances, counted))
            })
            .collect()
    }

    fn targets(
        &mut self,
        environment: Environment,
        instances: &[DesiredInstance],
        counted: impl Fn() -> Counted,
    ) -> Vec<Arc<Target>> {
        let target = |desired: &DesiredInstance| {
            let key = (desired.id.clone(), desired.address);
            let state = || {
                // Until a table that is in force names it.
                self.leaving.push((desired.id.clone(), desired.address));
                Arc::new(InstanceState::new(desired.id.clone(), desired.address))
            };
            let instance = Arc::clone(self.instances.entry(key).or_insert_with(state));
            Arc::new(Target { fence: Fence::open(), environment, instance, counted: counted() })
        };
        instances.iter().map(target).collect()
    }

    /// Puts a prepared change in force and answers its receipts, in the order of the change.
    ///
    /// When it returns, no request whose head is read later goes to a target of weight 0. `clock_us` is asked for
    /// the microseconds of the data plane's own clock.
    pub fn commit(&mut self, prepared: Prepared, now: Timestamp, clock_us: impl Fn() -> u64) -> Vec<Receipt> {
        let before = self.cell.load();
        let Prepared { services, answers, removed, changed } = prepared;
        if !changed {
            return answers.into_iter().filter_map(PreparedAnswer::again).collect();
        }
        let generation = before.generation() + 1;
        let new: HashSet<ServiceName> = answers
            .iter()
            .filter_map(|answer| match answer {
                PreparedAnswer::New(name) => Some(name.clone()),
                PreparedAnswer::Again(_) => None,
            })
            .collect();
        self.cell.store(RouteTable::new(generation, services.clone()));
        let stored = clock_us();
        let mut left: HashMap<ServiceName, [PerEnvironment<u64>; 2]> = HashMap::new();
        let next: HashSet<_> = services.iter().map(Arc::as_ptr).collect();
        let replaced = || before.services().iter().filter(|entry| !next.contains(&Arc::as_ptr(entry)));
        let mut fenced: HashMap<ServiceName, PerEnvironment<Vec<Arc<Target>>>> = HashMap::new();
        for entry in replaced() {
            let held = raise_fences(entry);
            let in_flight =
                PerEnvironment::from_fn(|environment| held[environment].iter().map(|(_, held)| held).sum());
            left.insert(entry.desired.name.clone(), [in_flight, lasting(entry)]);
            let targets = |environment: Environment| {
                held[environment].iter().map(|(target, _)| Arc::clone(target)).collect::<Vec<_>>()
            };
            fenced.insert(entry.desired.name.clone(), PerEnvironment::from_fn(targets));
        }
        let fenced_after_us = clock_us().saturating_sub(stored);
        for entry in services.iter().filter(|entry| new.contains(&entry.desired.name)) {
            let held = fenced.remove(&entry.desired.name).unwrap_or_default();
            entry.trail.note_fenced(held.clone());
            entry.note_older(held);
            entry.trail.note_stored(stored);
        }
        let mut receipts = HashMap::new();
        for entry in services.iter().filter(|entry| new.contains(&entry.desired.name)) {
            let [in_flight, lasting] = left.remove(&entry.desired.name).unwrap_or_default();
            let receipt = Receipt {
                service: entry.desired.name.clone(),
                epoch: entry.epoch,
                weights: entry.desired.weights,
                generation,
                boot_id: self.boot_id.clone(),
                published_at: now,
                fenced_after_us,
                in_flight,
                lasting,
            };
            entry.remember(receipt.clone());
            receipts.insert(receipt.service.clone(), receipt);
        }
        self.removed = removed;
        for entry in services.iter().filter(|entry| new.contains(&entry.desired.name)) {
            self.name(entry);
        }
        for entry in replaced() {
            self.unname(entry);
            // What was replaced by nothing new is gone.
            if !new.contains(&entry.desired.name) {
                self.counters.forget(&entry.desired.name);
            }
        }
        self.forget_what_has_left();
        answers
            .into_iter()
            .filter_map(|answer| match answer {
                PreparedAnswer::Again(receipt) => Some(receipt),
                PreparedAnswer::New(name) => receipts.remove(&name),
            })
            .collect()
    }

    /// Prepares and commits.
    ///
    /// # Errors
    /// As [`Publication::prepare`].
    pub fn publish(&mut self, change: Change, now: Timestamp) -> Result<Vec<Receipt>, Refused> {
        let prepared = self.prepare(change)?;
        Ok(self.commit(prepared, now, || 0))
    }

    fn name(&mut self, entry: &ServiceEntry) {
        for key in keys(entry) {
            *self.named.entry(key).or_default() += 1;
        }
    }

    fn unname(&mut self, entry: &ServiceEntry) {
        for key in keys(entry) {
            let Some(count) = self.named.get_mut(&key) else { continue };
            *count -= 1;
            if *count == 0 {
                self.named.remove(&key);
                self.leaving.push(key);
            }
        }
    }

    fn forget_what_has_left(&mut self) {
        let Self { instances, named, leaving, .. } = self;
        leaving.retain(|key| {
            if named.contains_key(key) {
                return false;
            }
            let holds = instances.get(key).is_some_and(|instance| instance.in_flight() > 0);
            if !holds {
                instances.remove(key);
            }
            holds
        });
    }
}

/// The instances of an entry, as often as it names them.
fn keys(entry: &ServiceEntry) -> impl Iterator<Item = InstanceKey> {
    let public = entry.targets.iter().flat_map(|(_, targets)| targets);
    let targets = public.chain(entry.private_targets());
    targets.map(|target| (target.instance.id().clone(), target.instance.address()))
}

impl PreparedAnswer {
    fn again(self) -> Option<Receipt> {
        match self {
            Self::Again(receipt) => Some(receipt),
            Self::New(_) => None,
        }
    }
}

fn patched(present: &RouteTable, patch: ServicePatch) -> Result<ServiceRoute, Refused> {
    let entry = present.service(&patch.name).ok_or(Refused::UnknownService(patch.name))?;
    Ok(ServiceRoute { epoch: patch.epoch, weights: patch.weights, ..entry.desired.clone() })
}

/// The receipt to give again if exactly this is in force; an error if something else or newer is.
fn in_force(
    entry: &ServiceEntry,
    route: &ServiceRoute,
    given: Option<Epoch>,
) -> Result<Option<Receipt>, Refused> {
    let Some(given) = given else { return Ok(None) };
    let service = || route.name.clone();
    match given.cmp(&entry.epoch) {
        std::cmp::Ordering::Greater => Ok(None),
        std::cmp::Ordering::Less => {
            Err(Refused::OlderEpoch { service: service(), given, present: entry.epoch })
        }
        std::cmp::Ordering::Equal if entry.desired == *route => Ok(entry.receipt().cloned()),
        std::cmp::Ordering::Equal => Err(Refused::SameEpochOtherContent { service: service(), epoch: given }),
    }
}

fn check_route(route: &ServiceRoute) -> Result<(), Refused> {
    let bad = |reason: &str| Refused::BadRoute { service: route.name.clone(), reason: reason.to_owned() };
    if !route.path.starts_with('/') {
        return Err(bad("`path` must start with `/`"));
    }
    if route.hosts.iter().any(|host| host.is_empty() || host.contains([':', '/', ' '])) {
        return Err(bad("`hosts` holds host names without port, path or spaces"));
    }
    if let Some(preview) = &route.preview {
        check_preview(preview, route)?;
    }
    let mut seen = HashSet::new();
    for desired in Environment::ALL.into_iter().flat_map(|environment| route.instances(environment)) {
        if !seen.insert(&desired.id) {
            return Err(Refused::SameInstance { service: route.name.clone(), instance: desired.id.clone() });
        }
    }
    Ok(())
}

fn check_preview(preview: &PreviewRoute, route: &ServiceRoute) -> Result<(), Refused> {
    let bad = |reason: &str| Refused::BadRoute { service: route.name.clone(), reason: reason.to_owned() };
    if let Some(host) = &preview.host {
        if host.is_empty() || host.contains([':', '/', ' ', '*']) {
            return Err(bad("the host of a preview is a host name without port, path, spaces or `*`"));
        }
        if route.hosts.iter().any(|public| public.eq_ignore_ascii_case(host)) {
            return Err(bad("the host of a preview is one that users have too"));
        }
    }
    let mut seen = HashSet::new();
    match preview.instances.iter().find(|desired| !seen.insert(&desired.id)) {
        Some(twice) => Err(Refused::SameInstance { service: route.name.clone(), instance: twice.id.clone() }),
        None => Ok(()),
    }
}

/// Fences every target of a replaced entry; answers which hold something, with those of entries before it, and how much.
///
/// What the fence itself answers is exact; looked at later it may count a claim that is about to be refused.
fn raise_fences(entry: &ServiceEntry) -> PerEnvironment<Vec<(Arc<Target>, u64)>> {
    for target in entry.private_targets() {
        target.fence.raise();
    }
    PerEnvironment::from_fn(|environment| {
        let fenced =
            entry.targets[environment].iter().map(|target| (Arc::clone(target), target.fence.raise()));
        fenced.chain(entry.older(environment)).filter(|(_, held)| *held > 0).collect()
    })
}

/// Those that last, of all epochs: they are counted with their instances.
fn lasting(entry: &ServiceEntry) -> PerEnvironment<u64> {
    PerEnvironment::from_fn(|environment| {
        entry.targets[environment].iter().map(|target| target.instance.lasting().total()).sum()
    })
}
