//! What people ask for, and what they are told when it cannot be.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::release::{DeploymentSpec, Release, RolloutPolicy};
use cutover_core::service::freeze::may_deploy;
use cutover_core::service::{
    Circumstances, Deployment, DeploymentKind, Event, Health, Refusal, ServiceState, Status, Way, WayOut,
    WhenOpen,
};
use cutover_core::{DeploymentId, ReleaseId, ServiceName, Version};
use tokio::sync::{oneshot, watch};

use crate::manager::room::Asked;
use crate::manager::{DeploymentManager, RequestError};
use crate::service_loop::{Request, Snapshot, Unfulfilled, Wish};

/// How a deployment is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubmitOptions {
    /// The id that the deployment shall have, so that whoever lost the answer finds it by asking again, also when
    /// it has ended meanwhile.
    pub deployment: Option<DeploymentId>,
    /// What becomes of a deployment that is open already.
    pub when_open: WhenOpen,
    /// Go on although the host seems to have no room.
    pub force: bool,
    /// Deploy in spite of a freeze and outside of windows, for this reason.
    pub override_freeze: Option<String>,
}

/// What became of a wish to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// A deployment was opened.
    Opened {
        /// Its id.
        deployment: DeploymentId,
        /// What the user should know about the release.
        notes: Vec<String>,
    },
    /// The same release is being deployed: this is its deployment.
    Following {
        /// Its id.
        deployment: DeploymentId,
    },
    /// The same release is live; there is nothing to do.
    AlreadyLive {
        /// The version it is known by.
        version: Version,
        /// Its deployment, while its bake lasts.
        baking: Option<DeploymentId>,
    },
}

/// Whoever has lost an answer asks again before so many others have deployed.
const LATELY: usize = 50;
/// A warm release that does not answer its health check within this time is not switched to.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

impl DeploymentManager {
    /// Makes the release and opens its deployment.
    ///
    /// # Errors
    /// [`RequestError`], with traffic and instances untouched.
    pub async fn submit(
        &self,
        spec: &DeploymentSpec,
        actor: &str,
        options: SubmitOptions,
    ) -> Result<Submitted, RequestError> {
        self.check_route(&spec.service, &spec.configuration).await?;
        let asked_at = self.clock().now();
        let circumstances = Circumstances {
            override_freeze: options.override_freeze.clone(),
            window: self.window_verdict(spec.windows.as_ref())?,
            origin: spec.origin.clone(),
        };
        let notify = match &spec.notify {
            Some(notify) => Some(self.common.ports.notifier.resolve(notify).await?),
            None => None,
        };
        let release = self.common.ports.releases.prepare(spec).await?;
        let submitted = self.submit_release(spec, release, actor, &options, circumstances).await?;
        if let Err(error) = self.common.ports.notifier.keep(&spec.service, notify, asked_at).await {
            tracing::error!(service = %spec.service, %error, "who shall be told of it could not be kept");
        }
        self.common.changed.notify_one();
        Ok(submitted)
    }

    async fn submit_release(
        &self,
        spec: &DeploymentSpec,
        release: Release,
        actor: &str,
        options: &SubmitOptions,
        circumstances: Circumstances,
    ) -> Result<Submitted, RequestError> {
        let wished = options.deployment.as_ref();
        let taken = match wished {
            Some(wished) => self.release_of(&spec.service, wished).await?,
            None => None,
        };
        if let (Some(wished), Some(taken)) = (wished, &taken)
            && *taken == release.id
        {
            return Ok(Submitted::Following { deployment: wished.clone() });
        }
        // Prepared first: what was asked for is known by its content only.
        let before = self.watch(&spec.service).await.map(|snapshots| Arc::clone(&snapshots.borrow()));
        let state = before.as_ref().map(|snapshot| &snapshot.state);
        // What waits is followed, unless somebody does not want to wait any longer.
        let overtakes = matches!(options.when_open, WhenOpen::Supersede | WhenOpen::EndBake);
        let waits = |state: &&ServiceState| !state.queue.is_empty();
        let follows = state.filter(|state| !(overtakes && waits(state)));
        if let Some(open) = follows.and_then(|state| under_way(state, &release.id)) {
            match followed(open, &spec.rollout) {
                Err(_) if options.when_open == WhenOpen::Supersede => {}
                followed => return Ok(followed?),
            }
        }
        let live_already =
            state.is_some_and(|state| live_release(state) == Some(&release.id) && state.stopped.is_none());
        if !live_already {
            let inherited = self.inherited_freeze(state).await;
            let freeze = inherited.as_ref().or(state.and_then(|state| state.freeze.as_ref()));
            may_deploy(freeze, &circumstances, self.clock().now())?;
            if !options.force {
                self.room_for(&spec.service, &release, Asked::Deploy).await?;
            }
            // Recorded last: a service that is refused leaves nothing.
            if let Some(freeze) = inherited {
                self.request(&spec.service, Event::FreezeRequested { freeze }).await?;
            }
        }
        let notes = state.and_then(|state| same_version_other_content(state, &release)).into_iter().collect();
        // An id of another release is one that was drawn twice.
        let deployment = wished.filter(|_| taken.is_none()).cloned().unwrap_or_else(Self::new_deployment_id);
        let submitted = release.id.clone();
        let event = Event::DeployRequested {
            deployment: deployment.clone(),
            actor: actor.to_owned(),
            release: Box::new(release),
            rollout: spec.rollout.clone(),
            when_open: options.when_open,
            circumstances: Box::new(circumstances),
        };
        match self.request(&spec.service, event).await {
            Ok(_) => Ok(Submitted::Opened { deployment, notes }),
            // Somebody else was faster with the same.
            Err(error @ RequestError::Refused(Refusal::DeploymentOpen { .. })) => {
                let snapshots = self.watch(&spec.service).await;
                let snapshot = snapshots.map(|snapshots| Arc::clone(&snapshots.borrow()));
                match snapshot.as_ref().and_then(|snapshot| under_way(&snapshot.state, &submitted)) {
                    Some(open) => Ok(followed(open, &spec.rollout)?),
                    None => Err(error),
                }
            }
            Err(RequestError::Refused(Refusal::AlreadyLive { version, .. })) => {
                let baking = self.watch(&spec.service).await.and_then(|snapshots| {
                    let open = &snapshots.borrow().state.deployment;
                    open.as_ref().filter(|open| open.is_baking()).map(|open| open.id.clone())
                });
                Ok(Submitted::AlreadyLive { version, baking })
            }
            Err(error) => Err(error),
        }
    }

    /// The release of a deployment that is open, waits or was told of lately.
    async fn release_of(
        &self,
        service: &ServiceName,
        id: &DeploymentId,
    ) -> Result<Option<ReleaseId>, RequestError> {
        let Some(snapshots) = self.watch(service).await else { return Ok(None) };
        let ended = self.history(service, LATELY).await?;
        let snapshot = Arc::clone(&snapshots.borrow());
        let known = snapshot.state.deployment.iter().chain(&snapshot.state.queue).chain(&ended);
        Ok(known.into_iter().find(|known| known.id == *id).map(|known| known.release.clone()))
    }

    /// Brings the former release back; answers the deployment that does it.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn rollback(&self, service: &ServiceName, actor: &str) -> Result<DeploymentId, RequestError> {
        let fresh = Self::new_deployment_id();
        let event = Event::RollbackRequested { deployment: fresh.clone(), actor: actor.to_owned() };
        self.look_before_the_leap(service).await?;
        let after = self.request(service, event).await?;
        Ok(deployment_of(&after).unwrap_or(fresh))
    }

    /// Ends the open deployment with everything that waits behind it, or only what waits, or only the one that is
    /// named; answers which is or was open, or the named one.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn abort(
        &self,
        service: &ServiceName,
        actor: &str,
        only_queue: bool,
        deployment: Option<DeploymentId>,
    ) -> Result<DeploymentId, RequestError> {
        let snapshots = self.known(service).await?;
        let open = snapshots.borrow().state.deployment.as_ref().map(|open| open.id.clone());
        let takes_back = deployment.as_ref().is_none_or(|named| open.as_ref() == Some(named));
        if takes_back && !only_queue {
            self.look_before_the_leap(service).await?;
        }
        let event =
            Event::AbortRequested { actor: actor.to_owned(), only_queue, deployment: deployment.clone() };
        let after = self.request(service, event).await?;
        // A contraction of the schema is of what is live.
        let live = &after.state.environments[after.state.live];
        let about = deployment.or_else(|| deployment_of(&after)).or_else(|| live.deployed_by.clone());
        about.ok_or(RequestError::Refused(Refusal::NothingToAbort))
    }

    /// The ways out of what is stuck; none if nothing is.
    ///
    /// # Errors
    /// If there is no such service.
    pub async fn ways_out(&self, service: &ServiceName) -> Result<Vec<WayOut>, RequestError> {
        let snapshots = self.known(service).await?;
        let ways = snapshots.borrow().state.ways_out();
        Ok(ways)
    }

    /// Takes a way out of what is stuck; answers the deployment that was.
    ///
    /// # Errors
    /// [`RequestError`], with nothing changed.
    pub async fn resolve(
        &self,
        service: &ServiceName,
        actor: &str,
        way: Way,
    ) -> Result<DeploymentId, RequestError> {
        let snapshots = self.known(service).await?;
        // What comes after it from the queue is another matter.
        let stuck = snapshots.borrow().state.deployment.as_ref().map(|open| open.id.clone());
        let event = Event::ResolveRequested { actor: actor.to_owned(), way };
        self.request(service, event).await?;
        stuck.ok_or(RequestError::Refused(Refusal::NothingToResolve))
    }

    /// Asks the idle instances for their health once: what the watch said last may be seconds old, and traffic
    /// must not be moved to what is dead. What does not answer is brought back to health first.
    pub(super) async fn look_before_the_leap(&self, service: &ServiceName) -> Result<(), RequestError> {
        let snapshots = self.known(service).await?;
        let state = snapshots.borrow().state.clone();
        if state.deployment.as_ref().is_some_and(|open| !open.is_baking() && !open.kind.is_within_live()) {
            // Traffic has not moved, or is on its way back: what is idle is what is being taken back, and however
            // sick it is, that is no reason to refuse a rescue.
            return Ok(());
        }
        self.look_at_the_idle(service, &state).await
    }

    /// Asks the idle instances once, and has an answer that is bad taken in.
    pub(super) async fn look_at_the_idle(
        &self,
        service: &ServiceName,
        state: &ServiceState,
    ) -> Result<(), RequestError> {
        let idle = state.watched().into_iter().find(|watched| watched.environment == state.idle());
        let Some(idle) = idle else { return Ok(()) };
        let check = idle.release.configuration.health_check();
        for instance in idle.instances {
            let checked =
                tokio::time::timeout(LOOK_LIMIT, self.common.ports.check_health(instance, &check)).await;
            let reason = match checked {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {LOOK_LIMIT:?}"),
            };
            let health = Health::unhealthy(format!("instance `{}`: {reason}", instance.id));
            let instances = idle.instances.iter().map(|instance| instance.id.clone()).collect();
            let news = Event::HealthChanged { environment: idle.environment, instances, health };
            self.request_as(service, news, true).await?;
            break;
        }
        Ok(())
    }

    /// The service as it is and becomes.
    pub(super) async fn known(
        &self,
        service: &ServiceName,
    ) -> Result<watch::Receiver<Arc<Snapshot>>, RequestError> {
        self.watch(service).await.ok_or_else(|| RequestError::UnknownService(service.clone()))
    }

    pub(super) async fn request(
        &self,
        service: &ServiceName,
        event: Event,
    ) -> Result<Arc<Snapshot>, RequestError> {
        self.request_as(service, event, false).await
    }

    async fn request_as(
        &self,
        service: &ServiceName,
        event: Event,
        rescues: bool,
    ) -> Result<Arc<Snapshot>, RequestError> {
        let handle = self.handle(service).await?;
        let (reply, answer) = oneshot::channel();
        let gone = || match &handle.snapshots.borrow().journal_trouble {
            Some(reason) => RequestError::NoControl { service: service.clone(), reason: reason.clone() },
            None => RequestError::Ending,
        };
        let request = Box::new(Request { event, seen: None, rescues, reply });
        let sent = handle.wishes.send(Wish::Request(request)).await;
        sent.map_err(|_| gone())?;
        match answer.await.map_err(|_| gone())? {
            Ok(snapshot) => Ok(snapshot),
            Err(Unfulfilled::Refused(refusal)) => Err(refusal.into()),
            Err(Unfulfilled::Journal(error)) => Err(error.into()),
            Err(Unfulfilled::Overtaken) => unreachable!("a person's request is for the service as it is"),
        }
    }
}

/// The deployment that a request was about, in the state that it led to: the open one, or one that it ended.
pub(super) fn deployment_of(after: &Snapshot) -> Option<DeploymentId> {
    let open = after.state.deployment.as_ref().or(after.last_closed.as_ref());
    open.map(|deployment| deployment.id.clone())
}

fn live_release(state: &ServiceState) -> Option<&ReleaseId> {
    state.environments[state.live].release.as_ref().map(|release| &release.id)
}

/// The deployment that brings this release, if it is on its way forward or the last that waits for its turn.
fn under_way<'s>(state: &'s ServiceState, release: &ReleaseId) -> Option<&'s Deployment> {
    if let Some(last) = state.queue.last() {
        return Some(last).filter(|last| last.release == *release);
    }
    let open = state.deployment.as_ref()?;
    let forward = matches!(
        open.status,
        Status::NotStarted | Status::Deploying | Status::Migrating | Status::Validating | Status::Shifting
    );
    Some(open).filter(|open| forward && open.kind == DeploymentKind::Deploy && open.release == *release)
}

/// The deployment that brings what was asked for, unless it goes on where that was to wait.
fn followed(open: &Deployment, rollout: &RolloutPolicy) -> Result<Submitted, Refusal> {
    let id = open.id.clone();
    match rollout.missing_in(&open.rollout) {
        Some(what) => Err(Refusal::OtherTerms { id, what, queued: open.incoming.is_some() }),
        None => Ok(Submitted::Following { deployment: id }),
    }
}

fn same_version_other_content(state: &ServiceState, release: &Release) -> Option<String> {
    let known = state.environments.iter().filter_map(|(_, slot)| slot.release.as_ref());
    let changed =
        known.into_iter().find(|known| known.version == release.version && known.id != release.id)?;
    let changed = &changed.version;
    Some(format!(
        "`{changed}` has other content than the `{changed}` that was deployed before: it is a new release"
    ))
}
