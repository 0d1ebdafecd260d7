//! Freezes: said of one service or of all, taken back, and inherited by a service that is made meanwhile.

use std::time::Duration;

use cutover_core::service::{Circumstances, Event, Freeze, ServiceState, WindowVerdict};
use cutover_core::windows::Windows;
use cutover_core::{ServiceName, Timestamp};

use crate::manager::{DeploymentManager, RequestError};
use crate::ports::PrepareError;
use crate::windows;

/// Until when nothing shall be deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A moment.
    At(Timestamp),
    /// So long from now, by the controller's clock.
    For(Duration),
}

/// Whom a word about freezes has reached.
#[derive(Debug)]
pub struct Told {
    /// These are frozen now, or frozen no more.
    pub services: Vec<ServiceName>,
    /// These could not be told, and why: they are as they were.
    pub missed: Vec<(ServiceName, RequestError)>,
}

impl DeploymentManager {
    /// Freezes a service, or every one; answers which, and the freeze. A freeze that held before is replaced. Of
    /// several, one that cannot be controlled keeps nobody else from being frozen.
    ///
    /// # Errors
    /// [`RequestError`], with none of them frozen.
    pub async fn freeze(
        &self,
        service: Option<&ServiceName>,
        actor: &str,
        until: Until,
        reason: &str,
    ) -> Result<(Told, Freeze), RequestError> {
        let now = self.clock().now();
        let until = match until {
            Until::At(at) => at,
            Until::For(time) => now + time,
        };
        if until <= now {
            return Err(RequestError::FreezeIsOver { until, now });
        }
        let services = match service {
            Some(service) => {
                self.watch(service).await.ok_or_else(|| RequestError::UnknownService(service.clone()))?;
                vec![service.clone()]
            }
            None => self.names().await,
        };
        if services.is_empty() {
            return Err(RequestError::NothingToFreeze);
        }
        let (by, reason) = (actor.to_owned(), reason.to_owned());
        let freeze = Freeze { by, at: now, until, reason, all: service.is_none() };
        let told = self.tell_each(services, &Event::FreezeRequested { freeze: freeze.clone() }).await?;
        Ok((told, freeze))
    }

    /// Ends the freeze of a service, or of every one that is frozen; answers which. Of several, one that cannot be
    /// controlled keeps nobody else frozen.
    ///
    /// # Errors
    /// [`RequestError`], with none of them freed; also if the service that was named is not frozen.
    pub async fn unfreeze(&self, service: Option<&ServiceName>, actor: &str) -> Result<Told, RequestError> {
        let now = self.clock().now();
        let services = match service {
            Some(service) => {
                self.watch(service).await.ok_or_else(|| RequestError::UnknownService(service.clone()))?;
                vec![service.clone()]
            }
            None => {
                let frozen = |state: &ServiceState| state.frozen(now).map(|_| state.name.clone());
                self.services().await.iter().filter_map(|snapshot| frozen(&snapshot.state)).collect()
            }
        };
        self.tell_each(services, &Event::UnfreezeRequested { actor: actor.to_owned() }).await
    }

    /// Asks the same of each, whatever becomes of the others; an error is that of the first, if none has granted it.
    async fn tell_each(&self, services: Vec<ServiceName>, event: &Event) -> Result<Told, RequestError> {
        let mut told = Told { services: Vec::new(), missed: Vec::new() };
        for service in services {
            match self.request(&service, event.clone()).await {
                Ok(_) => told.services.push(service),
                Err(error) => told.missed.push((service, error)),
            }
        }
        if told.services.is_empty() && !told.missed.is_empty() {
            return Err(told.missed.swap_remove(0).1);
        }
        Ok(told)
    }

    async fn names(&self) -> Vec<ServiceName> {
        self.services().await.iter().map(|snapshot| snapshot.state.name.clone()).collect()
    }

    /// The freeze of every service that one takes over which never had a release or a freeze of its own.
    pub(super) async fn inherited_freeze(&self, state: Option<&ServiceState>) -> Option<Freeze> {
        let is_new = |state: &ServiceState| {
            let empty = state.environments.iter().all(|(_, slot)| slot.release.is_none());
            empty && state.deployment.is_none() && state.freeze.is_none()
        };
        if !state.is_none_or(is_new) {
            return None;
        }
        let now = self.clock().now();
        let services = self.services().await;
        let of_all = services.iter().filter_map(|snapshot| snapshot.state.frozen(now));
        of_all.filter(|freeze| freeze.all).max_by_key(|freeze| freeze.at).cloned()
    }

    /// What the windows of a release say now.
    pub(super) fn window_verdict(&self, windows: Option<&Windows>) -> Result<WindowVerdict, RequestError> {
        let Some(windows) = windows else { return Ok(WindowVerdict::default()) };
        let verdict = windows::verdict(windows, self.clock().now());
        verdict.map_err(|error| {
            RequestError::Prepare(PrepareError::Wrong { reason: error.to_string(), hint: None })
        })
    }

    /// Whether a deployment of that service could begin now, for whoever only plans one: the reason why not, if
    /// it could not.
    ///
    /// # Errors
    /// If the windows mean nothing.
    pub async fn may_begin(
        &self,
        service: &ServiceName,
        windows: Option<&Windows>,
    ) -> Result<Option<String>, RequestError> {
        let snapshot = self.watch(service).await.map(|snapshots| snapshots.borrow().clone());
        let state = snapshot.as_ref().map(|snapshot| &snapshot.state);
        let own = state.and_then(|state| state.freeze.clone());
        let freeze = own.or(self.inherited_freeze(state).await);
        let window = self.window_verdict(windows)?;
        let circumstances = Circumstances { window, ..Circumstances::default() };
        let may =
            cutover_core::service::freeze::may_deploy(freeze.as_ref(), &circumstances, self.clock().now());
        Ok(may.err().map(|refusal| refusal.to_string()))
    }
}
