//! What is remembered: for each decision its event, its effects and the state it led to.
//!
//! The latest state of a service is what a restart goes on from. Older records are for people and for checks;
//! they are not decided again with today's rules.

mod memory;
mod sqlite;

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

use async_trait::async_trait;
use cutover_core::service::{Deployment, Event, PendingEffect, ServiceState};
use cutover_core::{ServiceName, Timestamp};
use serde::{Deserialize, Serialize};

/// The format of records that this version writes. Readers know it and all before it.
pub const RECORD_FORMAT: u32 = 1;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this record.
    pub format: u32,
    /// The version of cutover whose rules decided.
    pub decider: String,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
    /// What was asked for because of it.
    pub effects: Vec<PendingEffect>,
    /// The deployment that ended with it.
    pub closed: Option<Deployment>,
    /// What is true since then.
    pub state: ServiceState,
}

impl Record {
    /// Every deployment that the record says something about, as it is now.
    pub fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.closed.iter().chain(&self.state.deployment)
    }
}

/// What a service was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Sequence of the record.
    pub sequence: u64,
    /// The state it led to.
    pub state: ServiceState,
}

/// Why the journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else has appended: this writer is no longer the one.
    #[error(
        "service `{service}` was changed by somebody else: record {expected} was expected last, {found} is"
    )]
    Conflict {
        /// The service.
        service: ServiceName,
        /// What the writer thought was last.
        expected: u64,
        /// What is last.
        found: u64,
    },
    /// It was written by a newer version.
    #[error(
        "the journal `{path}` was written by a newer cutover (format {found}, this one reads up to {known}); start that version again, or restore an older state directory"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// It cannot be read or written.
    #[error("the journal `{path}` cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The truth. One writer at a time; appends of one service follow one another.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Makes the next term: greater than all before it, durably, also if the process ends right after.
    ///
    /// # Errors
    /// If it could not be recorded; the term must not be used then.
    async fn begin_term(&self) -> Result<u32, JournalError>;

    /// Appends a decision. `expected` is the sequence of the service's last record, 0 before the first. When it
    /// has returned `Ok`, the record survives a crash of process and host; when it has returned an error, it is
    /// not there (a conflict) or may be there whole (anything else): the writer must read again before it goes on.
    ///
    /// # Errors
    /// [`JournalError`], with nothing partly written.
    async fn append(&self, service: &ServiceName, expected: u64, record: Record)
    -> Result<u64, JournalError>;

    /// What a service was last; `None` if it has no record.
    ///
    /// # Errors
    /// If the journal cannot be read.
    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError>;

    /// Every service with a record.
    ///
    /// # Errors
    /// If the journal cannot be read.
    async fn services(&self) -> Result<Vec<ServiceName>, JournalError>;

    /// The deployments of a service as they were last, newest first, at most `limit`.
    ///
    /// # Errors
    /// If the journal cannot be read.
    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError>;
}
