//! What a deployment would change and what would be in its way, found out without changing anything.

use cutover_core::Environment;
use cutover_core::release::{DeploymentSpec, Release};
use cutover_core::service::{Circumstances, Event, Refusal, ServiceState, step};

use crate::manager::{DeploymentManager, RequestError, SubmitOptions};
use crate::ports::{Rehearsal, Rehearsed};

/// A deployment as it would be.
pub struct Plan {
    /// The slot it would bring its release to.
    pub environment: Environment,
    /// What is live there before, if anything is.
    pub live: Option<(Environment, Release)>,
    /// What it would bring; its directory goes away with this.
    pub rehearsed: Rehearsed,
    /// Whether that is live already.
    pub is_live: bool,
    /// Each reason for which it would be refused now, in one sentence.
    pub obstacles: Vec<String>,
}

impl DeploymentManager {
    /// Finds out what [`submit`](Self::submit) would do now.
    ///
    /// # Errors
    /// If the release cannot be made, or nothing is known of the service.
    pub async fn plan(
        &self,
        spec: &DeploymentSpec,
        actor: &str,
        options: &SubmitOptions,
        rehearsal: &dyn Rehearsal,
    ) -> Result<Plan, RequestError> {
        let snapshots = self.watch(&spec.service).await;
        let known = snapshots.map(|snapshots| snapshots.borrow().state.clone());
        let state = known.unwrap_or_else(|| ServiceState::new(spec.service.clone()));
        let live = state.environments[state.live].release.clone();
        let rehearsed = rehearsal.rehearse(spec, live.as_ref()).await?;
        let mut obstacles = Vec::new();
        if let Err(error) = self.check_route(&spec.service, &spec.configuration).await {
            obstacles.push(error.to_string());
        }
        let asked = Event::DeployRequested {
            deployment: Self::new_deployment_id(),
            actor: actor.to_owned(),
            release: Box::new(rehearsed.release.clone()),
            rollout: spec.rollout.clone(),
            when_open: options.when_open,
            // A freeze is told apart from what else is in the way.
            circumstances: Box::new(Circumstances {
                override_freeze: Some("plan".to_owned()),
                ..Circumstances::default()
            }),
        };
        let mut is_live = false;
        match step(&state, &asked, self.clock().now()) {
            Err(Refusal::AlreadyLive { .. }) => is_live = true,
            Err(refusal) => obstacles.push(refusal.to_string()),
            Ok(_) => {}
        }
        if !is_live {
            if options.override_freeze.is_none() {
                obstacles.extend(self.may_begin(&spec.service, spec.windows.as_ref()).await?);
            }
            if !options.force
                && let Err(error) =
                    self.common.ports.executor.preflight(&spec.service, &rehearsed.release).await
            {
                obstacles.push(format!("this host cannot run it: {error}"));
            }
        }
        let environment = if is_live { state.live } else { state.idle() };
        let live = live.map(|release| (state.live, release));
        Ok(Plan { environment, live, rehearsed, is_live, obstacles })
    }
}
