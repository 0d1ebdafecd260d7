//! Writes: a group of appends in one transaction, each fenced, chained and projected.

use std::sync::mpsc;

use cutover_core::ServiceName;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::journal::chain::{Link, record_hash};
use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::schema::{self, StoredRow};
use crate::journal::sqlite::{Command, Reply, Store, project};
use crate::journal::{Importance, JournalError, Record};

/// Appends that one commit makes durable at most.
const GROUP: usize = 64;

/// An append that waits.
pub(super) struct Append {
    pub(super) service: ServiceName,
    pub(super) expected: u64,
    pub(super) record: Box<Record>,
    pub(super) importance: Importance,
    pub(super) reply: Reply<u64>,
}

impl Append {
    fn is_rescue(&self) -> bool {
        self.importance == Importance::Rescue
    }

    /// A reply that nobody waits for any more is dropped on purpose.
    fn answer(self, result: Result<u64, JournalError>) {
        let _ = self.reply.send(result);
    }
}

impl Store {
    /// Appends this one and those that wait behind it; answers the command that ended the group, if one did.
    pub(super) fn append_with_those_that_wait(
        &mut self,
        first: Append,
        queue: &mpsc::Receiver<Command>,
    ) -> Option<Command> {
        let mut group = vec![first];
        let mut next = None;
        while group.len() < GROUP && next.is_none() {
            match queue.try_recv() {
                Ok(Command::Append(append)) => group.push(append),
                Ok(other) => next = Some(other),
                Err(_) => break,
            }
        }
        self.append(group);
        next
    }

    fn append(&mut self, group: Vec<Append>) {
        let group = self.refuse_ordinary_unless_the_reserve_is_whole(group);
        if group.is_empty() {
            return;
        }
        if let Err(fault) = self.file.is_still_at(&self.path) {
            return self.refuse(group, &fault);
        }
        let fault = match commit(&mut self.connection, self.own, &group) {
            Ok(results) => return answer(group, results),
            Err(fault) => fault,
        };
        if !self.reserve.explains(&fault) {
            return self.refuse(group, &fault);
        }
        let (rescues, ordinary): (Vec<_>, Vec<_>) = group.into_iter().partition(Append::is_rescue);
        self.refuse(ordinary, &self.reserve.advised(&fault));
        if rescues.is_empty() {
            return;
        }
        let Self { connection, reserve, own, .. } = self;
        match reserve.at_any_cost(|| commit(connection, *own, &rescues)) {
            Ok(results) => answer(rescues, results),
            Err(fault) => self.refuse(rescues, &fault),
        }
    }

    /// While something of the reserve is used, only rescue is recorded; so an ordinary append first gives back what
    /// was taken, and is refused if there is no room for that.
    fn refuse_ordinary_unless_the_reserve_is_whole(&mut self, group: Vec<Append>) -> Vec<Append> {
        if group.iter().all(Append::is_rescue) {
            return group;
        }
        let Err(error) = self.reserve.make_whole() else { return group };
        let (rescues, ordinary) = group.into_iter().partition(Append::is_rescue);
        self.refuse(ordinary, &self.explained(error.into()));
        rescues
    }

    /// A fault with advice, if it comes of a full disk.
    fn explained(&self, fault: StoreFault) -> StoreFault {
        if self.reserve.explains(&fault) { self.reserve.advised(&fault) } else { fault }
    }

    /// Writes what changes nothing, as an ordinary append would write.
    pub(super) fn probe(&mut self) -> Result<(), JournalError> {
        let there = self.file.is_still_at(&self.path);
        let made = there.and_then(|()| Ok(self.reserve.make_whole()?));
        let written = made.and_then(|()| {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            check_term(&transaction, self.own)?;
            let touch = "UPDATE latest SET sequence = sequence WHERE rowid = (SELECT min(rowid) FROM latest)";
            transaction.execute(touch, [])?;
            Ok(transaction.commit()?)
        });
        written.map_err(|fault| self.explained(fault).told(&self.path))
    }

    fn refuse(&self, group: Vec<Append>, fault: &StoreFault) {
        for append in group {
            let fault = match fault {
                StoreFault::Full(advice) => StoreFault::Full(advice.clone()),
                other => StoreFault::Database(other.to_string()),
            };
            append.answer(Err(fault.told(&self.path)));
        }
    }

    pub(super) fn begin_term(&mut self) -> Result<u32, JournalError> {
        let Self { connection, reserve, .. } = self;
        let insert = "INSERT INTO terms SELECT coalesce(max(term), 0) + 1 FROM terms RETURNING term";
        let begun = reserve.at_any_cost(|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let term = transaction.query_row(insert, [], |row| row.get(0))?;
            transaction.commit()?;
            Ok(term)
        });
        self.own = begun.map_err(|fault| fault.told(&self.path))?;
        Ok(self.own)
    }
}

fn answer(group: Vec<Append>, results: Vec<Result<u64, JournalError>>) {
    for (append, result) in group.into_iter().zip(results) {
        append.answer(result);
    }
}

/// Writes a group in one transaction; a conflict of one is that one's alone.
///
/// A group that failed as a whole can be committed again: nothing of it is visible, and what of it may have reached
/// the log is overwritten.
fn commit(
    connection: &mut Connection,
    own: u32,
    group: &[Append],
) -> Result<Vec<Result<u64, JournalError>>, StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(group.len());
    for append in group {
        match write(&transaction, own, append) {
            Ok(sequence) => results.push(Ok(sequence)),
            Err(StoreFault::Refused(refusal)) => results.push(Err(refusal)),
            Err(fault) => return Err(fault),
        }
    }
    transaction.commit()?;
    Ok(results)
}

/// The fence: refuses if another controller began a later term than this handle's own.
pub(super) fn check_term(transaction: &Transaction<'_>, own: u32) -> Result<(), StoreFault> {
    let found = schema::greatest_term(transaction)?;
    if found > own { Err(JournalError::Superseded { own, found }.into()) } else { Ok(()) }
}

fn write(transaction: &Transaction<'_>, own: u32, append: &Append) -> Result<u64, StoreFault> {
    let Append { service, expected, record, .. } = append;
    check_term(transaction, own)?;
    let select = "SELECT coalesce(max(service_sequence), 0) FROM journal WHERE service = ?";
    let found: i64 = transaction.prepare_cached(select)?.query_row([service.as_str()], |row| row.get(0))?;
    let found = found.cast_unsigned();
    if found != *expected {
        return Err(JournalError::Conflict { service: service.clone(), expected: *expected, found }.into());
    }
    let head = schema::head(transaction)?;
    let text = serde_json::to_string(record)?;
    let link = Link {
        sequence: head.sequence + 1,
        service: service.to_string(),
        service_sequence: found + 1,
        at: record.at.as_millis(),
        deployment: record.deployment.as_ref().map(ToString::to_string),
        actor: record.actor.clone(),
        reason: record.reason.clone(),
        record_hash: record_hash(&text),
    };
    let hash = link.hash(&head.hash);
    let row = StoredRow { link, previous: head.hash, hash, record: Some(text) };
    row.insert(transaction)?;
    project::project(transaction, &row.link, record)?;
    Ok(row.link.service_sequence)
}
