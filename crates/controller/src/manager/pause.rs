//! Holds and maintenance: requests that wait, or are sent away, on a person's word.

use std::time::Duration;

use cutover_core::ServiceName;
use cutover_core::routing::{Hold, Maintenance, Pause};
use cutover_core::service::{Effect, Event, Paused, Refusal, ServiceState};

use crate::manager::{DeploymentManager, RequestError};

/// How long the router is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is wanted of the requests of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// They wait for so long at most.
    Hold {
        /// From now.
        time: Duration,
        /// Requests that wait at most.
        requests: u32,
        /// Bytes that those keep at most.
        bytes: u64,
    },
    /// They do not wait any more.
    Unhold,
    /// They are sent away.
    Maintenance(Maintenance),
    /// They are not sent away any more.
    EndMaintenance,
}

/// What was, and what holds instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseChange {
    /// What held when it was asked for.
    pub before: Option<Paused>,
    /// What holds now.
    pub now: Option<Paused>,
}

impl DeploymentManager {
    /// Has requests wait, be sent away, or go their way again; answered when the router does so.
    ///
    /// # Errors
    /// [`RequestError`]; if it was recorded and is not in force yet, that says so.
    pub async fn pause(
        &self,
        service: &ServiceName,
        actor: &str,
        wanted: Wanted,
    ) -> Result<PauseChange, RequestError> {
        let mut snapshots = self.known(service).await?;
        let present = snapshots.borrow().state.pause.clone();
        let is_hold = present.as_ref().map(|paused| matches!(paused.pause, Pause::Hold(_)));
        if let Some(id) = present.as_ref().and_then(|paused| paused.deployment.clone()) {
            return Err(Refusal::HoldIsTaken { id }.into());
        }
        let pause = match wanted {
            Wanted::Hold { time, requests, bytes } => {
                Some(Pause::Hold(Hold { until: self.clock().now() + time, requests, bytes }))
            }
            Wanted::Maintenance(maintenance) => Some(Pause::Maintenance(maintenance)),
            Wanted::Unhold if is_hold == Some(true) => None,
            Wanted::EndMaintenance if is_hold == Some(false) => None,
            Wanted::Unhold if is_hold == Some(false) => return Err(Refusal::InMaintenance.into()),
            Wanted::EndMaintenance if is_hold == Some(true) => return Err(Refusal::IsHeld.into()),
            Wanted::Unhold | Wanted::EndMaintenance => return Err(Refusal::NotPaused.into()),
        };
        let actor = actor.to_owned();
        self.request(service, Event::PauseRequested { actor, pause: pause.clone() }).await?;
        let answered = snapshots.wait_for(|snapshot| !publishes(&snapshot.state));
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(snapshot)) if snapshot.state.republish_at.is_none() => {
                Ok(PauseChange { before: present, now: snapshot.state.pause.clone() })
            }
            _ => Err(RequestError::NotInForce { service: service.clone() }),
        }
    }
}

fn publishes(state: &ServiceState) -> bool {
    state.pending.iter().any(|pending| matches!(pending.effect, Effect::Shift { .. }))
}
