//! Which releases a service can go back to: those that were live, were not taken back, can run on the schema, and are
//! still kept.
//!
//! That they were live is in the history; what they are is in the release store, which keeps with each release what it
//! was made of. Nothing else has to be remembered, and what retention removes is gone from here by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_core::release::Release;
use cutover_core::service::{Deployment, Event, ServiceState, Status};
use cutover_core::{DeploymentId, ReleaseId, ServiceName, Timestamp, Version};

use crate::manager::request::deployment_of;
use crate::manager::{DeploymentManager, RequestError};

/// Deployments that are looked through, newest first.
const DEPTH: usize = 1000;

/// A release that can be gone back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerRelease {
    /// Its identity.
    pub release: ReleaseId,
    /// Its name.
    pub version: Version,
    /// When it was made live last.
    pub live_at: Timestamp,
    /// Whether it runs, so that traffic only has to be switched.
    pub warm: bool,
    /// How long it would take; `None` if that is not known.
    pub takes: Option<Duration>,
}

impl DeploymentManager {
    /// The releases that a service can go back to, the one that was live last first.
    ///
    /// # Errors
    /// [`RequestError`] if the service is not known, or its history or a release cannot be read.
    pub async fn former_releases(&self, service: &ServiceName) -> Result<Vec<FormerRelease>, RequestError> {
        let found = self.former(service).await?;
        Ok(found.into_iter().map(|(former, _)| former).collect())
    }

    async fn former(&self, service: &ServiceName) -> Result<Vec<(FormerRelease, Release)>, RequestError> {
        let state = self.known(service).await?.borrow().state.clone();
        let history = self.common.journal.history(service, DEPTH).await?;
        let live = state.environments[state.live].release.as_ref().map(|release| &release.id);
        let mut seen: BTreeSet<&ReleaseId> = live.into_iter().collect();
        let mut all = Vec::new();
        for deployment in &history {
            let Some(live_at) = deployment.cutover_at else { continue };
            let is_newest = seen.insert(&deployment.release);
            // What was taken back last is not gone back to, even if it was good once before and whichever deployment
            // had brought it.
            seen.extend(deployment.undoes.as_ref().and_then(|undone| release_of(undone, &history)));
            if !is_newest || deployment.status != Status::Live {
                continue;
            }
            let Some(release) = self.kept(service, &deployment.release).await? else { continue };
            if state.unfit_for_the_schema(&release).is_some() {
                continue;
            }
            let (warm, takes) = self.takes(&state, deployment);
            let version = release.version.clone();
            all.push((FormerRelease { release: release.id.clone(), version, live_at, warm, takes }, release));
        }
        Ok(all)
    }

    async fn kept(&self, service: &ServiceName, id: &ReleaseId) -> Result<Option<Release>, RequestError> {
        let found = self.common.ports.releases.find(service, id).await;
        found.map_err(|reason| RequestError::CannotRun { reason, choices: Vec::new() })
    }

    /// Whether it is warm, and how long going back to it would take.
    fn takes(&self, state: &ServiceState, deployment: &Deployment) -> (bool, Option<Duration>) {
        let idle = &state.environments[state.idle()];
        let former = idle.release.as_ref().is_some_and(|release| release.id == deployment.release);
        let readiness = state.rollback_readiness(self.common.ports.clock.now());
        if former && readiness.ready && (readiness.warm || idle.start_took.is_some()) {
            return (readiness.warm, Some(Duration::from_secs_f64(readiness.seconds)));
        }
        (false, start_took(deployment))
    }

    /// Brings a release back that was live before; answers the deployment that does it.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn rollback_to(
        &self,
        service: &ServiceName,
        actor: &str,
        wanted: &ReleaseId,
    ) -> Result<DeploymentId, RequestError> {
        let former = self.former(service).await?;
        let found = former.into_iter().find(|(former, _)| former.release == *wanted);
        let Some((_, release)) = found else {
            return Err(RequestError::NotFormer { service: service.clone(), release: wanted.clone() });
        };
        self.check_route(service, &release.configuration).await?;
        self.look_before_the_leap(service).await?;
        // A rescue is not refused for want of room (I9): if it is short indeed, the start fails and says so.
        let (deployment, actor) = (Self::new_deployment_id(), actor.to_owned());
        let (id, release) = (deployment.clone(), Box::new(release));
        let after = self.request(service, Event::RollbackToRequested { deployment, actor, release }).await?;
        // In a bake it may be the taking back of what is open.
        Ok(deployment_of(&after).unwrap_or(id))
    }

    /// Drains, stops and un-routes a service; what was recorded of it stays. Answered when it is recorded; it goes on
    /// from there.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn remove(
        &self,
        service: &ServiceName,
        actor: &str,
        end_bake: bool,
    ) -> Result<(), RequestError> {
        self.known(service).await?;
        self.request(service, Event::RemoveRequested { actor: actor.to_owned(), end_bake }).await?;
        Ok(())
    }
}

fn release_of<'a>(id: &DeploymentId, history: &'a [Deployment]) -> Option<&'a ReleaseId> {
    history.iter().find(|deployment| deployment.id == *id).map(|deployment| &deployment.release)
}

/// From the asking for its instances to their health, as it was measured then.
fn start_took(deployment: &Deployment) -> Option<Duration> {
    let step = |name: &str| deployment.steps.iter().rev().find(|step| step.name == name);
    Some(step("healthy")?.ended_at?.since(step("provision")?.started_at))
}
