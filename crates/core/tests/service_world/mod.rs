//! What the decisions are tried out in: a router that fences by epoch, instances that run or do not, and a clock
//! that is moved by hand. Every step is checked against the invariants and through its written form.

#![allow(dead_code, reason = "each test crate uses its own part of this world")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

pub(crate) mod canonical;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::gates::{
    ContractWhen, Finding, Gate, Gates, Hook, HookAction, HookPoint, Migrate, Suite, SuiteKind,
};
use cutover_core::health::HealthPolicy;
use cutover_core::receipt::Receipt;
use cutover_core::release::{Configuration, Release, RolloutPolicy, Route, RunPolicy, Worker};
use cutover_core::routing::{ServiceRoute, Timeouts, Upstream};
use cutover_core::service::{
    Answer, Deployment, Effect, Event, Health, Instance, ObservedRoute, PendingEffect, Purpose, Refusal,
    ServiceState, Slot, StopScope, Way, WhenOpen, step,
};
use cutover_core::{
    DeploymentId, Environment, Epoch, InstanceId, PerEnvironment, ReleaseId, Timestamp, Weights, WorkerName,
};

/// A release of one instance whose identity follows from its version.
pub(crate) fn release(version: &str) -> Release {
    let hash: String = version.bytes().map(|byte| format!("{byte:02x}")).collect();
    Release {
        id: format!("{hash:0>8}").parse().unwrap(),
        version: version.parse().unwrap(),
        directory: PathBuf::from("/releases").join(version),
        artifact_bytes: 1,
        configuration: Configuration {
            tls: cutover_core::tls::Tls::default(),
            route: Route {
                hosts: vec!["shop.example.com".to_owned()],
                path: "/".to_owned(),
                canonical_host: None,
            },
            command: vec!["./shop".to_owned()],
            env: BTreeMap::new(),
            run: RunPolicy {
                instances: 1,
                user: None,
                workdir: PathBuf::new(),
                stop_signal: "SIGTERM".to_owned(),
                stop_timeout: Duration::from_secs(10),
                shared: Vec::new(),
            },
            health: HealthPolicy::default(),
            health_deadline: Duration::from_secs(300),
            upstream: Upstream::default(),
            replay: cutover_core::routing::Replay::default(),
            drain: cutover_core::drain::Drain::default(),
            timeouts: Timeouts::default(),
            gates: gates(version),
            workers: workers(version),
        },
        secrets: Vec::new(),
    }
}

/// The workers of a version, which its name tells: most have none.
fn workers(version: &str) -> BTreeMap<WorkerName, Worker> {
    let worker = |overlap| Worker {
        command: vec!["./shop".to_owned(), "work".to_owned()],
        instances: 1,
        overlap,
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: Duration::from_secs(120),
    };
    let named = |name: &str, overlap| (name.parse().unwrap(), worker(overlap));
    let version = version.split('-').next().unwrap_or_default();
    match version {
        "exclusive" => [named("mail", false)].into(),
        "overlapping" => [named("mail", true)].into(),
        "mixed" => [named("mail", true), named("report", false)].into(),
        _ => BTreeMap::new(),
    }
}

/// The gates of a version, which its name tells: most have none.
fn gates(version: &str) -> Gates {
    let hook = |point: HookPoint| Hook {
        name: point.label().to_owned(),
        point,
        action: HookAction::Command(vec!["./hook".to_owned()]),
        timeout: Duration::from_secs(60),
        retries: 0,
    };
    let suite = Suite {
        name: "home".to_owned(),
        kind: SuiteKind::Command { command: vec!["./smoke".to_owned()], junit: None },
        timeout: Duration::from_secs(60),
        retries: 0,
        during_bake: Some(Duration::from_secs(3)),
        variables: BTreeMap::new(),
    };
    let command = |word: &str| Some(vec![word.to_owned()]);
    let migrate =
        Migrate { expand: command("./expand"), contract: command("./contract"), ..Migrate::default() };
    let version = version.split('-').next().unwrap_or_default();
    match version {
        "gated" => Gates {
            smoke: vec![suite],
            hooks: [HookPoint::BeforeDeploy, HookPoint::AfterCutover, HookPoint::OnRollback].map(hook).into(),
            migrate: Migrate { contract_when: ContractWhen::AfterBake, ..migrate },
            preview_host: None,
        },
        "all" => {
            Gates { smoke: vec![suite], hooks: HookPoint::ALL.map(hook).into(), migrate, preview_host: None }
        }
        _ => Gates::default(),
    }
}

/// Ten minutes of bake, an hour of standby, taken back by itself.
pub(crate) fn rollout() -> RolloutPolicy {
    RolloutPolicy {
        bake: Duration::from_secs(600),
        standby: Duration::from_secs(3600),
        auto_rollback: true,
        hold: None,
        hold_requests: None,
    }
}

/// A request to deploy that version, under an id made of the number.
pub(crate) fn deploy_event(number: u32, version: &str, rollout: RolloutPolicy, when_open: WhenOpen) -> Event {
    Event::DeployRequested {
        deployment: format!("d{number}").parse().unwrap(),
        actor: "alice".to_owned(),
        release: Box::new(release(version)),
        rollout,
        when_open,
        circumstances: Box::default(),
    }
}

/// A request for so many percent to the slot that is idle.
pub(crate) fn share_event(deployment: DeploymentId, state: &ServiceState, percent: u8) -> Event {
    let weights = match state.live {
        Environment::Blue => Weights::new(100 - percent, percent),
        Environment::Green => Weights::new(percent, 100 - percent),
    };
    Event::TrafficRequested {
        deployment,
        actor: "bob".to_owned(),
        weights: weights.unwrap(),
        live: state.live,
    }
}

/// What is outside of the controller and survives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outside {
    /// What the router routes by.
    pub(crate) route: Option<ServiceRoute>,
    /// What the router remembers of a route that it was told to forget.
    pub(crate) forgotten: Epoch,
    /// Instances that run.
    pub(crate) running: BTreeSet<InstanceId>,
    /// Instances that were stopped because somebody asked for it.
    pub(crate) stopped: BTreeSet<InstanceId>,
    /// Instances that have been seen healthy.
    pub(crate) proved: BTreeSet<InstanceId>,
    /// The gates that a deployment has passed, of those that have any, by their labels.
    pub(crate) passed: BTreeMap<DeploymentId, BTreeSet<String>>,
    /// The gates that a release has for a deploy, by their labels.
    pub(crate) wanted: BTreeMap<InstanceId, BTreeSet<String>>,
    /// The workers that were ever started: of which slot and release, and whether they may overlap.
    pub(crate) workers: BTreeMap<InstanceId, (Environment, ReleaseId, bool)>,
}

impl Outside {
    /// Does what is asked for and says what a port would say.
    pub(crate) fn perform(&mut self, pending: &PendingEffect) -> Answer {
        match &pending.effect {
            Effect::Provision { instances, release, .. } => {
                let wanted = gates_of_a_deploy(&release.configuration.gates);
                self.wanted.extend(instances.iter().map(|id| (id.clone(), wanted.clone())));
                self.running.extend(instances.iter().cloned());
                self.stopped.retain(|id| !instances.contains(id));
                Answer::Provisioned { instances: instances.iter().cloned().map(instance).collect() }
            }
            Effect::AwaitHealthy { instances, .. } => {
                if let Some(gone) = instances.iter().find(|instance| !self.running.contains(&instance.id)) {
                    return failed(&format!("instance `{}` does not run", gone.id));
                }
                self.proved.extend(instances.iter().map(|instance| instance.id.clone()));
                Answer::Healthy { detail: "1 of 1".to_owned() }
            }
            Effect::Shift { route } => self.shift(route),
            Effect::Drain { .. } => Answer::Drained { left: 0 },
            Effect::Retire { instances, .. } => {
                self.running.retain(|id| !instances.contains(id));
                self.stopped.extend(instances.iter().cloned());
                Answer::Retired
            }
            Effect::StartWorkers { environment, release, workers } => {
                for worker in workers {
                    self.running.insert(worker.id.clone());
                    let of = (*environment, release.id.clone(), worker.overlap);
                    self.workers.insert(worker.id.clone(), of);
                }
                Answer::WorkersStarted
            }
            Effect::StopWorkers { workers, .. } => {
                self.running.retain(|id| workers.iter().all(|worker| worker.id != *id));
                Answer::WorkersStopped
            }
            Effect::Unroute { epoch } => {
                if self.route.as_ref().is_some_and(|route| route.epoch > Some(*epoch)) {
                    return failed("it has seen a newer epoch");
                }
                let forgotten = self.route.take().and_then(|route| route.epoch);
                self.forgotten = forgotten.unwrap_or(self.forgotten);
                Answer::Unrouted
            }
            Effect::Prioritise { .. } => Answer::Prioritised,
            Effect::RunGate { gate, context, .. } => {
                if pending.purpose == Purpose::Deployment {
                    let passed = self.passed.entry(context.deployment.clone()).or_default();
                    passed.insert(gate.label().to_owned());
                }
                if *gate == Gate::Contract {
                    let to = self.route.as_ref().and_then(|route| route.replay.to);
                    assert_eq!(
                        to, None,
                        "what the live release fails goes on to one that the schema is not fit for"
                    );
                }
                judged(Finding::pass("1 of 1"))
            }
        }
    }

    /// An instance that has traffic although a gate of its deployment has not been passed.
    fn unearned(&self) -> Option<InstanceId> {
        self.in_traffic().into_iter().find(|id| {
            let deployment = id.as_str().rsplit('-').nth(1).and_then(|id| id.parse::<DeploymentId>().ok());
            let passed = deployment.and_then(|id| self.passed.get(&id));
            // What a restart or a scale has started has no gates of its own.
            passed.is_some_and(|passed| self.wanted.get(id).is_some_and(|wanted| !wanted.is_subset(passed)))
        })
    }

    fn shift(&mut self, route: &ServiceRoute) -> Answer {
        let present = self.route.as_ref();
        let same_epoch = present.is_some_and(|present| present.epoch == route.epoch && present != route);
        let forgotten =
            present.is_none() && self.forgotten > Epoch::ZERO && route.epoch <= Some(self.forgotten);
        if same_epoch || forgotten || route.epoch < present.and_then(|present| present.epoch) {
            return failed("the router has a newer epoch");
        }
        self.route = Some(route.clone());
        Answer::Shifted {
            receipt: Receipt {
                lasting: PerEnvironment::default(),
                service: route.name.clone(),
                epoch: route.epoch.unwrap(),
                weights: route.weights,
                generation: 1,
                boot_id: "boot".to_owned(),
                published_at: Timestamp::from_millis(0),
                fenced_after_us: 312,
                in_flight: PerEnvironment { blue: 3, green: 3 },
            },
        }
    }

    /// What a controller finds when it looks.
    pub(crate) fn observe(&self) -> Option<ObservedRoute> {
        let route = self.route.as_ref()?;
        let ids =
            |environment| route.instances(environment).iter().map(|instance| instance.id.clone()).collect();
        Some(ObservedRoute {
            epoch: route.epoch.unwrap_or(Epoch::ZERO),
            weights: route.weights,
            instances: Some(PerEnvironment::from_fn(ids)),
        })
    }

    /// Somebody moves the traffic at the router itself; whether that was possible.
    pub(crate) fn move_by_hand(&mut self) -> bool {
        let Some(route) = &mut self.route else { return false };
        let to = route.live().other();
        let fit = |id: &InstanceId| self.running.contains(id) && self.proved.contains(id);
        let instances = route.instances(to);
        if instances.is_empty() || !instances.iter().all(|instance| fit(&instance.id)) {
            return false;
        }
        route.weights = Weights::all_to(to);
        route.epoch = route.epoch.map(Epoch::by_hand);
        true
    }

    /// The workers that run, by the names their ids tell.
    pub(crate) fn working(&self) -> Vec<&str> {
        let running = self.running.iter().filter(|id| self.workers.contains_key(*id));
        running.map(|id| id.as_str().strip_prefix("shop-").unwrap()).collect()
    }

    /// Instances that get new requests.
    pub(crate) fn in_traffic(&self) -> Vec<InstanceId> {
        let route = self.route.iter();
        let weighty = route.flat_map(|route| {
            let environments =
                Environment::ALL.into_iter().filter(|environment| route.weights.of(*environment) > 0);
            environments.flat_map(|environment| route.instances(environment))
        });
        weighty.map(|instance| instance.id.clone()).collect()
    }

    /// Promises 1 and 2 as the outside sees them.
    pub(crate) fn check(&self) -> Result<(), String> {
        let routed = self.route.iter().flat_map(|route| {
            let private = route.preview.iter().flat_map(|preview| &preview.instances);
            route.blue.iter().chain(&route.green).chain(private)
        });
        if let Some(gone) = routed.map(|instance| &instance.id).find(|id| self.stopped.contains(*id)) {
            return Err(format!("{gone} was stopped while it was routed"));
        }
        if let Some(new) = self.in_traffic().iter().find(|id| !self.proved.contains(*id)) {
            return Err(format!("{new} has traffic and was never seen healthy"));
        }
        if let Some(id) = self.unearned() {
            return Err(format!("{id} has traffic and has passed {:?} of {:?}", self.passed, self.wanted));
        }
        let working: Vec<_> =
            self.workers.iter().filter(|(id, _)| self.running.contains(*id)).map(|(_, of)| of).collect();
        for one in &working {
            for other in &working {
                let same = (&one.0, &one.1) == (&other.0, &other.1);
                let may_overlap = one.2 && other.2;
                if !(same || may_overlap) {
                    return Err(format!("workers of two releases run: {working:?}"));
                }
            }
        }
        Ok(())
    }
}

/// An instance at an address that follows from nothing but the need for one.
pub(crate) fn instance(id: InstanceId) -> Instance {
    Instance { id, address: SocketAddr::from(([127, 0, 0, 1], 4000)) }
}

fn gates_of_a_deploy(gates: &Gates) -> BTreeSet<String> {
    let hooks = gates.hooks.iter().filter(|hook| hook.point.is_gate()).map(|hook| hook.point.label());
    let others = [("expand", gates.migrate.expand.is_some()), ("smoke", !gates.smoke.is_empty())];
    hooks
        .chain(others.into_iter().filter(|(_, has)| *has).map(|(label, _)| label))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn judged(finding: Finding) -> Answer {
    Answer::Judged { finding: Box::new(finding) }
}

pub(crate) fn failed(reason: &str) -> Answer {
    Answer::Failed { reason: reason.to_owned(), last_lines: Vec::new() }
}

pub(crate) fn stop_event(actor: String, scope: StopScope, end_bake: bool) -> Event {
    Event::StopRequested { actor, scope, environment: None, end_bake }
}

/// What came of an event. Unlike a transition it may be left aside: the world has taken its state already.
#[derive(Debug, PartialEq)]
pub(crate) struct Happened {
    pub(crate) effects: Vec<PendingEffect>,
    pub(crate) closed: Vec<Deployment>,
    pub(crate) noop: bool,
}

/// One service with what surrounds it.
pub(crate) struct World {
    pub(crate) state: ServiceState,
    pub(crate) outside: Outside,
    pub(crate) now: Timestamp,
    pub(crate) closed: Vec<Deployment>,
    requests: u32,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: ServiceState::new("shop".parse().unwrap()),
            outside: Outside::default(),
            now: Timestamp::from_millis(1_000_000),
            closed: Vec::new(),
            requests: 0,
        }
    }

    /// A world in which these versions were deployed one after the other; the last one is in its bake.
    pub(crate) fn with(versions: &[&str]) -> Self {
        let mut world = Self::new();
        for version in versions {
            world.end_bake();
            world.deploy(version).unwrap();
            world.go_well();
        }
        world
    }

    /// The same, with the last bake ended.
    pub(crate) fn settled(versions: &[&str]) -> Self {
        let mut world = Self::with(versions);
        world.end_bake();
        world
    }

    /// Lets the bake end, if one goes on.
    pub(crate) fn end_bake(&mut self) {
        if let Some(until) = self.state.deployment.as_ref().and_then(|deployment| deployment.bake_until) {
            self.now = until;
            self.happens(&Event::TimePassed).unwrap();
            self.go_well();
        }
    }

    pub(crate) fn happens(&mut self, event: &Event) -> Result<Happened, Refusal> {
        let transition = step(&self.state, event, self.now)?;
        assert_eq!(transition.state.check_invariants(), Ok(()));
        assert_eq!(self.state.check_transition(event, &transition), Ok(()));
        let written = serde_json::to_string(&transition.state).unwrap();
        assert_eq!(serde_json::from_str::<ServiceState>(&written).unwrap(), transition.state);
        let noop = transition.is_noop();
        self.state = transition.state;
        self.closed.extend(transition.closed.clone());
        self.closed.extend(transition.told.clone());
        Ok(Happened { effects: transition.effects, closed: transition.closed, noop })
    }

    pub(crate) fn deploy(&mut self, version: &str) -> Result<Happened, Refusal> {
        self.deploy_with(version, rollout())
    }

    pub(crate) fn deploy_with(&mut self, version: &str, rollout: RolloutPolicy) -> Result<Happened, Refusal> {
        self.requests += 1;
        self.happens(&deploy_event(self.requests, version, rollout, WhenOpen::Refuse))
    }

    pub(crate) fn deploy_ending_the_bake(&mut self, version: &str) -> Result<Happened, Refusal> {
        self.requests += 1;
        self.happens(&deploy_event(self.requests, version, rollout(), WhenOpen::EndBake))
    }

    pub(crate) fn rollback(&mut self) -> Result<Happened, Refusal> {
        self.requests += 1;
        let deployment = format!("d{}", self.requests).parse().unwrap();
        self.happens(&Event::RollbackRequested { deployment, actor: "bob".to_owned() })
    }

    pub(crate) fn abort(&mut self) -> Result<Happened, Refusal> {
        self.happens(&Event::AbortRequested { actor: "bob".to_owned(), only_queue: false, deployment: None })
    }

    pub(crate) fn restart_instances(&mut self) -> Result<Happened, Refusal> {
        self.requests += 1;
        let deployment = format!("d{}", self.requests).parse().unwrap();
        self.happens(&Event::RestartRequested { deployment, actor: "bob".to_owned(), end_bake: false })
    }

    pub(crate) fn scale(&mut self, instances: u32) -> Result<Happened, Refusal> {
        self.requests += 1;
        let deployment = format!("d{}", self.requests).parse().unwrap();
        self.happens(&Event::ScaleRequested {
            deployment,
            actor: "bob".to_owned(),
            instances,
            end_bake: false,
        })
    }

    /// So many percent to the slot that is idle.
    pub(crate) fn share(&mut self, percent: u8) -> Result<Happened, Refusal> {
        self.requests += 1;
        let deployment = format!("d{}", self.requests).parse().unwrap();
        self.happens(&share_event(deployment, &self.state, percent))
    }

    pub(crate) fn stop(&mut self, scope: StopScope) -> Result<Happened, Refusal> {
        self.happens(&stop_event("bob".to_owned(), scope, false))
    }

    /// The one pending effect that is described so.
    pub(crate) fn pending(&self, kind: &str) -> PendingEffect {
        let found: Vec<_> =
            self.state.pending.iter().filter(|pending| label(&pending.effect) == kind).collect();
        assert_eq!(found.len(), 1, "one {kind} among {:?}", self.labels());
        found[0].clone()
    }

    pub(crate) fn labels(&self) -> Vec<&'static str> {
        self.state.pending.iter().map(|pending| label(&pending.effect)).collect()
    }

    /// Performs the pending effect of that kind and answers it.
    pub(crate) fn goes_well(&mut self, kind: &str) -> Happened {
        let pending = self.pending(kind);
        let answer = self.outside.perform(&pending);
        self.answer(&pending, answer)
    }

    pub(crate) fn fails(&mut self, kind: &str) -> Happened {
        let pending = self.pending(kind);
        self.answer(&pending, failed("it broke"))
    }

    pub(crate) fn answer(&mut self, pending: &PendingEffect, answer: Answer) -> Happened {
        self.happens(&Event::Answered { effect: pending.id.clone(), answer }).unwrap()
    }

    /// Answers everything well until nothing is pending, without letting time pass.
    pub(crate) fn go_well(&mut self) {
        for _ in 0..100 {
            let Some(pending) = self.state.pending.first().cloned() else {
                return;
            };
            let answer = self.outside.perform(&pending);
            self.answer(&pending, answer);
        }
        panic!("there is always something pending: {:?}", self.labels());
    }

    /// Lets time pass to the next moment that matters.
    pub(crate) fn wait(&mut self) -> Happened {
        self.now = self.state.next_deadline().expect("something to wait for");
        self.happens(&Event::TimePassed).unwrap()
    }

    pub(crate) fn pass(&mut self, seconds: u64) -> Happened {
        self.now = self.now + Duration::from_secs(seconds);
        self.happens(&Event::TimePassed).unwrap()
    }

    pub(crate) fn health(&mut self, environment: Environment, health: Health) -> Happened {
        let instances = self.slot(environment).instances.iter().map(|instance| instance.id.clone()).collect();
        self.happens(&Event::HealthChanged { environment, instances, health }).unwrap()
    }

    /// The controller starts again and finds what is there.
    pub(crate) fn restart(&mut self) -> Happened {
        self.restart_in_term(1, None)
    }

    /// The same in a later term, with what is in the store if somebody has looked.
    pub(crate) fn restart_in_term(&mut self, term: u32, releases: Option<Vec<ReleaseId>>) -> Happened {
        let running = self.outside.running.iter().cloned().collect();
        let route = self.outside.observe();
        self.happens(&Event::ControllerStarted { term, route, blind: false, running, releases }).unwrap()
    }

    /// Asks for a deployment on these terms, under the next id.
    pub(crate) fn deploy_when_open(
        &mut self,
        version: &str,
        when_open: WhenOpen,
    ) -> Result<Happened, Refusal> {
        self.requests += 1;
        self.happens(&deploy_event(self.requests, version, rollout(), when_open))
    }

    pub(crate) fn resolve(&mut self, way: Way) -> Result<Happened, Refusal> {
        self.happens(&Event::ResolveRequested { actor: "bob".to_owned(), way })
    }

    pub(crate) fn slot(&self, environment: Environment) -> &Slot {
        &self.state.environments[environment]
    }

    pub(crate) fn live_version(&self) -> Option<&str> {
        self.version_on(self.state.live)
    }

    pub(crate) fn version_on(&self, environment: Environment) -> Option<&str> {
        self.slot(environment).release.as_ref().map(|release| release.version.as_str())
    }

    pub(crate) fn open(&self) -> &Deployment {
        self.state.deployment.as_ref().expect("an open deployment")
    }

    pub(crate) fn last_closed(&self) -> &Deployment {
        self.closed.last().expect("a closed deployment")
    }
}

pub(crate) fn unhealthy() -> Health {
    Health::unhealthy("connection refused")
}

pub(crate) fn label(effect: &Effect) -> &'static str {
    match effect {
        Effect::Provision { .. } => "provision",
        Effect::AwaitHealthy { .. } => "healthy",
        Effect::Shift { .. } => "shift",
        Effect::Drain { .. } => "drain",
        Effect::Retire { .. } => "retire",
        Effect::StartWorkers { .. } => "start workers",
        Effect::StopWorkers { .. } => "stop workers",
        Effect::Unroute { .. } => "unroute",
        Effect::Prioritise { .. } => "prioritise",
        Effect::RunGate { .. } => "gate",
    }
}
