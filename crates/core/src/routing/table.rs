//! The one immutable value by which the data plane routes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::environment::{Environment, PerEnvironment};
use crate::epoch::Epoch;
use crate::names::ServiceName;
use crate::receipt::Receipt;
use crate::routing::desired::ServiceRoute;
use crate::routing::fence::Fence;
use crate::routing::instance::InstanceState;
use crate::statistics::Counters;
use crate::sync::{AtomicUsize, Ordering};

/// All services of one generation, found by host and path.
#[derive(Debug, Default)]
pub struct RouteTable {
    generation: u64,
    services: Vec<Arc<ServiceEntry>>,
    /// Lower-case host → its services; `*.example.com` under `example.com` in `wildcards`.
    exact: HashMap<String, Vec<Arc<ServiceEntry>>>,
    wildcards: HashMap<String, Vec<Arc<ServiceEntry>>>,
    every_host: Vec<Arc<ServiceEntry>>,
}

/// One service in one epoch.
#[derive(Debug)]
pub struct ServiceEntry {
    pub(crate) desired: ServiceRoute,
    pub(crate) epoch: Epoch,
    pub(crate) targets: PerEnvironment<Vec<Arc<Target>>>,
    /// The receipt of the change that made it; written once, right after its table is stored.
    receipt: OnceLock<Receipt>,
    split: AtomicUsize,
    turns: PerEnvironment<AtomicUsize>,
}

/// One instance in one epoch of one service.
#[derive(Debug)]
pub struct Target {
    pub(crate) fence: Fence,
    pub(crate) environment: Environment,
    pub(crate) instance: Arc<InstanceState>,
    pub(crate) counters: Arc<Counters>,
}

impl Target {
    /// The instance behind it.
    #[must_use]
    pub fn instance(&self) -> &Arc<InstanceState> {
        &self.instance
    }

    /// Where its requests are counted.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl ServiceEntry {
    pub(crate) fn new(
        desired: ServiceRoute,
        epoch: Epoch,
        targets: PerEnvironment<Vec<Arc<Target>>>,
    ) -> Self {
        Self {
            desired,
            epoch,
            targets,
            receipt: OnceLock::new(),
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

    pub(crate) fn remember(&self, receipt: Receipt) {
        // An entry is new in exactly one publication, so there is never a second receipt to keep.
        let _ = self.receipt.set(receipt);
    }

    /// The targets of one environment.
    #[must_use]
    pub fn targets(&self, environment: Environment) -> &[Arc<Target>] {
        &self.targets[environment]
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
    /// for an unhealthy instance is better than none.
    pub(crate) fn pick(&self, avoid: &[Arc<InstanceState>]) -> Option<&Arc<Target>> {
        let environment = self.next_environment();
        let targets = &self.targets[environment];
        let fresh = |target: &Target| !avoid.iter().any(|instance| Arc::ptr_eq(instance, &target.instance));
        match targets.as_slice() {
            [] => None,
            [only] => fresh(only).then_some(only),
            several => {
                let turn = self.turns[environment].fetch_add(1, Ordering::Relaxed);
                let (before, from) = several.split_at(turn % several.len());
                let in_turn = || from.iter().chain(before).filter(|target| fresh(target));
                in_turn().find(|target| target.instance.is_in_rotation()).or_else(|| in_turn().next())
            }
        }
    }
}

impl RouteTable {
    pub(crate) fn new(generation: u64, services: Vec<Arc<ServiceEntry>>) -> Self {
        let mut table = Self { generation, services, ..Self::default() };
        for service in &table.services {
            if service.desired.hosts.is_empty() {
                table.every_host.push(Arc::clone(service));
            }
            for host in &service.desired.hosts {
                let (map, key) = match host.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcards, parent),
                    None => (&mut table.exact, host.as_str()),
                };
                map.entry(key.to_ascii_lowercase()).or_default().push(Arc::clone(service));
            }
        }
        let lists =
            table.exact.values_mut().chain(table.wildcards.values_mut()).chain([&mut table.every_host]);
        for list in lists {
            list.sort_by_key(|service| std::cmp::Reverse(service.desired.path.len()));
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
        self.services.iter().find(|service| service.desired.name == *name)
    }

    /// The service of a request: an exact host before the closest wildcard before every host, then the longest
    /// path prefix.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<ServiceEntry>> {
        let longest = |list: &'_ [Arc<ServiceEntry>]| {
            list.iter().position(|service| has_prefix(path, &service.desired.path))
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

/// Whether `path` lies under `prefix` at a segment boundary: `/api` has `/api` and `/api/x`, not `/apis`.
#[must_use]
pub fn has_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
