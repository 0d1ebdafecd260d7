//! What is remembered: for each decision its event, its effects and the state it led to.
//!
//! The latest state of a service is what a restart goes on from. Older records are for people and for checks;
//! they are not decided again with today's rules.
//!
//! Reading order: [`record`] is one decision, [`chain`] makes a rewritten history visible, [`retention`] says what
//! may be forgotten, [`importance`] what is recorded even on a full disk; `sqlite` is the journal of a state
//! directory, `memory` the one of the simulation.

pub mod chain;
mod error;
pub mod importance;
pub mod record;
pub mod retention;

mod memory;
mod sqlite;

pub use chain::Head;
pub use error::JournalError;
pub use importance::Importance;
pub use memory::MemoryJournal;
pub use record::{RECORD_FORMAT, Record};
pub use retention::{Pruned, Retention};
pub use sqlite::SqliteJournal;
pub use sqlite::read::{latest, services};
pub use sqlite::transfer::{TransferError, Transferred, export, import};
pub use sqlite::verify::{Fault, Verification, verify};

use async_trait::async_trait;
use cutover_core::service::{Deployment, ServiceState};
use cutover_core::{ServiceName, Timestamp};

/// What a service was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Sequence of the record, among those of the service.
    pub sequence: u64,
    /// The state it led to.
    pub state: ServiceState,
}

/// The truth. One writer at a time; appends of one service follow one another.
///
/// A handle belongs to one controller. It remembers the term it began last, its *own term*, which is 0 before the
/// first. Once the journal holds a greater one, another controller has taken over, and this handle changes nothing
/// any more: a controller that was paused and revived can do no harm. A handle that began no term may therefore
/// append only to a journal in which nobody ever did.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Makes the next term: greater than all before it, durably, also if the process ends right after, and also if
    /// the disk is full as long as something is left of the reserve. It is the handle's own term from now on.
    ///
    /// # Errors
    /// If it could not be recorded; the term must not be used then.
    async fn begin_term(&self) -> Result<u32, JournalError>;

    /// Appends a decision; answers its sequence among those of the service. `expected` is the sequence of the
    /// service's last record, 0 before the first. When it has returned `Ok`, the record survives a crash of process
    /// and host; when it has returned an error, it is not there (a conflict, a newer controller, a full disk) or may
    /// be there whole (anything else): the writer must read again before it goes on.
    ///
    /// # Errors
    /// [`JournalError`], with nothing partly written. What is [`Importance::Rescue`] is not refused for want of disk
    /// as long as something is left of the reserve.
    async fn append(
        &self,
        service: &ServiceName,
        expected: u64,
        record: Record,
        importance: Importance,
    ) -> Result<u64, JournalError>;

    /// What a service was last; `None` if it has no record.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`] if this service's state cannot be read, which says nothing of the others; any
    /// other if the journal cannot.
    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError>;

    /// Every service with a record, by name; also those whose latest state cannot be read.
    ///
    /// # Errors
    /// If the journal cannot be read.
    async fn services(&self) -> Result<Vec<ServiceName>, JournalError>;

    /// When the newest record of any service was decided; `None` of an empty journal.
    ///
    /// # Errors
    /// If the journal cannot be read.
    async fn last_moment(&self) -> Result<Option<Timestamp>, JournalError>;

    /// The deployments of a service as they were last, newest first, at most `limit`.
    ///
    /// # Errors
    /// If the journal cannot be read.
    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError>;

    /// Tries whether an ordinary decision could be recorded now, by a write that changes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn probe(&self) -> Result<(), JournalError>;

    /// Forgets what need not be kept: see [`retention`]. Appends go on meanwhile. If it ends early, what was
    /// forgotten until then is forgotten, and the next one goes on.
    ///
    /// # Errors
    /// If the journal cannot be read or written, or a newer controller has taken over.
    async fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, JournalError>;
}
