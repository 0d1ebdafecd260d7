//! After the host was started anew: live first, then the listeners accept, then what is warm.
//!
//! A proxy that accepted clients before anything runs would answer them with errors; one that holds its listeners
//! has them refused, which balancers and clients understand. The order among instances is core's business.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cutover_controller::ports::DeploymentExecutor;
use cutover_controller::{DeploymentManager, Journal, JournalError, Snapshot};
use cutover_core::ServiceName;
use cutover_core::service::{Effect, Health};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// How much longer the last live release that is not healthy keeps clients from all others. Most programs that get
/// healthy at all do so in this time; of one that does not, no other service shall suffer for long.
const LAST_ONE: Duration = Duration::from_secs(10);

/// What has to run before clients are accepted: the live release of every service.
#[derive(Default)]
pub(super) struct Restoration {
    live: Vec<Live>,
    /// Whether something runs that may serve clients now.
    serves: bool,
}

struct Live {
    service: ServiceName,
    /// Whether any of it runs.
    runs: bool,
    /// Its last record: of what does not run, that one says what was true before the host went down.
    recorded: u64,
}

impl Restoration {
    /// Compares what was live with what runs, before anything is started.
    ///
    /// # Errors
    /// If the journal cannot be read. One service that cannot be read is no error: it is left as it is.
    pub(super) async fn needed(
        journal: &dyn Journal,
        executor: &dyn DeploymentExecutor,
    ) -> Result<Self, JournalError> {
        // Whoever starts next is told the same, and says so.
        let Ok(running) = executor.observe().await else { return Ok(Self::default()) };
        let ids: HashSet<_> = running.iter().map(|running| &running.instance.id).collect();
        let mut needed = Self::default();
        for service in journal.services().await? {
            let latest = match journal.latest(&service).await {
                Ok(Some(latest)) => latest,
                Ok(None) => continue,
                // What is live of it is not known; any of it may be.
                Err(JournalError::Unreadable { .. }) => {
                    needed.serves |= running.iter().any(|running| running.service == service);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let live = &latest.state.environments[latest.state.live];
            // What somebody stopped is not waited for.
            if !live.instances.is_empty() {
                // One that runs has clients served; the proxy passes over the others.
                let runs = live.instances.iter().any(|instance| ids.contains(&instance.id));
                needed.serves |= runs;
                needed.live.push(Live { service, runs, recorded: latest.sequence });
            }
        }
        Ok(needed)
    }

    /// Whether nothing at all could answer clients, as it is after the host was started anew. Where a single service
    /// serves, its clients are not refused for the sake of the others.
    pub(super) fn is_needed(&self) -> bool {
        !self.live.is_empty() && !self.serves
    }

    /// Waits until the live release of each is healthy again, or is known not to become so. For the last one the
    /// others wait a while only.
    pub(super) async fn wait(&self, manager: &DeploymentManager) {
        let mut waiting: FuturesUnordered<_> = self.live.iter().map(|live| live.restored(manager)).collect();
        let mut left: Vec<_> = self.live.iter().map(|live| &live.service).collect();
        let mut others_wait = false;
        loop {
            let limit = if others_wait && left.len() == 1 { LAST_ONE } else { Duration::MAX };
            match tokio::time::timeout(limit, waiting.next()).await {
                Ok(Some((service, healthy))) => {
                    others_wait |= healthy;
                    left.retain(|left| *left != service);
                }
                Ok(None) => return,
                Err(_) => {
                    tracing::warn!(service = ?left, limit = ?LAST_ONE, "the live release does not get healthy, and the others wait no longer");
                    return;
                }
            }
        }
    }
}

impl Live {
    /// Waits until it is healthy again, which is answered by `true`, or is known not to become so.
    async fn restored(&self, manager: &DeploymentManager) -> (&ServiceName, bool) {
        let service = &self.service;
        let Some(mut snapshots) = manager.watch(service).await else { return (service, false) };
        let over = |snapshot: &Arc<Snapshot>| self.outcome(snapshot).is_some();
        // A loop that has ended restores nothing any more.
        let Ok(snapshot) = snapshots.wait_for(over).await else { return (service, false) };
        if let Some(Err(reason)) = self.outcome(&snapshot) {
            tracing::warn!(%service, reason, "the live release was not restored, its clients get errors");
            return (service, false);
        }
        tracing::info!(%service, "the live release runs again");
        (service, true)
    }

    /// Whether it is there again, and routed to; `None` while that is under way.
    fn outcome(&self, snapshot: &Snapshot) -> Option<Result<(), String>> {
        if let Some(trouble) = &snapshot.journal_trouble {
            return Some(Err(trouble.clone()));
        }
        let state = &snapshot.state;
        let under_way = |effect: &Effect| match effect {
            Effect::Provision { environment, .. } => *environment == state.live,
            // Instances that are somewhere else now have to be routed to before anybody is accepted.
            Effect::Shift { .. } => true,
            Effect::AwaitHealthy { .. }
            | Effect::Drain { .. }
            | Effect::Retire { .. }
            | Effect::StartWorkers { .. }
            | Effect::StopWorkers { .. }
            | Effect::Unroute { .. }
            | Effect::RunGate { .. }
            | Effect::Prioritise { .. } => false,
        };
        let busy = state.pending.iter().any(|pending| under_way(&pending.effect));
        let is_old_news = !self.runs && snapshot.sequence <= self.recorded;
        if is_old_news || busy || state.republish_at.is_some() {
            return None;
        }
        let live = &state.environments[state.live];
        match (&live.trouble, &live.health) {
            (Some(trouble), _) => Some(Err(trouble.clone())),
            (None, Health::Healthy) => Some(Ok(())),
            (None, Health::Unknown | Health::Unhealthy { .. }) => None,
        }
    }
}
