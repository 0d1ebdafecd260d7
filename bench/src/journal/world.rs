//! What a controller finds when it starts: everything runs and is routed as it was recorded. Whatever it asks for
//! succeeds at once.

use std::sync::Arc;

use async_trait::async_trait;
use cutover_controller::ports::{
    Applied, DeploymentExecutor, Exit, HealthValidator, Held, KeepReleases, Mandate, NoProbe, PortError,
    PrepareError, Provision, ReleaseStore, Routed, RouterError, Running, StartWorkers, TrafficRouter,
};
use cutover_controller::{Ports, SystemClock};
use cutover_core::health::HealthCheck;
use cutover_core::release::{DeploymentSpec, Release};
use cutover_core::routing::ServiceRoute;
use cutover_core::service::{EffectId, Instance, ObservedRoute, ServiceState};
use cutover_core::{Environment, Epoch, InstanceId, ReleaseId, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::journal::story::{receipt, started};

/// What there is of one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Present {
    pub(super) service: ServiceName,
    /// The sequence of its last record.
    pub(super) sequence: u64,
    route: ObservedRoute,
    slots: Vec<(Environment, ReleaseId, Vec<Instance>)>,
}

impl Present {
    /// What there is if everything is as recorded.
    pub(super) fn of(state: &ServiceState, sequence: u64) -> Self {
        let slots = state.environments.iter().filter_map(|(environment, slot)| {
            let release = slot.release.as_ref()?;
            Some((environment, release.id.clone(), slot.instances.clone()))
        });
        Self {
            service: state.name.clone(),
            sequence,
            route: ObservedRoute { epoch: state.epoch, weights: state.weights, instances: None },
            slots: slots.collect(),
        }
    }
}

/// Everything there is.
#[derive(Debug, Clone)]
pub(super) struct World(pub(super) Arc<Vec<Present>>);

impl World {
    pub(super) fn ports(&self, clock: SystemClock) -> Ports {
        Ports {
            executor: Arc::new(self.clone()),
            router: Arc::new(self.clone()),
            prober: Arc::new(NoProbe),
            health: Arc::new(self.clone()),
            releases: Arc::new(self.clone()),
            clock: Arc::new(clock),
            mandate: Arc::new(self.clone()),
            notifier: Arc::new(cutover_controller::ports::NobodyToTell),
            gates: Arc::new(cutover_controller::ports::NobodyToAsk),
            migrator: Arc::new(cutover_controller::ports::NobodyToAsk),
        }
    }
}

impl Mandate for World {
    fn holds(&self) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl DeploymentExecutor for World {
    async fn preflight(&self, _: &ServiceName, _: &Release) -> Result<(), PortError> {
        Ok(())
    }

    async fn provision(&self, _: &EffectId, wanted: Provision<'_>) -> Result<Vec<Instance>, PortError> {
        Ok(started(wanted.instances))
    }

    async fn start_workers(&self, _: &EffectId, _: StartWorkers<'_>) -> Result<(), PortError> {
        Ok(())
    }

    async fn stop(&self, _: &EffectId, _: &[InstanceId]) -> Result<(), PortError> {
        Ok(())
    }

    async fn observe(&self) -> Result<Vec<Running>, PortError> {
        let slots = self.0.iter().flat_map(|present| present.slots.iter().map(move |slot| (present, slot)));
        let running = slots.flat_map(|(present, (environment, release, instances))| {
            instances.iter().map(|instance| Running {
                service: present.service.clone(),
                environment: *environment,
                release: release.clone(),
                instance: instance.clone(),
            })
        });
        Ok(running.collect())
    }

    async fn last_exit(&self, _: &InstanceId) -> Option<Exit> {
        None
    }

    async fn last_lines(&self, _: &InstanceId, _: usize) -> Vec<String> {
        Vec::new()
    }

    async fn prioritise(&self, _: &[InstanceId], _: &[InstanceId]) -> Result<(), PortError> {
        Ok(())
    }

    async fn prune(&self, _: &[InstanceId], _: usize) -> Result<usize, PortError> {
        Ok(0)
    }
}

#[async_trait]
impl TrafficRouter for World {
    async fn apply(&self, route: &ServiceRoute) -> Result<Applied, RouterError> {
        Ok(Applied::Routed(receipt(route, Timestamp::default())))
    }

    async fn forget(&self, _: &ServiceName, _: Epoch) -> Result<(), RouterError> {
        Ok(())
    }

    async fn observe(&self) -> Result<Vec<Routed>, RouterError> {
        let routed =
            |present: &Present| Routed { service: present.service.clone(), route: present.route.clone() };
        Ok(self.0.iter().map(routed).collect())
    }

    async fn held(&self, _: &[InstanceId]) -> Result<Held, RouterError> {
        Ok(Held::default())
    }
}

#[async_trait]
impl HealthValidator for World {
    async fn check(&self, _: &Instance, _: &HealthCheck) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl ReleaseStore for World {
    async fn prepare(&self, _: &DeploymentSpec) -> Result<Release, PrepareError> {
        Err(PrepareError::Wrong { reason: "nothing is deployed here".to_owned(), hint: None })
    }

    async fn find(&self, _: &ServiceName, _: &ReleaseId) -> Result<Option<Release>, PortError> {
        Ok(None)
    }

    async fn observe(&self) -> Result<Vec<ReleaseId>, PortError> {
        let slots = self.0.iter().flat_map(|present| &present.slots);
        Ok(slots.map(|(_, release, _)| release.clone()).collect())
    }

    async fn prune(&self, _: &ServiceName, _: &[ReleaseId], _: KeepReleases) -> Result<usize, PortError> {
        Ok(0)
    }
}
