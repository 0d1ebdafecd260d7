//! What a controller finds when it looks at every port.

use std::time::Duration;

use cutover_core::service::{Event, ServiceState};
use cutover_core::{InstanceId, ReleaseId};
use tokio::time::timeout;

use crate::manager::tidy::InUse;
use crate::ports::{PortError, Ports, Routed, Running};

/// A port that does not say by then what is there is not waited for any longer.
const LIMIT: Duration = Duration::from_secs(15);

/// Between two questions to a router that does not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// What is really there, of all services.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) running: Vec<Running>,
    /// `None` if the router could not be asked.
    pub(super) routed: Option<Vec<Routed>>,
    /// `None` if nobody has looked.
    pub(super) releases: Option<Vec<ReleaseId>>,
}

impl Found {
    /// Looks at everything before the first decision.
    ///
    /// # Errors
    /// If what runs cannot be found out: nothing may be guessed about that. Of routes of which nothing is known
    /// nothing is concluded before the next look, and releases of which nothing is known count as whole.
    pub(super) async fn at_start(ports: &Ports) -> Result<Self, PortError> {
        let running = limited("what runs", ports.executor.observe()).await?;
        let routed = limited("what is routed", async {
            loop {
                match ports.router.observe().await {
                    Ok(routed) => return Ok(routed),
                    Err(error) => tracing::debug!(%error, "the router is asked again"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let routed =
            routed.await.inspect_err(|error| tracing::warn!(%error, "the router cannot be observed"));
        let routed = routed.ok();
        let releases = limited("which releases are whole", ports.releases.observe()).await;
        let releases =
            releases.inspect_err(|error| tracing::warn!(%error, "the release store cannot be observed")).ok();
        Ok(Self { running, routed, releases })
    }

    /// Looks at what may have changed by itself.
    ///
    /// # Errors
    /// If it cannot be found out: then nothing is to be decided by it.
    pub(super) async fn meanwhile(ports: &Ports) -> Result<Self, PortError> {
        let running = limited("what runs", ports.executor.observe()).await?;
        let routed = limited("what is routed", async {
            ports.router.observe().await.map_err(|error| PortError::new(error.to_string()))
        });
        Ok(Self { running, routed: Some(routed.await?), releases: None })
    }

    /// What it means for one service. Of the releases only those that the service refers to: it is recorded, and a
    /// start with many services would record all of them for each.
    pub(super) fn event(&self, term: u32, state: &ServiceState) -> Event {
        let service = &state.name;
        let route = self.routed.iter().flatten().find(|routed| routed.service == *service);
        let running = self.running.iter().filter(|running| running.service == *service);
        let running: Vec<InstanceId> = running.map(|running| running.instance.id.clone()).collect();
        let route = route.map(|routed| routed.route.clone());
        let in_use = state.releases_in_use();
        let releases = self
            .releases
            .as_ref()
            .map(|present| present.iter().filter(|present| in_use.contains(present)).cloned().collect());
        let blind = self.routed.is_none();
        Event::ControllerStarted { term, route, blind, running, releases }
    }
}

async fn limited<T>(what: &str, look: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
    let late = |_| PortError::new(format!("{what} was not told within {} s", LIMIT.as_secs()));
    timeout(LIMIT, look).await.map_err(late)?
}
