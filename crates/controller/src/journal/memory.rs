//! A journal that forgets with its process: for the simulation. It passes the same tests as the real one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cutover_core::service::Deployment;
use cutover_core::{ServiceName, Timestamp};

use crate::journal::retention::Mention;
use crate::journal::{Importance, Journal, JournalError, Latest, Pruned, Record, Retention};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    content: Arc<Mutex<Content>>,
    /// The term of this handle.
    own: AtomicU32,
}

#[derive(Debug, Default)]
struct Content {
    term: u32,
    services: BTreeMap<ServiceName, Service>,
}

#[derive(Debug, Default)]
struct Service {
    /// `None` once it is thinned.
    records: Vec<Option<Record>>,
    /// In the order they were opened.
    history: Vec<Deployment>,
}

impl MemoryJournal {
    /// A handle of another controller on the same records; it has begun no term yet.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { content: Arc::clone(&self.content), own: AtomicU32::new(0) }
    }

    /// Every whole record of a service, oldest first.
    #[must_use]
    pub fn records(&self, service: &ServiceName) -> Vec<Record> {
        let content = self.content();
        let records = content.services.get(service).map(|service| service.records.iter().flatten().cloned());
        records.map(Iterator::collect).unwrap_or_default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_term(&self, content: &Content) -> Result<(), JournalError> {
        let (own, found) = (self.own.load(Ordering::SeqCst), content.term);
        if found > own { Err(JournalError::Superseded { own, found }) } else { Ok(()) }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn begin_term(&self) -> Result<u32, JournalError> {
        let mut content = self.content();
        content.term += 1;
        self.own.store(content.term, Ordering::SeqCst);
        Ok(content.term)
    }

    async fn append(
        &self,
        service: &ServiceName,
        expected: u64,
        record: Record,
        _: Importance,
    ) -> Result<u64, JournalError> {
        let mut content = self.content();
        self.check_term(&content)?;
        let found = content.services.get(service).map_or(0, |service| service.records.len()) as u64;
        if found != expected {
            return Err(JournalError::Conflict { service: service.clone(), expected, found });
        }
        let Service { records, history } = content.services.entry(service.clone()).or_default();
        for deployment in record.deployments() {
            match history.iter_mut().find(|known| known.id == deployment.id) {
                Some(known) => known.clone_from(deployment),
                None => history.push(deployment.clone()),
            }
        }
        records.push(Some(record));
        Ok(found + 1)
    }

    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        let content = self.content();
        let Some(service) = content.services.get(service) else { return Ok(None) };
        let latest =
            |record: &Record| Latest { sequence: service.records.len() as u64, state: record.state.clone() };
        Ok(service.records.last().and_then(Option::as_ref).map(latest))
    }

    async fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        Ok(self.content().services.keys().cloned().collect())
    }

    async fn last_moment(&self) -> Result<Option<Timestamp>, JournalError> {
        let content = self.content();
        let newest = content.services.values().filter_map(|service| service.records.last()?.as_ref());
        Ok(newest.map(|record| record.at).max())
    }

    async fn probe(&self) -> Result<(), JournalError> {
        Ok(())
    }

    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        let content = self.content();
        let history = content.services.get(service).map(|service| service.history.iter().rev());
        Ok(history.into_iter().flatten().take(limit).cloned().collect())
    }

    async fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, JournalError> {
        let mut content = self.content();
        self.check_term(&content)?;
        let mut pruned = Pruned::default();
        for Service { records, history } in content.services.values_mut() {
            let newest_first: Vec<Deployment> = history.iter().rev().cloned().collect();
            for thinning in retention.plan(&newest_first, &mentions(records), now) {
                records[thinning.sequence as usize] = None;
                history.retain(|known| !thinning.forgets.contains(&known.id));
                pruned.thinned += 1;
                pruned.forgotten += thinning.forgets.len() as u64;
            }
        }
        Ok(pruned)
    }
}

/// The whole records, numbered by their place.
fn mentions(records: &[Option<Record>]) -> Vec<Mention> {
    let whole = (0..).zip(records).filter_map(|(place, record)| Some((place, record.as_ref()?)));
    let mention = |(sequence, record): (u64, &Record)| Mention {
        sequence,
        at: record.at,
        closed: record.closed.iter().map(|closed| closed.id.clone()).collect(),
        open: record.state.deployment.iter().chain(&record.state.queue).map(|open| open.id.clone()).collect(),
    };
    whole.map(mention).collect()
}
