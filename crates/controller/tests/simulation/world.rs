//! What is outside of the controller and outlives it: instances, the router, and the rules that hold for them.
//!
//! The world knows nothing of deployments. It notes every breach of a promise when it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cutover_controller::ports::{Exit, PortError, Routed, RouterError, Running};
use cutover_core::gates::Finding;
use cutover_core::receipt::Receipt;
use cutover_core::release::Release;
use cutover_core::routing::ServiceRoute;
use cutover_core::service::{Instance, ObservedRoute};
use cutover_core::{
    CommandId, DeploymentId, Environment, Epoch, InstanceId, PerEnvironment, ReleaseId, ServiceName,
    Timestamp, Weights,
};

use crate::behaviour::{Behaviour, gates};
use crate::fault::Faults;
use crate::random::Random;

/// A program that the supervisor starts again is down for that long.
const SUPERVISOR_PAUSE: u64 = 3_000;
/// A release that was prepared stays for that long, needed or not.
const RELEASE_GRACE: u64 = 3_600_000;

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    /// In the order of their first start, which unlike their ids is the same in every run of a seed.
    pub(crate) processes: Vec<Process>,
    pub(crate) router: Router,
    /// What the store holds of each service, and when that was prepared, oldest first.
    pub(crate) releases: Vec<(u64, ServiceName, ReleaseId)>,
    /// What it was ever given, to be found as long as it is held.
    contents: BTreeMap<(ServiceName, ReleaseId), Release>,
    /// Whether the controller that runs is the one no more.
    pub(crate) deposed: bool,
    /// Instances that somebody is starting just now.
    pub(crate) starting: Vec<InstanceId>,
    /// Starts that were cut short and come about all the same.
    pub(crate) late_starts: Vec<(u64, Start)>,
    /// Broken promises.
    pub(crate) breaches: Vec<String>,
    /// What happened, for people; without ids, so that two runs of a seed can be compared.
    pub(crate) trace: Vec<String>,
    /// Services that have a live release, as was recorded, and that nobody has stopped: their traffic never goes to
    /// nobody.
    pub(crate) served: BTreeSet<ServiceName>,
    /// How often instances were started.
    pub(crate) starts: usize,
    /// The gates that deployments have passed, by their labels; of those that have any.
    pub(crate) passed: BTreeMap<DeploymentId, BTreeSet<String>>,
    /// Gates that are being run.
    pub(crate) gates: BTreeSet<CommandId>,
}

/// Instances that somebody wants started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) service: ServiceName,
    pub(crate) environment: Environment,
    pub(crate) release: Release,
    pub(crate) ids: Vec<InstanceId>,
    /// For workers whether they may overlap; `None` for instances.
    pub(crate) worker: Option<bool>,
    /// Whether somebody had given it up.
    pub(crate) late: bool,
}

/// What a gate is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) deployment: DeploymentId,
    pub(crate) label: String,
    pub(crate) behaviour: Behaviour,
}

/// An instance.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: InstanceId,
    pub(crate) service: ServiceName,
    pub(crate) environment: Environment,
    pub(crate) release: ReleaseId,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    pub(crate) behaviour: Behaviour,
    pub(crate) being: Being,
    /// Checks it passed in a row.
    passed: u32,
    /// Whether it has ever passed enough of them.
    pub(crate) proved: bool,
    exit: Option<Exit>,
    /// For a worker whether it may overlap; `None` for an instance.
    pub(crate) worker: Option<bool>,
    /// Started by somebody who had given up: it may meet others, until it is found and stopped.
    late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Being {
    Up {
        since: u64,
    },
    /// Killed; its supervisor starts it again.
    Down {
        until: u64,
    },
    /// Killed, and its supervisor with it.
    Gone,
    /// Stopped because somebody asked for it.
    Stopped,
}

#[derive(Default)]
pub(crate) struct Router {
    pub(crate) tables: BTreeMap<ServiceName, Table>,
    /// The table before the present one: what a restart from an old file would bring.
    former: BTreeMap<ServiceName, Table>,
    /// Per service the newest route that was ever in force.
    pub(crate) newest: BTreeMap<ServiceName, ServiceRoute>,
    /// The epochs of services that it was told to forget: what is not newer is refused.
    forgotten: BTreeMap<ServiceName, Epoch>,
    /// Messages that are still on their way.
    strays: Vec<(u64, ServiceRoute)>,
    /// Epochs that a person has made, past the controller.
    by_hand: BTreeSet<(ServiceName, Epoch)>,
    boot: u64,
    generation: u64,
}

#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) route: ServiceRoute,
    receipt: Receipt,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            faults: Faults::default(),
            processes: Vec::new(),
            router: Router::default(),
            releases: Vec::new(),
            contents: BTreeMap::new(),
            deposed: false,
            starting: Vec::new(),
            late_starts: Vec::new(),
            breaches: Vec::new(),
            trace: Vec::new(),
            served: BTreeSet::new(),
            starts: 0,
            passed: BTreeMap::new(),
            gates: BTreeSet::new(),
        }
    }

    pub(crate) fn breach(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.trace.push(format!("BREACH {what}"));
        self.breaches.push(what);
    }

    pub(crate) fn note(&mut self, now: u64, what: impl AsRef<str>) {
        self.trace.push(format!("{:>9.3} s  {}", now as f64 / 1000.0, what.as_ref()));
    }

    /// What was due by now happens.
    pub(crate) fn catch_up(&mut self, now: u64) {
        for process in &mut self.processes {
            if let Being::Down { until } = process.being
                && until <= now
            {
                process.being = Being::Up { since: until };
            }
        }
        for (at, start) in std::mem::take(&mut self.late_starts) {
            if at <= now {
                self.note(at, "a start comes about that was given up");
                self.start(&Start { late: true, ..start }, at);
            } else {
                self.late_starts.push((at, start));
            }
        }
        let (due, later) =
            std::mem::take(&mut self.router.strays).into_iter().partition(|(at, _)| *at <= now);
        self.router.strays = later;
        let mut due: Vec<(u64, ServiceRoute)> = due;
        due.sort_by_key(|(at, _)| *at);
        for (at, route) in due {
            let accepted = self.apply(&route, at).is_ok();
            self.note(at, format!("{}: a stray route arrived, accepted: {accepted}", route.name));
        }
    }

    pub(crate) fn process(&self, id: &InstanceId) -> Option<&Process> {
        self.processes.iter().find(|process| process.id == *id)
    }

    fn process_mut(&mut self, id: &InstanceId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == *id)
    }

    /// A name for people that is the same in every run of a seed.
    fn nick(&self, id: &InstanceId) -> String {
        match self.processes.iter().position(|process| process.id == *id) {
            Some(position) => format!("p{position}({})", self.processes[position].version),
            None => "a stranger".to_owned(),
        }
    }

    /// Starts those that do not run, adopts those that do.
    pub(crate) fn start(&mut self, start: &Start, now: u64) -> Vec<Instance> {
        let Start { service, environment, release, ids, worker, late } = start;
        let mut answered = Vec::new();
        for id in ids {
            let known = self.processes.iter().position(|process| process.id == *id);
            if let Some(alive) =
                known.map(|position| &self.processes[position]).filter(|process| process.is_alive())
            {
                answered.push(Instance { id: id.clone(), address: alive.address });
                continue;
            }
            self.starts += 1;
            // Sometimes on the same port as before, as with a port from the configuration.
            let former = known
                .map(|position| self.processes[position].address)
                .filter(|_| self.random.in_thousand(500));
            let port = 10_000 + u16::try_from(self.starts % 50_000).unwrap();
            let process = Process {
                id: id.clone(),
                service: service.clone(),
                environment: *environment,
                release: release.id.clone(),
                version: release.version.to_string(),
                address: former.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port))),
                behaviour: Behaviour::of(&release.version),
                being: Being::Up { since: now },
                passed: 0,
                // What an instance has proved, its release has proved: it may be put back as it was.
                proved: known.is_some_and(|position| {
                    let former = &self.processes[position];
                    former.proved && former.being == Being::Gone
                }),
                exit: None,
                worker: *worker,
                late: *late,
            };
            self.watch_workers(&process);
            answered.push(Instance { id: id.clone(), address: process.address });
            match known {
                Some(position) => self.processes[position] = process,
                None => self.processes.push(process),
            }
            let nick = self.nick(id);
            self.note(now, format!("{service}: {nick} starts on {environment}"));
        }
        answered
    }

    /// Workers of two attempts are there at once only if both may overlap.
    fn watch_workers(&mut self, new: &Process) {
        let Some(overlap) = new.worker else { return };
        let attempt = |process: &Process| {
            let id = process.id.as_str();
            id.rfind("-mail-").map(|end| id[..end].to_owned())
        };
        let met = self.processes.iter().find(|other| {
            let meets = other.is_alive() && other.service == new.service && attempt(other) != attempt(new);
            meets && !other.late && !new.late && other.worker.is_some_and(|it| !(it && overlap))
        });
        if let Some(met) = met {
            let versions = (met.version.clone(), new.version.clone());
            self.breach(format!("workers of {} and {} run at once", versions.0, versions.1));
        }
    }

    pub(crate) fn stop(&mut self, ids: &[InstanceId], now: u64) {
        for id in ids {
            let nick = self.nick(id);
            if self.starting.contains(id) {
                self.breach(format!("I5: {nick} is stopped while it is being started"));
            }
            let routed = |route: &&ServiceRoute| Environment::ALL.iter().any(|e| is_routed(route, *e, id));
            if self.router.newest.values().find(routed).is_some() {
                self.breach(format!("I3: {nick} is stopped while it is routed"));
            }
            if let Some(process) = self.process_mut(id)
                && process.being != Being::Stopped
            {
                process.being = Being::Stopped;
                self.note(now, format!("{nick} is stopped"));
            }
        }
    }

    pub(crate) fn running(&self) -> Vec<Running> {
        let alive = self.processes.iter().filter(|process| process.is_alive());
        alive
            .map(|process| Running {
                service: process.service.clone(),
                environment: process.environment,
                release: process.release.clone(),
                instance: Instance { id: process.id.clone(), address: process.address },
            })
            .collect()
    }

    pub(crate) fn prepare(&mut self, service: &ServiceName, release: &Release, now: u64) {
        self.releases.retain(|(_, of, id)| (of, id) != (service, &release.id));
        self.releases.push((now, service.clone(), release.id.clone()));
        self.contents.insert((service.clone(), release.id.clone()), release.clone());
    }

    pub(crate) fn find(&self, service: &ServiceName, release: &ReleaseId) -> Option<Release> {
        let held = self.releases.iter().any(|(_, of, id)| (of, id) == (service, release));
        self.contents.get(&(service.clone(), release.clone())).filter(|_| held).cloned()
    }

    /// Forgets releases by the same rule as the real store.
    pub(crate) fn prune(
        &mut self,
        service: &ServiceName,
        needed: &[ReleaseId],
        keep: usize,
        now: u64,
    ) -> usize {
        let others = self.releases.iter().rev();
        let others = others.filter(|(_, of, id)| of == service && !needed.contains(id)).skip(keep);
        let gone: Vec<_> = others.filter(|(at, ..)| at + RELEASE_GRACE <= now).cloned().collect();
        self.releases.retain(|release| !gone.contains(release));
        for process in self.processes.clone().iter().filter(|process| process.is_alive()) {
            if gone.iter().any(|(_, of, id)| (of, id) == (&process.service, &process.release)) {
                self.breach(format!("a release of {} that runs is removed", process.service));
            }
        }
        gone.len()
    }

    pub(crate) fn last_exit(&self, id: &InstanceId, now: u64) -> Option<Exit> {
        let process = self.process(id)?;
        // A sick release's workers keep ending from the start.
        if let (Being::Up { since }, Some(_), Behaviour::Sick) =
            (process.being, process.worker, process.behaviour)
        {
            return Behaviour::loops(since, now);
        }
        process.exit.clone().or_else(|| process.behaviour.exit())
    }

    pub(crate) fn check(&mut self, instance: &Instance, rise: u32, now: u64) -> Result<(), String> {
        let Some(process) = self.process_mut(&instance.id) else {
            return Err("connection refused".to_owned());
        };
        let well = process.is_well(now) && process.address == instance.address;
        process.passed = if well { process.passed + 1 } else { 0 };
        process.proved |= process.passed >= rise;
        if well { Ok(()) } else { Err("connection refused".to_owned()) }
    }

    /// Ends an instance from outside.
    pub(crate) fn kill(&mut self, position: usize, supervisor_too: bool, now: u64) {
        let process = &mut self.processes[position];
        let restarts = process.exit.as_ref().map_or(0, |exit| exit.restarts);
        process.being =
            if supervisor_too { Being::Gone } else { Being::Down { until: now + SUPERVISOR_PAUSE } };
        process.passed = 0;
        process.exit = Some(Exit {
            how: "killed by SIGKILL".to_owned(),
            at: Timestamp::from_millis(now),
            last_lines: Vec::new(),
            restarts: if supervisor_too { restarts } else { restarts + 1 },
        });
        self.note(now, format!("p{position} is killed, its supervisor too: {supervisor_too}"));
    }

    /// Fences by epoch, as the real one does.
    pub(crate) fn apply(&mut self, route: &ServiceRoute, now: u64) -> Result<Receipt, RouterError> {
        let name = &route.name;
        let Some(epoch) = route.epoch else {
            self.breach("I7: a route without an epoch");
            return Err(RouterError::Refused("no epoch".to_owned()));
        };
        if let Some(table) = self.router.tables.get(name) {
            if Some(epoch) < table.route.epoch {
                return Err(RouterError::Refused(format!("epoch {epoch} is older than the one in force")));
            }
            if Some(epoch) == table.route.epoch {
                if table.route == *route {
                    return Ok(table.receipt.clone());
                }
                if !self.router.by_hand.contains(&(name.clone(), epoch)) {
                    self.breach(format!("I7: {name} sent two routes under one epoch"));
                }
                return Err(RouterError::Refused("other content under the same epoch".to_owned()));
            }
        }
        let forgotten = self.router.forgotten.get(name);
        if !self.router.tables.contains_key(name) && forgotten.is_some_and(|forgotten| epoch <= *forgotten) {
            return Err(RouterError::Refused(format!("epoch {epoch} is of before the service was removed")));
        }
        self.watch_traffic(route);
        self.router.generation += 1;
        let receipt = Receipt {
            service: name.clone(),
            epoch,
            weights: route.weights,
            generation: self.router.generation,
            boot_id: format!("boot-{}", self.router.boot),
            published_at: Timestamp::from_millis(now),
            fenced_after_us: 300,
            lasting: PerEnvironment::default(),
            in_flight: PerEnvironment { blue: 1, green: 1 },
        };
        let table = Table { route: route.clone(), receipt: receipt.clone() };
        if let Some(former) = self.router.tables.insert(name.clone(), table) {
            self.router.former.insert(name.clone(), former);
        }
        self.router.newest.insert(name.clone(), route.clone());
        let to = route.weights.sole().map_or("nobody alone", Environment::label);
        self.note(now, format!("{name}: routed to {to}, epoch {epoch}"));
        Ok(receipt)
    }

    /// Routes a service no more, unless it has been told otherwise since; what is told late of it is still watched by
    /// its epoch.
    pub(crate) fn forget(&mut self, name: &ServiceName, epoch: Epoch, now: u64) -> Result<(), String> {
        if self.router.tables.get(name).is_some_and(|table| table.route.epoch > Some(epoch)) {
            return Err(format!("{name} has a newer route than {epoch}"));
        }
        if let Some(former) = self.router.tables.remove(name) {
            let newest = self.router.newest.get(name).and_then(|newest| newest.epoch);
            self.router.forgotten.extend(newest.map(|newest| (name.clone(), newest)));
            if Environment::ALL.iter().any(|environment| !former.route.instances(*environment).is_empty()) {
                // It may have come back with an older table, whose instances are gone; else somebody is cut off.
                let routed = Environment::ALL.into_iter().flat_map(|e| former.route.instances(e).to_vec());
                if routed.into_iter().any(|it| self.process(&it.id).is_some_and(Process::is_alive)) {
                    self.breach(format!("{name} is forgotten while its instances run"));
                }
            }
            self.router.former.insert(name.clone(), former);
            self.note(now, format!("{name}: routed no more"));
        }
        Ok(())
    }

    /// The promises about traffic, as the outside sees them, at every change of it.
    fn watch_traffic(&mut self, route: &ServiceRoute) {
        let name = &route.name;
        if self.router.newest.get(name).is_some_and(|newest| route.epoch < newest.epoch) {
            self.breach(format!("I7: {name} goes back to an older epoch"));
        }
        let Some(to) = route.weights.sole() else {
            return self.breach(format!("I1: no environment of {name} has all the weight"));
        };
        if route.instances(to).is_empty() && self.served.contains(name) {
            self.breach(format!("I1: the traffic of {name} goes to {to}, which is empty"));
        }
        for routed in route.instances(to) {
            let nick = self.nick(&routed.id);
            if let Some(gate) = self.missed_gate(&routed.id) {
                self.breach(format!("I2: {nick} gets traffic and has not passed `{gate}`"));
            }
            match self.process(&routed.id) {
                None => self.breach(format!("I2: {nick} gets traffic and was never started")),
                Some(process) if !process.proved => {
                    self.breach(format!("I2: {nick} gets traffic and has not passed its health gate"));
                }
                Some(process) if process.being == Being::Stopped => {
                    self.breach(format!("I2: {nick} gets traffic and was stopped"));
                }
                Some(_) => {}
            }
        }
    }

    /// A gate that the deployment of an instance has not passed, if it has any.
    fn missed_gate(&self, id: &InstanceId) -> Option<String> {
        let deployment = id.as_str().rsplit('-').nth(1)?.parse::<DeploymentId>().ok()?;
        let passed = self.passed.get(&deployment)?;
        let gates = gates(&self.process(id)?.version);
        let hooks = gates.hooks.iter().filter(|hook| hook.point.is_gate()).map(|hook| hook.point.label());
        let others = [("expand", gates.migrate.expand.is_some()), ("smoke", !gates.smoke.is_empty())];
        let mut wanted = hooks.chain(others.into_iter().filter(|(_, has)| *has).map(|(label, _)| label));
        wanted.find(|label| !passed.contains(*label)).map(str::to_owned)
    }

    /// What a gate finds; a release that is rejected fails its suite.
    pub(crate) fn judge(&mut self, wanted: &Judged) -> Finding {
        let passes = wanted.behaviour != Behaviour::Rejected || wanted.label != "smoke";
        if wanted.label == "before_deploy" {
            self.passed.entry(wanted.deployment.clone()).or_default();
        }
        if !passes {
            return Finding::fail("the suite `home` failed");
        }
        if let Some(passed) = self.passed.get_mut(&wanted.deployment) {
            passed.insert(wanted.label.clone());
        }
        Finding::pass("1 of 1")
    }

    /// Somebody moves the traffic of a service to its other environment, if that is well.
    pub(crate) fn move_by_hand(&mut self, name: &ServiceName, now: u64) {
        let Some(table) = self.router.tables.get(name) else { return };
        let mut route = table.route.clone();
        let Some(to) = route.weights.sole().map(Environment::other) else { return };
        let well = |id: &InstanceId| self.process(id).is_some_and(|it| it.proved && it.is_well(now));
        let instances = route.instances(to);
        if instances.is_empty() || !instances.iter().all(|instance| well(&instance.id)) {
            return;
        }
        route.weights = Weights::all_to(to);
        route.epoch = route.epoch.map(Epoch::by_hand);
        self.note(now, format!("{name}: somebody moves its traffic by hand"));
        self.router.by_hand.extend(route.epoch.map(|epoch| (name.clone(), epoch)));
        // The router does not refuse what is newer than all it has.
        let _ = self.apply(&route, now);
    }

    /// A route that will arrive when it was given up already.
    pub(crate) fn stray(&mut self, route: &ServiceRoute, at: u64) {
        self.router.strays.push((at, route.clone()));
    }

    /// The router starts again with no table, or with the one before the present one. What was on its way to the
    /// old one is lost with its connections.
    pub(crate) fn restart_router(&mut self, keeps_older: bool, now: u64) {
        self.router.boot += 1;
        self.router.generation = 0;
        self.router.strays.clear();
        self.router.tables = if keeps_older { self.router.former.clone() } else { BTreeMap::new() };
        self.note(now, format!("the router restarts, with an older table: {keeps_older}"));
    }

    pub(crate) fn routed(&self) -> Vec<Routed> {
        let route = |table: &Table| Routed {
            service: table.route.name.clone(),
            route: ObservedRoute {
                epoch: table.route.epoch.unwrap_or(Epoch::ZERO),
                weights: table.route.weights,
                instances: Some(PerEnvironment::from_fn(|environment| {
                    let routed = table.route.instances(environment);
                    routed.iter().map(|instance| instance.id.clone()).collect()
                })),
            },
        };
        self.router.tables.values().map(route).collect()
    }

    pub(crate) fn alive(&self) -> BTreeSet<InstanceId> {
        let alive = self.processes.iter().filter(|process| process.is_alive());
        alive.map(|process| process.id.clone()).collect()
    }
}

impl Process {
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.being, Being::Up { .. } | Being::Down { .. })
    }

    pub(crate) fn is_well(&self, now: u64) -> bool {
        matches!(self.being, Being::Up { since } if self.behaviour.is_well(now.saturating_sub(since)))
    }
}

fn is_routed(route: &ServiceRoute, environment: Environment, id: &InstanceId) -> bool {
    route.instances(environment).iter().any(|instance| instance.id == *id)
}

/// A failure that names its port.
pub(crate) fn broken(what: &str) -> PortError {
    PortError::new(format!("{what} is broken by the simulation"))
}
