//! Restart, scale, stop and a share of the traffic: what a person has done with what is deployed already.

use cutover_core::release::Release;
use cutover_core::service::{Event, ServiceState, StopScope};
use cutover_core::{DeploymentId, Environment, ServiceName, Weights};

use crate::manager::room::Asked;
use crate::manager::{DeploymentManager, RequestError};

/// How a restart or a scale is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveOptions {
    /// End the bake of an open deployment for it.
    pub end_bake: bool,
    /// Go on although the host seems to have no room.
    pub force: bool,
}

impl DeploymentManager {
    /// Exchanges the instances of the live slot, one at a time; answers the record of it.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn restart(
        &self,
        service: &ServiceName,
        actor: &str,
        options: MoveOptions,
    ) -> Result<DeploymentId, RequestError> {
        let state = self.known(service).await?.borrow().state.clone();
        // One beside those that run, or all of them if none does.
        let (present, wanted) = live_count(&state);
        let needed = if present == 0 { wanted } else { present + 1 };
        self.check_room(service, &state, needed, options, Asked::Restart).await?;
        let (deployment, end_bake) = (Self::new_deployment_id(), options.end_bake);
        let (id, actor) = (deployment.clone(), actor.to_owned());
        self.request(service, Event::RestartRequested { deployment, actor, end_bake }).await?;
        Ok(id)
    }

    /// Gives the live slot another number of instances; answers the record of it.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn scale(
        &self,
        service: &ServiceName,
        actor: &str,
        instances: u32,
        options: MoveOptions,
    ) -> Result<DeploymentId, RequestError> {
        let state = self.known(service).await?.borrow().state.clone();
        if instances > live_count(&state).0 {
            self.check_room(service, &state, instances, options, Asked::Scale).await?;
        }
        let (deployment, end_bake) = (Self::new_deployment_id(), options.end_bake);
        let (id, actor) = (deployment.clone(), actor.to_owned());
        self.request(service, Event::ScaleRequested { deployment, actor, instances, end_bake }).await?;
        Ok(id)
    }

    /// Gives the idle slot another share of the traffic; answers the record of it. `live` is the slot that was live
    /// when that was said.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed; of what has lost its health meanwhile that it cannot have a share.
    pub async fn share_traffic(
        &self,
        service: &ServiceName,
        actor: &str,
        weights: Weights,
        live: Environment,
    ) -> Result<DeploymentId, RequestError> {
        let state = self.known(service).await?.borrow().state.clone();
        if weights.of(live.other()) > 0 && state.deployment.is_none() {
            // What the watch said last may be seconds old.
            self.look_at_the_idle(service, &state).await?;
        }
        let deployment = Self::new_deployment_id();
        let (id, actor) = (deployment.clone(), actor.to_owned());
        self.request(service, Event::TrafficRequested { deployment, actor, weights, live }).await?;
        Ok(id)
    }

    /// Stops what is warm, or every instance of the service. With an environment the idle one is stopped only if it
    /// is still that. Answered when it is recorded; it goes on from there.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn stop(
        &self,
        service: &ServiceName,
        actor: &str,
        scope: StopScope,
        environment: Option<Environment>,
        end_bake: bool,
    ) -> Result<(), RequestError> {
        self.known(service).await?;
        let actor = actor.to_owned();
        self.request(service, Event::StopRequested { actor, scope, environment, end_bake }).await?;
        Ok(())
    }

    /// Refuses with the figures what the host has no room for.
    async fn check_room(
        &self,
        service: &ServiceName,
        state: &ServiceState,
        instances: u32,
        options: MoveOptions,
        asked: Asked,
    ) -> Result<(), RequestError> {
        let live = state.environments[state.live].release.as_ref();
        let Some(live) = live.filter(|_| !options.force) else { return Ok(()) };
        let mut wanted: Release = live.clone();
        wanted.configuration.run.instances = instances;
        self.room_for(service, &wanted, asked).await
    }
}

/// How many instances live has, and how many it would be started with.
fn live_count(state: &ServiceState) -> (u32, u32) {
    let slot = &state.environments[state.live];
    let present = u32::try_from(slot.instances.len()).unwrap_or(u32::MAX);
    (present, slot.count())
}
