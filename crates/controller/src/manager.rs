//! Takes requests, knows every service, and starts their loops from what was recorded.

mod claims;
mod command;
mod error;
mod found;
mod freeze;
mod gates;
mod moves;
mod news;
mod pause;
mod plan;
mod promote;
mod request;
mod room;
mod tidy;
mod way_back;

pub use error::RequestError;
pub use freeze::{Told, Until};
pub use moves::MoveOptions;
pub use pause::{PauseChange, Wanted as WantedPause};
pub use plan::Plan;
pub use request::{SubmitOptions, Submitted};
pub use tidy::{Keep, Tidied};
pub use way_back::FormerRelease;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cutover_core::service::{Deployment, Effect, EffectId, PendingEffect, ServiceState};
use cutover_core::{DeploymentId, InstanceId, ServiceName};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::journal::{Journal, JournalError};
use crate::manager::found::Found;
use crate::ports::{PortError, Ports};
use crate::service_loop::{self, Common, Request, ServiceHandle, Snapshot, Wish};

/// How often it is tried to look again at what is really there.
const LOOKS: usize = 20;
/// Between two such tries.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Drives the deployments of every service.
pub struct DeploymentManager {
    common: Common,
    term: u32,
    /// Held while a service is added, so that two requests for a new one make one loop.
    services: Mutex<HashMap<ServiceName, ServiceHandle>>,
    /// Set for good when everything is being ended: no loop is started any more.
    ending: AtomicBool,
    deposed: watch::Receiver<Option<String>>,
}

/// Why a controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The router has a service that the journal does not know.
    #[error(
        "the router has service `{0}`, of which the journal knows nothing: it is not the journal of this state directory, or it was lost; restore it (`cutover journal import` reads an export)"
    )]
    Unknown(ServiceName),
    /// What runs could not be found out, and nothing may be guessed.
    #[error("cannot find out which instances run: {0}")]
    Executor(PortError),
}

impl DeploymentManager {
    /// Begins a term, looks at what is really there, and goes on with what was recorded.
    ///
    /// # Errors
    /// [`StartError`]; nothing was changed outside then.
    pub async fn start(ports: Ports, journal: Arc<dyn Journal>) -> Result<Self, StartError> {
        let term = journal.begin_term().await?;
        let found = Found::at_start(&ports).await.map_err(StartError::Executor)?;
        let names = journal.services().await?;
        if let Some(unknown) = found.routed.iter().flatten().find(|routed| !names.contains(&routed.service)) {
            return Err(StartError::Unknown(unknown.service.clone()));
        }
        let (deposing, deposed) = watch::channel(None);
        let common = Common { ports, journal, deposing, changed: Arc::default() };
        // Every state is read before the first loop appends: else each append would be committed alone, between two
        // readings, instead of together with the others.
        let mut recorded = Vec::new();
        for name in names {
            match common.journal.latest(&name).await {
                Err(error) if !matches!(error, JournalError::Unreadable { .. }) => return Err(error.into()),
                latest => recorded.push((name, latest)),
            }
        }
        let mut services = HashMap::new();
        for (name, latest) in recorded {
            let handle = match latest {
                Ok(Some(latest)) => {
                    let first = found.event(term, &latest.state);
                    service_loop::start(common.clone(), latest.sequence, latest.state, first)
                }
                Ok(None) => continue,
                // One service that cannot be read leaves the others under control.
                Err(error @ JournalError::Unreadable { sequence, .. }) => {
                    tracing::error!(service = %name, %error, "the service is left as it is");
                    service_loop::without_control(name.clone(), sequence, error.to_string())
                }
                Err(error) => return Err(error.into()),
            };
            services.insert(name, handle);
        }
        let running = found.running.len();
        tracing::info!(term, services = services.len(), instances = running, "controller started");
        let services = Mutex::new(services);
        Ok(Self { common, term, services, ending: AtomicBool::new(false), deposed })
    }

    /// Completes when another controller has taken over, with the reason: this one does nothing any more.
    pub async fn deposed(&self) -> String {
        let mut deposed = self.deposed.clone();
        let told = deposed.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match told {
            Ok(reason) => reason.unwrap_or_default(),
            // The sender lives as long as this.
            Err(_) => std::future::pending().await,
        }
    }

    /// The time by which everything is decided.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.common.ports.clock.as_ref()
    }

    /// Every service as it is, by name.
    pub async fn services(&self) -> Vec<Arc<Snapshot>> {
        let services = self.services.lock().await;
        let mut all: Vec<_> =
            services.values().map(|handle| Arc::clone(&handle.snapshots.borrow())).collect();
        all.sort_by(|a, b| a.state.name.cmp(&b.state.name));
        all
    }

    /// One service as it is and becomes; `None` if it never had a deployment.
    pub async fn watch(&self, service: &ServiceName) -> Option<watch::Receiver<Arc<Snapshot>>> {
        self.services.lock().await.get(service).map(|handle| handle.snapshots.clone())
    }

    /// The deployments of a service, newest first.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn history(
        &self,
        service: &ServiceName,
        limit: usize,
    ) -> Result<Vec<Deployment>, JournalError> {
        self.common.journal.history(service, limit).await
    }

    /// Looks again at what is really there and has every service put right: after the router was started anew.
    /// What cannot be observed or recorded now is tried again for a while.
    pub async fn look_again(&self) {
        let mut left: Vec<ServiceHandle> = self.services.lock().await.values().cloned().collect();
        left.sort_by(|a, b| a.snapshots.borrow().state.name.cmp(&b.snapshots.borrow().state.name));
        for _ in 0..LOOKS {
            left = self.look_at(left).await;
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        tracing::warn!(
            services = left.len(),
            "what runs and what is routed cannot be compared with what should be"
        );
    }

    /// Tells services what is really there; answers those that could not take it in.
    async fn look_at(&self, services: Vec<ServiceHandle>) -> Vec<ServiceHandle> {
        // What is observed is true of the service as it was before: of what it does meanwhile it says nothing.
        let before: Vec<u64> = services.iter().map(|handle| handle.snapshots.borrow().sequence).collect();
        let Ok(found) = Found::meanwhile(&self.common.ports).await else { return services };
        let mut left = Vec::new();
        for (handle, seen) in services.into_iter().zip(before) {
            let event = found.event(self.term, &handle.snapshots.borrow().state);
            let (reply, answer) = oneshot::channel();
            // A loop that has ended has nothing to put right.
            let request = Request { event, seen: Some(seen), rescues: false, reply };
            let request = Wish::Request(Box::new(request));
            let Ok(()) = handle.wishes.send(request).await else { continue };
            if let Ok(Err(_)) = answer.await {
                left.push(handle);
            }
        }
        left
    }

    /// Looks at the services that nothing is asked for: an instance that is gone is started again, a supervisor that
    /// died is replaced. What is under way has its own eyes.
    pub async fn look_at_what_rests(&self) {
        if let Err(reason) = self.common.ports.mandate.holds() {
            self.common.deposing.send_replace(Some(reason));
            return;
        }
        let services = self.services.lock().await;
        // A worker may take long to finish what it does; the rest is looked after meanwhile.
        let leaves = |pending: &PendingEffect| matches!(pending.effect, Effect::StopWorkers { .. });
        let rests = |handle: &&ServiceHandle| handle.snapshots.borrow().state.pending.iter().all(leaves);
        let resting: Vec<ServiceHandle> = services.values().filter(rests).cloned().collect();
        drop(services);
        // Who could not take it in now is looked at again next time.
        let _ = self.look_at(resting).await;
    }

    /// Stops every instance that runs, live ones too: for a person who takes the whole thing down. The record is
    /// not changed, so the next start brings back what was there. Requests are answered with
    /// [`RequestError::Ending`] from now on.
    ///
    /// # Errors
    /// If one cannot be stopped; the others are.
    pub async fn stop_everything(&self) -> Result<usize, PortError> {
        self.ending.store(true, Ordering::SeqCst);
        // Without their loops nobody starts again what is stopped here, and what they had started is known.
        let loops: Vec<_> = self.services.lock().await.drain().collect();
        for (_, handle) in &loops {
            let _ = handle.wishes.send(Wish::End).await;
        }
        for (_, handle) in &loops {
            handle.wishes.closed().await;
        }
        let running = self.common.ports.executor.observe().await?;
        let mut by_service: BTreeMap<ServiceName, Vec<InstanceId>> = BTreeMap::new();
        for running in &running {
            by_service.entry(running.service.clone()).or_default().push(running.instance.id.clone());
        }
        let mut stops = JoinSet::new();
        for (service, instances) in by_service {
            let executor = Arc::clone(&self.common.ports.executor);
            stops.spawn(async move { executor.stop(&EffectId { service, sequence: 0 }, &instances).await });
        }
        let results = stops.join_all().await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(running.len())
    }

    /// The handle of a service, whose loop is started if there is none.
    async fn handle(&self, service: &ServiceName) -> Result<ServiceHandle, RequestError> {
        let mut services = self.services.lock().await;
        if self.ending.load(Ordering::SeqCst) {
            return Err(RequestError::Ending);
        }
        if let Some(handle) = services.get(service) {
            return Ok(handle.clone());
        }
        let state = ServiceState::new(service.clone());
        let first = Found { routed: Some(Vec::new()), ..Found::default() }.event(self.term, &state);
        let handle = service_loop::start(self.common.clone(), 0, state, first);
        services.insert(service.clone(), handle.clone());
        Ok(handle)
    }

    /// An id that no deployment is likely to have: 30 random bits.
    #[must_use]
    pub fn new_deployment_id() -> DeploymentId {
        // 30 random bits in Crockford's letters: short enough to be said aloud.
        const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let random = RandomState::new().hash_one(0);
        let text: String = (0..6).map(|n| char::from(LETTERS[(random >> (n * 5) & 31) as usize])).collect();
        DeploymentId::try_from(text).unwrap_or_else(|_| unreachable!("letters and digits are valid"))
    }
}
