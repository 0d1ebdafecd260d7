//! What a person asks of gates: suites at any time, the contraction of the schema after the bake.

use cutover_core::gates::{Finding, Gate, GateContext};
use cutover_core::release::Release;
use cutover_core::service::Event;
use cutover_core::{CommandId, DeploymentId, Environment, ReleaseId, ServiceName};
use tokio::sync::mpsc;

use crate::manager::{DeploymentManager, RequestError};
use crate::ports::GateRun;

impl DeploymentManager {
    /// Runs the suites of a release for a person: as users reach it if it is live, else by the private way. Nothing
    /// depends on what is found, and nothing of it is recorded.
    ///
    /// # Errors
    /// [`RequestError`] if there is no such service.
    pub async fn smoke(
        &self,
        service: &ServiceName,
        environment: Environment,
        release: &Release,
        actor: &str,
    ) -> Result<Finding, RequestError> {
        let state = self.known(service).await?.borrow().state.clone();
        let live = state.live;
        let gate = if environment == live { Gate::StillWorks } else { Gate::Smoke };
        let deployment = state.environments[environment].deployed_by.clone();
        let context = GateContext {
            service: service.clone(),
            deployment: deployment.unwrap_or_else(Self::new_deployment_id),
            kind: "smoke".to_owned(),
            status: state.deployment.as_ref().map_or("live", |open| open.status.label()).to_owned(),
            actor: actor.to_owned(),
            version: release.version.clone(),
            from: None,
            environment,
            live,
            reason: None,
        };
        let id = by_hand(&Self::new_deployment_id());
        // Whoever asked waits for the whole, not for its parts.
        let (waiting_for, _) = mpsc::unbounded_channel();
        let wanted = GateRun {
            gate: &gate,
            id: &id,
            release,
            environment,
            context: &context,
            waiting_for: &waiting_for,
        };
        Ok(self.common.ports.gates.run(wanted).await)
    }

    /// Contracts the schema for what is live, if that is this release; answered when it is recorded, and it goes on from there.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn contract(
        &self,
        service: &ServiceName,
        actor: &str,
        release: &ReleaseId,
    ) -> Result<(), RequestError> {
        self.known(service).await?;
        let (actor, release) = (actor.to_owned(), release.clone());
        self.request(service, Event::ContractRequested { actor, release }).await?;
        Ok(())
    }
}

fn by_hand(id: &DeploymentId) -> CommandId {
    let id: String = format!("smoke-{id}").chars().take(60).collect();
    CommandId::try_from(id).unwrap_or_else(|_| unreachable!("a fresh id is a short label"))
}
