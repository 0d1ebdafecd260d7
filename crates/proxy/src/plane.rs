//! The table's one writer: what the admin socket, the seed and the probes share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cutover_core::drain::Clients::Reconnect;
use cutover_core::drain::Departure;
use cutover_core::receipt::{Receipt, ShiftReport};
use cutover_core::routing::table::ServiceEntry;
use cutover_core::routing::{
    Change, Clients, Listen, Publication, Refused, Renewal, TableCell, TableDocument,
};
use cutover_core::statistics::{InstanceReport, ServiceReport, Statistics};
use cutover_core::{Environment, InstanceId, ServiceName, Timestamp};
use tokio::sync::{Notify, watch};

use crate::cell::Cell;
use crate::clock;
use crate::leaving::drains::Drains;
use crate::saved::{Candidate, SavedTable};
use crate::tls::Tls;

/// What tables may hold: see [`Statistics::table_format`].
const TABLE_FORMAT: u32 = 1;

/// The data plane as its administrators see it.
pub(crate) struct Plane {
    pub(crate) cell: Cell,
    writer: Mutex<Writer>,
    listen: Listen,
    clients: Clients,
    /// TLS towards clients.
    pub(crate) tls: Arc<Tls>,
    /// The fingerprint of the key of previews.
    preview_key: Option<String>,
    /// Told after each change, for whoever follows the table.
    pub(crate) changed: Arc<Notify>,
    /// Instances that those who last have to leave.
    pub(crate) drains: Arc<Drains>,
    /// Somebody said that clients may come.
    clients_may_come: Notify,
    /// Whether they are accepted.
    listening: watch::Sender<bool>,
}

struct Writer {
    publication: Publication<Cell>,
    saved: SavedTable,
}

impl Plane {
    /// A plane that publishes the first candidate that does not contradict itself; the last one has to be right.
    pub(crate) fn new(
        boot_id: String,
        listen: Listen,
        clients: Clients,
        tls: Tls,
        preview_key: Option<String>,
        candidates: Vec<Candidate>,
        saved: SavedTable,
    ) -> Result<Arc<Self>, Refused> {
        let cell = Cell::default();
        let publication = Publication::new(cell.clone(), boot_id);
        let writer = Mutex::new(Writer { publication, saved });
        let plane = Arc::new(Self {
            cell,
            writer,
            listen,
            clients,
            tls: Arc::new(tls),
            preview_key,
            changed: Arc::default(),
            drains: Arc::default(),
            clients_may_come: Notify::new(),
            listening: watch::Sender::new(false),
        });
        let mut refusal = None;
        for Candidate { services, removed } in candidates {
            plane.writer().publication.take_over(removed);
            match plane.change(Change::Replace(services)) {
                Ok(_) => return Ok(plane),
                Err(refused) => {
                    tracing::warn!(%refused, "a table cannot be routed by");
                    refusal = Some(refused);
                }
            }
        }
        refusal.map_or(Ok(plane), Err)
    }

    /// Where clients are accepted.
    pub(crate) fn listen(&self) -> &Listen {
        &self.listen
    }

    /// What clients are held to.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Waits until somebody says that clients may come, or `limit` is over: never longer, whoever has died.
    pub(crate) async fn hold_clients(&self, limit: Duration) {
        tracing::info!(?limit, "clients are refused until somebody says that they may come");
        tokio::select! {
            () = self.clients_may_come.notified() => tracing::info!("clients are accepted: somebody said so"),
            () = tokio::time::sleep(limit) => {
                tracing::warn!(?limit, "clients are accepted: nobody said so in time");
            }
        }
    }

    /// Ends a hold, now or whenever one begins, and waits for the listeners.
    pub(crate) async fn accept_clients(&self) {
        self.clients_may_come.notify_one();
        // The sender is in `self`, so it cannot be gone.
        let _ = self.listening.subscribe().wait_for(|listening| *listening).await;
    }

    /// Notes that the listeners accept.
    pub(crate) fn note_listening(&self) {
        self.listening.send_replace(true);
    }

    /// Makes a change: on disk first, then in force, then answered.
    ///
    /// A disk that refuses does not refuse the change (I9): the answer is the same, and a restart would begin
    /// from the generation before.
    pub(crate) fn change(&self, change: Change) -> Result<Vec<Receipt>, Refused> {
        // Before anybody waits for the lock: files are read for it.
        if let Change::Put(routes) | Change::Replace(routes) = &change {
            self.tls.take_up(routes);
        }
        let mut writer = self.writer();
        let prepared = writer.publication.prepare(change)?;
        if prepared.changes_anything()
            && let Err(error) = writer.saved.write(prepared.services(), &prepared.removed())
        {
            tracing::error!(%error, "the table could not be saved; a restart would begin from an older one");
        }
        let receipts = writer.publication.commit(prepared, now(), clock::now_us);
        drop(writer);
        self.end_drains_of_what_has_traffic();
        self.changed.notify_waiters();
        Ok(receipts)
    }

    /// Has those who last leave instances that get no more requests. What has traffic is never drained: nothing is begun
    /// then, and it is said whose it is.
    pub(crate) fn drain(&self, wanted: &Departure) -> Result<(), InstanceId> {
        let with_traffic = self.with_traffic(&wanted.instances);
        if let Some(instance) = with_traffic.into_iter().next() {
            return Err(instance);
        }
        let writer = self.writer();
        let instances = writer.publication.instances();
        let instances: Vec<_> =
            instances.filter(|instance| wanted.instances.contains(instance.id())).map(Arc::clone).collect();
        drop(writer);
        if wanted.clients == Reconnect {
            self.renew_clients(wanted);
        }
        let addresses = instances.iter().map(|instance| instance.address()).collect();
        let lasting = instances.iter().map(|instance| instance.lasting().total()).sum();
        self.drains.begin(wanted, addresses, lasting);
        Ok(())
    }

    /// Has clients connect anew that were there before the traffic left these instances.
    fn renew_clients(&self, wanted: &Departure) {
        let table = self.cell.load();
        let was_left = |entry: &&Arc<ServiceEntry>| {
            let desired = entry.desired();
            let idle =
                Environment::ALL.into_iter().filter(|environment| desired.weights.of(*environment) == 0);
            let mut left = idle.flat_map(|environment| desired.instances(environment));
            left.any(|instance| wanted.instances.contains(&instance.id))
        };
        for entry in table.services().iter().filter(was_left) {
            entry.renew_clients(Renewal::new(wanted.rate, wanted.limit, clock::now_us()));
        }
    }

    fn end_drains_of_what_has_traffic(&self) {
        let drained: Vec<InstanceId> = self.drains.instances().into_iter().collect();
        if drained.is_empty() {
            return;
        }
        let with_traffic = self.with_traffic(&drained);
        let writer = self.writer();
        let known: HashSet<&InstanceId> = writer.publication.instances().map(|known| known.id()).collect();
        self.drains.retain(|instance| known.contains(instance) && !with_traffic.contains(instance));
    }

    /// Those of some instances that get requests of users.
    fn with_traffic(&self, of: &[InstanceId]) -> HashSet<InstanceId> {
        let table = self.cell.load();
        let weighty = table.services().iter().flat_map(|entry| {
            let with_weight = |environment: &Environment| entry.desired().weights.of(*environment) > 0;
            let environments = Environment::ALL.into_iter().filter(with_weight);
            environments.flat_map(|environment| entry.desired().instances(environment))
        });
        weighty.map(|instance| &instance.id).filter(|id| of.contains(id)).cloned().collect()
    }

    /// The table in force, epochs included.
    pub(crate) fn document(&self) -> TableDocument {
        let table = self.cell.load();
        let services = table.services().iter().map(|entry| entry.route()).collect();
        TableDocument { listen: self.listen.clone(), clients: self.clients.clone(), services }
    }

    /// What was seen so far.
    pub(crate) fn statistics(&self) -> Statistics {
        let writer = self.writer();
        let table = self.cell.load();
        let report = |entry: &Arc<ServiceEntry>| ServiceReport {
            name: entry.desired().name.clone(),
            epoch: entry.epoch(),
            weights: entry.desired().weights,
            tags: writer.publication.counters().report(&entry.desired().name),
            shift: Some(entry.shift_report()),
            waiting: entry.desired().pause.is_some().then(|| entry.observed().waiting()),
            renewed: entry.observed().renewed(),
        };
        let mut instances: Vec<InstanceReport> = writer
            .publication
            .instances()
            .map(|instance| InstanceReport {
                id: instance.id().clone(),
                address: instance.address(),
                in_flight: instance.in_flight(),
                lasting: instance.lasting().by_kind(),
                draining: self.drains.report(instance.id()),
                in_rotation: instance.is_in_rotation(),
                healthy: instance.health(),
            })
            .collect();
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        Statistics {
            boot_id: writer.publication.boot_id().to_owned(),
            generation: table.generation(),
            pid: std::process::id(),
            listening: *self.listening.borrow(),
            preview_key: self.preview_key.clone(),
            table_format: TABLE_FORMAT,
            tls: self.tls.has_something_to_tell().then(|| self.tls.report()),
            services: table.services().iter().map(report).collect(),
            instances,
        }
    }

    /// What became of the last change of a service's weights.
    pub(crate) fn shift_report(&self, name: &ServiceName) -> Option<ShiftReport> {
        self.cell.load().service(name).map(|entry| entry.shift_report())
    }

    /// Requests in flight on all instances.
    pub(crate) fn in_flight(&self) -> u64 {
        self.writer().publication.instances().map(|instance| instance.in_flight()).sum()
    }

    /// Requests that wait for the end of a hold.
    pub(crate) fn waiting(&self) -> u64 {
        self.cell.load().services().iter().map(|entry| entry.observed().waiting()).sum()
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic while it was held left either the old table or the new one in force; both are whole.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
