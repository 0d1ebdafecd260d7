//! The ports as the controller sees them: the world behind a connection on which everything can go wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::ports::{
    Applied, DeploymentExecutor, EvidenceSource, Exit, GateRun, GateRunner, HealthValidator, Held,
    KeepReleases, Mandate, Migrator, NoProbe, PortError, PrepareError, Provision, ReleaseStore, Routed,
    RouterError, Running, StartWorkers, TrafficRouter,
};
use cutover_controller::{Clock, Ports};
use cutover_core::gates::Finding;
use cutover_core::health::HealthCheck;
use cutover_core::release::{DeploymentSpec, Release};
use cutover_core::routing::ServiceRoute;
use cutover_core::service::{EffectId, Instance};
use cutover_core::statistics::Statistics;
use cutover_core::{CommandId, Epoch, InstanceId, ReleaseId, ServiceName, Timestamp};
use tokio::time::{Instant, sleep};

use crate::behaviour;
use crate::fault::{Fault, Port};
use crate::world::{Judged, Start, World, broken};

/// The runtime's paused clock, going on where the life before ended.
pub(crate) struct VirtualClock {
    began: u64,
    origin: Instant,
}

impl VirtualClock {
    pub(crate) fn new(began: u64) -> Self {
        Self { began, origin: Instant::now() }
    }

    pub(crate) fn millis(&self) -> u64 {
        self.began + u64::try_from(self.origin.elapsed().as_millis()).unwrap()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis())
    }
}

/// The way to the world of one life of the controller.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) clock: Arc<VirtualClock>,
}

impl Outside {
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            executor: Arc::new(self.clone()),
            router: Arc::new(self.clone()),
            prober: Arc::new(NoProbe),
            health: Arc::new(self.clone()),
            releases: Arc::new(self.clone()),
            clock: self.clock.clone(),
            mandate: Arc::new(self.clone()),
            notifier: Arc::new(cutover_controller::ports::NobodyToTell),
            gates: Arc::new(self.clone()),
            migrator: Arc::new(self.clone()),
        }
    }

    /// The world as it is at this moment.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.catch_up(self.clock.millis());
        world
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.millis()
    }

    pub(crate) fn note(&self, what: &str) {
        self.world().note(self.now(), what);
    }

    /// Has a deed done, or whatever becomes of it.
    async fn ask<T, E>(
        &self,
        port: Port,
        error: impl Fn() -> E,
        deed: impl Fn(&mut World, u64) -> Result<T, E>,
    ) -> Result<T, E> {
        let fault = self.draw(port);
        self.befall(fault, error, deed).await
    }

    fn draw(&self, port: Port) -> Option<Fault> {
        let mut guard = self.world();
        let world = &mut *guard;
        let fault = world.faults.draw(port, &mut world.random);
        if let Some(fault) = fault {
            world.note(self.clock.millis(), format!("{port:?}: {fault:?}"));
        }
        fault
    }

    async fn befall<T, E>(
        &self,
        fault: Option<Fault>,
        error: impl Fn() -> E,
        deed: impl Fn(&mut World, u64) -> Result<T, E>,
    ) -> Result<T, E> {
        let (latency, long) = {
            let mut world = self.world();
            let late = 500 + world.random.below(90_000);
            (world.random.below(30), world.faults.late_by.unwrap_or(late))
        };
        let done = || {
            let now = self.clock.millis();
            deed(&mut self.world(), now)
        };
        sleep(Duration::from_millis(latency)).await;
        match fault {
            None | Some(Fault::Stray | Fault::CrashBefore | Fault::CrashAfter) => done(),
            Some(Fault::FailBefore) => Err(error()),
            Some(Fault::FailAfter) => done().and_then(|_| Err(error())),
            Some(Fault::Late) => {
                sleep(Duration::from_millis(long)).await;
                done()
            }
            Some(Fault::AnswerLate) => {
                let answer = done();
                sleep(Duration::from_millis(long)).await;
                answer
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::LoseAnswer) => {
                let _ = done();
                std::future::pending().await
            }
            Some(Fault::Twice) => {
                let _ = done();
                sleep(Duration::from_millis(latency)).await;
                done()
            }
        }
    }
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outside(…)")
    }
}

impl Mandate for Outside {
    fn holds(&self) -> Result<(), String> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.deposed { Err("another controller has taken over".to_owned()) } else { Ok(()) }
    }
}

/// Marks instances as being started. A start that is late comes about although it was cut short.
struct Starting<'a> {
    outside: &'a Outside,
    start: Start,
    due: Option<u64>,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut world = self.outside.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.starting.retain(|id| !self.start.ids.contains(id));
        if let Some(due) = self.due {
            world.late_starts.push((due, self.start.clone()));
        }
    }
}

impl Outside {
    async fn start(&self, start: Start) -> Result<Vec<Instance>, PortError> {
        let twice = {
            let mut world = self.world();
            let twice = start.ids.iter().any(|id| world.starting.contains(id));
            world.starting.extend(start.ids.iter().cloned());
            twice
        };
        if twice {
            self.world().breach("I5: an instance is started twice at once");
        }
        let mut starting = Starting { outside: self, start: start.clone(), due: None };
        let mut fault = self.draw(Port::Provision);
        if fault == Some(Fault::Late) {
            fault = None;
            let late = {
                let mut world = self.world();
                let late = 500 + world.random.below(90_000);
                world.faults.late_by.unwrap_or(late)
            };
            starting.due = Some(self.now() + late);
            sleep(Duration::from_millis(late)).await;
        }
        let started = |world: &mut World, now| Ok(world.start(&start, now));
        let answer = self.befall(fault, || broken("the start of instances"), started).await;
        starting.due = None;
        answer
    }
}

#[async_trait]
impl DeploymentExecutor for Outside {
    async fn start_workers(&self, _: &EffectId, wanted: StartWorkers<'_>) -> Result<(), PortError> {
        let overlap = wanted.workers.iter().all(|worker| worker.overlap);
        let start = Start {
            service: wanted.service.clone(),
            environment: wanted.environment,
            release: wanted.release.clone(),
            ids: wanted.workers.iter().map(|worker| worker.id.clone()).collect(),
            worker: Some(overlap),
            late: false,
        };
        self.start(start).await.map(drop)
    }

    async fn preflight(&self, _: &ServiceName, _: &Release) -> Result<(), PortError> {
        self.ask(Port::Preflight, || broken("the look for room"), |_, _| Ok(())).await
    }

    async fn provision(&self, _: &EffectId, wanted: Provision<'_>) -> Result<Vec<Instance>, PortError> {
        let start = Start {
            service: wanted.service.clone(),
            environment: wanted.environment,
            release: wanted.release.clone(),
            ids: wanted.instances.to_vec(),
            worker: None,
            late: false,
        };
        self.start(start).await
    }

    async fn stop(&self, _: &EffectId, instances: &[InstanceId]) -> Result<(), PortError> {
        let stop = |world: &mut World, now| {
            world.stop(instances, now);
            Ok(())
        };
        self.ask(Port::Stop, || broken("the stop of instances"), stop).await
    }

    async fn observe(&self) -> Result<Vec<Running>, PortError> {
        self.ask(Port::ObserveInstances, || broken("the survey"), |world, _| Ok(world.running())).await
    }

    async fn last_exit(&self, instance: &InstanceId) -> Option<Exit> {
        self.world().last_exit(instance, self.now())
    }

    async fn last_lines(&self, _: &InstanceId, _: usize) -> Vec<String> {
        vec!["still loading".to_owned()]
    }

    async fn prioritise(&self, _: &[InstanceId], _: &[InstanceId]) -> Result<(), PortError> {
        self.ask(Port::Prioritise, || broken("the setting of priorities"), |_, _| Ok(())).await
    }

    async fn prune(&self, _: &[InstanceId], _: usize) -> Result<usize, PortError> {
        // Nothing is kept of an instance that has ended.
        Ok(0)
    }
}

#[async_trait]
impl TrafficRouter for Outside {
    async fn apply(&self, route: &ServiceRoute) -> Result<Applied, RouterError> {
        let fault = self.draw(Port::Apply);
        if fault == Some(Fault::Stray) {
            {
                let mut world = self.world();
                let later = self.now() + 500 + world.random.below(60_000);
                world.stray(route, later);
            }
            return std::future::pending().await;
        }
        let error = || RouterError::Unreachable("the router is broken by the simulation".to_owned());
        self.befall(fault, error, |world, now| world.apply(route, now).map(Applied::Routed)).await
    }

    async fn observe(&self) -> Result<Vec<Routed>, RouterError> {
        let error = || RouterError::Unreachable("the router is broken by the simulation".to_owned());
        self.ask(Port::ObserveRoutes, error, |world, _| Ok(world.routed())).await
    }

    async fn forget(&self, service: &ServiceName, epoch: Epoch) -> Result<(), RouterError> {
        let error = || RouterError::Unreachable("the router is broken by the simulation".to_owned());
        let forget = |world: &mut World, now| world.forget(service, epoch, now).map_err(RouterError::Refused);
        self.ask(Port::Apply, error, forget).await
    }

    async fn held(&self, _: &[InstanceId]) -> Result<Held, RouterError> {
        let error = || RouterError::Unreachable("the router is broken by the simulation".to_owned());
        let held = |world: &mut World, _| {
            Ok(Held { requests: u64::from(world.random.in_thousand(300)), lasting: 0 })
        };
        self.ask(Port::InFlight, error, held).await
    }
}

/// A gate that is being run; dropped with whoever waits for it.
struct Asked<'a>(&'a Outside, CommandId);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut world = self.0.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.gates.remove(&self.1);
    }
}

#[async_trait]
impl GateRunner for Outside {
    async fn run(&self, wanted: GateRun<'_>) -> Finding {
        if !self.world().gates.insert(wanted.id.clone()) {
            self.world().breach("a gate is run twice at once");
        }
        let _running = Asked(self, wanted.id.clone());
        let judged = Judged {
            deployment: wanted.context.deployment.clone(),
            label: wanted.gate.label().to_owned(),
            behaviour: behaviour::Behaviour::of(&wanted.release.version),
        };
        let judge = |world: &mut World, _| Ok(world.judge(&judged));
        let error = || broken("the gate");
        let answer = self.ask(Port::Gate, error, judge).await;
        answer.unwrap_or_else(|error: PortError| Finding::not_yet(error.reason))
    }
}

#[async_trait]
impl Migrator for Outside {
    async fn expand(&self, wanted: GateRun<'_>) -> Finding {
        self.run(wanted).await
    }

    async fn contract(&self, wanted: GateRun<'_>) -> Finding {
        self.run(wanted).await
    }
}

#[async_trait]
impl HealthValidator for Outside {
    async fn check(&self, instance: &Instance, check: &HealthCheck) -> Result<(), String> {
        let rise = check.policy.rise;
        let check = |world: &mut World, now| world.check(instance, rise, now);
        self.ask(Port::Check, || "the connection broke".to_owned(), check).await
    }
}

#[async_trait]
impl EvidenceSource for Outside {
    async fn statistics(&self) -> Result<Statistics, PortError> {
        Err(broken("the counting"))
    }
}

#[async_trait]
impl ReleaseStore for Outside {
    async fn prepare(&self, spec: &DeploymentSpec) -> Result<Release, PrepareError> {
        let error = || PrepareError::Wrong { reason: "the artifact is not there".to_owned(), hint: None };
        let prepare = |world: &mut World, now| {
            let release = behaviour::release(spec);
            world.prepare(&spec.service, &release, now);
            Ok(release)
        };
        self.ask(Port::Prepare, error, prepare).await
    }

    async fn find(&self, service: &ServiceName, release: &ReleaseId) -> Result<Option<Release>, PortError> {
        Ok(self.world().find(service, release))
    }

    async fn observe(&self) -> Result<Vec<ReleaseId>, PortError> {
        Ok(self.world().releases.iter().map(|(.., id)| id.clone()).collect())
    }

    async fn prune(
        &self,
        service: &ServiceName,
        needed: &[ReleaseId],
        keep: KeepReleases,
    ) -> Result<usize, PortError> {
        Ok(self.world().prune(service, needed, keep.count, self.now()))
    }
}
