//! A journal that forgets with its process: for the simulation. It passes the same tests as the real one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cutover_core::ServiceName;
use cutover_core::service::Deployment;

use crate::journal::{Journal, JournalError, Latest, Record};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    term: u32,
    records: BTreeMap<ServiceName, Vec<Record>>,
}

impl MemoryJournal {
    /// Every record of a service, oldest first.
    #[must_use]
    pub fn records(&self, service: &ServiceName) -> Vec<Record> {
        self.content().records.get(service).cloned().unwrap_or_default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn begin_term(&self) -> Result<u32, JournalError> {
        let mut content = self.content();
        content.term += 1;
        Ok(content.term)
    }

    async fn append(
        &self,
        service: &ServiceName,
        expected: u64,
        record: Record,
    ) -> Result<u64, JournalError> {
        let mut content = self.content();
        let found = content.records.get(service).map_or(0, Vec::len) as u64;
        if found != expected {
            return Err(JournalError::Conflict { service: service.clone(), expected, found });
        }
        content.records.entry(service.clone()).or_default().push(record);
        Ok(found + 1)
    }

    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        let content = self.content();
        let Some(records) = content.records.get(service) else { return Ok(None) };
        let latest = |record: &Record| Latest { sequence: records.len() as u64, state: record.state.clone() };
        Ok(records.last().map(latest))
    }

    async fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        Ok(self.content().records.keys().cloned().collect())
    }

    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        let content = self.content();
        let mut history: Vec<Deployment> = Vec::new();
        let records = content.records.get(service).map(Vec::as_slice).unwrap_or_default();
        for deployment in records.iter().flat_map(Record::deployments) {
            match history.iter_mut().find(|known| known.id == deployment.id) {
                Some(known) => known.clone_from(deployment),
                None => history.push(deployment.clone()),
            }
        }
        Ok(history.into_iter().rev().take(limit).collect())
    }
}
