//! The projections: kept with each append, and made again from the journal when they are gone.

use std::collections::HashMap;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::journal::Record;
use crate::journal::chain::Link;
use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::schema::{self, StoredRow};

/// Takes in what a record says. Thinned ones, which come first if at all, are taken in by [`Openings`].
pub(super) fn project(connection: &Connection, link: &Link, record: &Record) -> Result<(), StoreFault> {
    latest(connection, link, Some(record))?;
    deployments(connection, &link.service, record, |_| link.sequence)
}

fn latest(connection: &Connection, link: &Link, record: Option<&Record>) -> Result<(), StoreFault> {
    let state = record.map(|record| serde_json::to_string(&record.state)).transpose()?;
    let (sequence, number) = (link.sequence.cast_signed(), link.service_sequence.cast_signed());
    let upsert = "INSERT INTO latest (service, service_sequence, sequence, state) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET service_sequence = excluded.service_sequence, sequence = excluded.sequence,
             state = excluded.state";
    connection.prepare_cached(upsert)?.execute(params![link.service, number, sequence, state])?;
    Ok(())
}

fn deployments(
    connection: &Connection,
    service: &str,
    record: &Record,
    mut opened: impl FnMut(&str) -> u64,
) -> Result<(), StoreFault> {
    for deployment in record.deployments() {
        let upsert =
            "INSERT INTO deployments (service, id, opened, started_ms, deployment) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET deployment = excluded.deployment";
        let id = deployment.id.as_str();
        let started = deployment.started_at.as_millis().cast_signed();
        let text = serde_json::to_string(deployment)?;
        let opened = opened(id).cast_signed();
        connection.prepare_cached(upsert)?.execute(params![service, id, opened, started, text])?;
    }
    Ok(())
}

/// When each deployment was first told of, also by records that are thinned by now.
#[derive(Debug, Default)]
pub(super) struct Openings(HashMap<(String, String), u64>);

impl Openings {
    /// Takes in the next record of the journal.
    pub(super) fn take_in(&mut self, link: &Link, record: Option<&Record>) {
        let told = record.into_iter().flat_map(Record::deployments).map(|known| known.id.as_str());
        for id in told.chain(link.deployment.as_deref()) {
            self.0.entry((link.service.clone(), id.to_owned())).or_insert(link.sequence);
        }
    }

    /// The sequence of the first record about a deployment.
    pub(super) fn of(&self, service: &str, id: &str) -> Option<u64> {
        self.0.get(&(service.to_owned(), id.to_owned())).copied()
    }
}

/// Makes the projections from the journal if one of them is not there.
pub(super) fn make_anew_if_missing(connection: &mut Connection) -> Result<(), StoreFault> {
    let select =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('latest', 'deployments')";
    if connection.query_row(select, [], |row| row.get::<_, i64>(0))? == 2 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make_anew(&transaction)?;
    Ok(transaction.commit()?)
}

/// Makes the projections from the journal. A record that cannot be read is left out; as a service's newest it makes
/// that service unreadable, and no other.
pub(super) fn make_anew(connection: &Connection) -> Result<(), StoreFault> {
    connection.execute_batch(schema::DROP_PROJECTIONS)?;
    connection.execute_batch(schema::CREATE_PROJECTIONS)?;
    let mut openings = Openings::default();
    let select = format!("SELECT {} FROM journal ORDER BY sequence", schema::COLUMNS);
    let mut records = connection.prepare(&select)?;
    let mut rows = records.query([])?;
    while let Some(row) = rows.next()? {
        let StoredRow { link, record, .. } = StoredRow::read(row)?;
        let record = record.and_then(|text| Record::read(&text).ok());
        openings.take_in(&link, record.as_ref());
        latest(connection, &link, record.as_ref())?;
        if let Some(record) = &record {
            let opened = |id: &str| openings.of(&link.service, id).unwrap_or(link.sequence);
            deployments(connection, &link.service, record, opened)?;
        }
    }
    Ok(())
}
