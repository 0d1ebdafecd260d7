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

impl DeploymentManager {
    /// Freezes a service, or every one; answers which, and the freeze. A freeze that held before is replaced.
    ///
    /// # Errors
    /// [`RequestError`]; of several services those that come before the one at fault are frozen.
    pub async fn freeze(
        &self,
        service: Option<&ServiceName>,
        actor: &str,
        until: Until,
        reason: &str,
    ) -> Result<(Vec<ServiceName>, Freeze), RequestError> {
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
        for service in &services {
            self.request(service, Event::FreezeRequested { freeze: freeze.clone() }).await?;
        }
        Ok((services, freeze))
    }

    /// Ends the freeze of a service, or of every one that is frozen; answers which.
    ///
    /// # Errors
    /// [`RequestError`], also if the service that was named is not frozen.
    pub async fn unfreeze(
        &self,
        service: Option<&ServiceName>,
        actor: &str,
    ) -> Result<Vec<ServiceName>, RequestError> {
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
        for service in &services {
            self.request(service, Event::UnfreezeRequested { actor: actor.to_owned() }).await?;
        }
        Ok(services)
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
