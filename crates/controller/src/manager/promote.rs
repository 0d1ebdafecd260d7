//! A person's word that a release which waits for it may have the traffic.

use cutover_core::service::Event;
use cutover_core::{DeploymentId, ServiceName};

use crate::manager::{DeploymentManager, RequestError};

impl DeploymentManager {
    /// Lets the deployment that waits for it go on to its shift; answers which that is. With an id only that one is
    /// meant, and told again it is no mistake.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed; of what has lost its health meanwhile that it is taken back.
    pub async fn promote(
        &self,
        service: &ServiceName,
        actor: &str,
        deployment: Option<DeploymentId>,
    ) -> Result<DeploymentId, RequestError> {
        let snapshots = self.known(service).await?;
        let state = snapshots.borrow().state.clone();
        let open = state.deployment.as_ref();
        let id = deployment.clone().or_else(|| open.map(|open| open.id.clone()));
        let held = open.filter(|open| open.is_held() && Some(&open.id) == id.as_ref());
        // Whoever asks means what waits now, not what may have taken its place by the time it is decided.
        let deployment = held.map(|held| held.id.clone()).or(deployment);
        if held.is_some() {
            // What the watch said last may be seconds old.
            self.look_at_the_idle(service, &state).await?;
        }
        let event = Event::PromoteRequested { deployment, actor: actor.to_owned() };
        let after = self.request(service, event).await?;
        let promoted = id.or_else(|| after.state.deployment.as_ref().map(|open| open.id.clone()));
        promoted.ok_or(RequestError::Ending)
    }
}
