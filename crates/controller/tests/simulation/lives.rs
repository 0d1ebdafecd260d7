//! The lives of a controller over one world: each in a runtime of its own, whose end is the end of all its tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cutover_controller::{
    DeploymentManager, MemoryJournal, RequestError, Snapshot, SubmitOptions, Submitted,
};
use cutover_core::service::{Deployment, Status};
use cutover_core::{DeploymentId, ServiceName};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::behaviour;
use crate::crashing_journal::CrashingJournal;
use crate::ports::{Outside, VirtualClock};
use crate::world::World;

/// No life is longer; it is also what makes the paused clock move when everything hangs.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

/// What outlives a controller.
pub(crate) struct Lives {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) memory: Arc<MemoryJournal>,
    now: u64,
}

/// One life of a controller.
pub(crate) struct Life {
    pub(crate) manager: DeploymentManager,
    pub(crate) outside: Outside,
    pub(crate) memory: Arc<MemoryJournal>,
}

impl Lives {
    pub(crate) fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))), memory: Arc::default(), now: 1_000_000 }
    }

    /// Starts a controller and plays a scene in its life; `None` if it was killed, or could not start.
    pub(crate) fn live<T>(&mut self, scene: impl AsyncFnOnce(&Life) -> T) -> Option<T> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (world, memory, began) = (Arc::clone(&self.world), Arc::clone(&self.memory), self.now);
        let (played, now) = runtime.block_on(async move {
            let outside = Outside { world, clock: Arc::new(VirtualClock::new(began)) };
            let crash = Arc::new(Notify::new());
            let life = async {
                let journal = CrashingJournal {
                    memory: Arc::clone(&memory),
                    outside: outside.clone(),
                    crash: Arc::clone(&crash),
                };
                let manager = DeploymentManager::start(outside.ports(), Arc::new(journal)).await.ok()?;
                let life = Life { manager, outside: outside.clone(), memory };
                life.compare_with_the_journal().await;
                Some(scene(&life).await)
            };
            let played = tokio::select! {
                biased;
                () = crash.notified() => None,
                played = timeout(LONG, life) => played.expect("a scene that ends"),
            };
            (played, outside.clock.millis())
        });
        self.now = now;
        drop(runtime);
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        // Its threads are gone with it.
        world.late_starts.clear();
        world.note(now, "the controller is dead");
        played
    }

    /// Starts controllers until one lives to the end of the scene.
    pub(crate) fn live_on<T>(&mut self, mut scene: impl AsyncFnMut(&Life) -> T) -> T {
        for _ in 0..100 {
            if let Some(played) = self.live(async |life| scene(life).await) {
                return played;
            }
        }
        panic!("no controller survives");
    }

    /// Fails with what was broken, and how it came to that.
    pub(crate) fn assert_kept(&self) {
        if let Err(story) = self.kept() {
            panic!("{story}");
        }
    }

    pub(crate) fn kept(&self) -> Result<(), String> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.breaches.is_empty() {
            return Ok(());
        }
        let from = world.trace.len().saturating_sub(80);
        Err(format!(
            "{}\n\nwhat happened last:\n{}",
            world.breaches.join("\n"),
            world.trace[from..].join("\n")
        ))
    }
}

impl Life {
    /// Right after the start, before any loop has run, every service is what the journal says (I5).
    async fn compare_with_the_journal(&self) {
        for snapshot in self.manager.services().await {
            let records = self.memory.records(&snapshot.state.name);
            let same = records.last().is_some_and(|record| record.state == snapshot.state)
                && records.len() as u64 == snapshot.sequence;
            if !same {
                self.outside.world().breach("I5: a state after a start is not the one that was recorded");
            }
        }
    }

    pub(crate) async fn submit(
        &self,
        service: &str,
        version: &str,
        bake: u64,
    ) -> Result<Submitted, RequestError> {
        let spec = behaviour::spec(&service.parse().unwrap(), version, bake, true);
        self.manager.submit(&spec, "alice", SubmitOptions::default()).await
    }

    /// Submits a version and answers its deployment's id.
    pub(crate) async fn opened(&self, service: &str, version: &str, bake: u64) -> DeploymentId {
        match self.submit(service, version, bake).await {
            Ok(Submitted::Opened { deployment, .. }) => deployment,
            other => panic!("{version} was not opened: {other:?}"),
        }
    }

    pub(crate) async fn snapshot(&self, service: &str) -> Option<Arc<Snapshot>> {
        let service: ServiceName = service.parse().unwrap();
        Some(Arc::clone(&self.manager.watch(&service).await?.borrow()))
    }

    pub(crate) async fn pass(&self, seconds: f64) {
        sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Waits until the latest deployment of a service has ended or is stuck; answers it.
    pub(crate) async fn ended(&self, service: &str) -> Deployment {
        let name: ServiceName = service.parse().unwrap();
        for _ in 0..3600 {
            let history = self.manager.history(&name, 1).await.unwrap();
            if let Some(latest) = history.first()
                && (latest.ended_at.is_some() || latest.status == Status::Stuck)
            {
                return latest.clone();
            }
            self.pass(1.0).await;
        }
        panic!("the deployment never ends:\n{}", self.outside.world().trace.join("\n"));
    }

    /// How many deployments a service has had.
    pub(crate) async fn deployments(&self, service: &str) -> usize {
        self.manager.history(&service.parse().unwrap(), usize::MAX).await.unwrap().len()
    }

    /// Waits until every service rests, at most that many seconds: nothing is pending or due soon.
    pub(crate) async fn rests(&self, seconds: u64) -> bool {
        for _ in 0..seconds {
            self.pass(1.0).await;
            if self.manager.services().await.iter().all(|snapshot| is_at_rest(snapshot)) {
                return true;
            }
        }
        false
    }

    /// The version that the router sends all traffic to.
    pub(crate) fn version_with_traffic(&self, service: &str) -> Option<String> {
        let name: ServiceName = service.parse().unwrap();
        let world = self.outside.world();
        let route = &world.router.tables.get(&name)?.route;
        let first = route.instances(route.weights.sole()?).first()?;
        Some(world.process(&first.id)?.version.clone())
    }
}

fn is_at_rest(snapshot: &Snapshot) -> bool {
    let state = &snapshot.state;
    let open = state.deployment.as_ref();
    let resting = open.is_none_or(|deployment| deployment.status == Status::Stuck || deployment.is_baking());
    let stuck = open.is_some_and(|deployment| deployment.status == Status::Stuck);
    let slots = state.environments.iter().all(|(_, slot)| {
        slot.retry_at.is_none() && (slot.clearing.is_none() && slot.leaving.is_none() || stuck)
    });
    let here = state.removal.as_ref().is_none_or(|removal| removal.done);
    let workers = state.workers.iter().all(|(_, workers)| workers.retry_at.is_none());
    resting && here && slots && workers && state.pending.is_empty() && state.republish_at.is_none()
}
