//! Answers questions from the projections, so that no answer takes longer the longer the journal is.

use std::path::Path;

use cutover_core::service::Deployment;
use cutover_core::{ServiceName, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::schema::service_name;
use crate::journal::sqlite::{Store, open};
use crate::journal::{JournalError, Latest, Record};

/// What a service of the journal `path` was last, read from outside; `None` if it has no record. Changes nothing, also
/// while a controller writes. It may wait some seconds for a lock, or for ever for a disk that does not answer.
///
/// # Errors
/// If it cannot be opened, another version wrote it, or the state of this service cannot be read.
pub fn latest(path: &Path, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
    let connection = open::connect_read_only(path).map_err(|fault| fault.told(path))?;
    latest_of(&connection, path, service)
}

/// Every service of the journal `path`, by name, read from outside.
///
/// # Errors
/// If it cannot be opened, or another version wrote it.
pub fn services(path: &Path) -> Result<Vec<ServiceName>, JournalError> {
    let connection = open::connect_read_only(path).map_err(|fault| fault.told(path))?;
    let told = |error: rusqlite::Error| StoreFault::from(error).told(path);
    let mut statement = connection.prepare("SELECT service FROM latest ORDER BY service").map_err(told)?;
    let names = statement.query_map([], |row| row.get::<_, String>(0)).map_err(told)?;
    names.map(|name| service_name(&name.map_err(told)?).map_err(|fault| fault.told(path))).collect()
}

fn latest_of(
    connection: &Connection,
    path: &Path,
    service: &ServiceName,
) -> Result<Option<Latest>, JournalError> {
    let told = |error: rusqlite::Error| StoreFault::from(error).told(path);
    let row = latest_row(connection, service).map_err(told)?;
    let Some((sequence, state)) = row else { return Ok(None) };
    let sequence = sequence.cast_unsigned();
    let unreadable = |reason| JournalError::Unreadable { service: service.clone(), sequence, reason };
    let Some(state) = state else {
        return Err(unreadable(why_unreadable(connection, service, sequence).map_err(told)?));
    };
    let state = serde_json::from_str(&state).map_err(|error| unreadable(error.to_string()))?;
    Ok(Some(Latest { sequence, state }))
}

fn latest_row(
    connection: &Connection,
    service: &ServiceName,
) -> rusqlite::Result<Option<(i64, Option<String>)>> {
    let select = "SELECT service_sequence, state FROM latest WHERE service = ?";
    let mut statement = connection.prepare_cached(select)?;
    statement.query_row([service.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Why the record that should hold the latest state does not.
fn why_unreadable(connection: &Connection, service: &ServiceName, sequence: u64) -> rusqlite::Result<String> {
    let select = "SELECT record FROM journal WHERE service = ? AND service_sequence = ?";
    let parameters = params![service.as_str(), sequence.cast_signed()];
    let text: Option<Option<String>> =
        connection.query_row(select, parameters, |row| row.get(0)).optional()?;
    Ok(match text.flatten().as_deref().map(Record::read) {
        None => "the record is not there".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(_)) => "the record can be read, but could not when it was looked at last; \
                        drop the table `latest` to have it looked at again"
            .to_owned(),
    })
}

impl Store {
    pub(super) fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        latest_of(&self.connection, &self.path, service)
    }

    pub(super) fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        let names = self.column("SELECT service FROM latest ORDER BY service", params![])?;
        let named = names.iter().map(|name| service_name(name)).collect::<Result<Vec<_>, _>>();
        named.map_err(|fault| fault.told(&self.path))
    }

    /// Within a service the newest record is the latest; between services those may differ that were committed together.
    pub(super) fn last_moment(&self) -> Result<Option<Timestamp>, JournalError> {
        let select = "SELECT max(at_ms) FROM journal JOIN latest USING (sequence)";
        let newest = self.connection.query_row(select, [], |row| row.get::<_, Option<i64>>(0));
        let newest = newest.map_err(|error| self.told(error))?;
        Ok(newest.map(|at| Timestamp::from_millis(at.max(0).cast_unsigned())))
    }

    pub(super) fn history(
        &self,
        service: &ServiceName,
        limit: usize,
    ) -> Result<Vec<Deployment>, JournalError> {
        // In the order they were opened: the host's clock may have been set back between two.
        let select =
            "SELECT deployment FROM deployments WHERE service = ? ORDER BY opened DESC, rowid DESC LIMIT ?";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let texts = self.column(select, params![service.as_str(), limit])?;
        let parse = |text: &String| serde_json::from_str(text);
        let read: Result<Vec<Deployment>, _> = texts.iter().map(parse).collect();
        read.map_err(|error| {
            StoreFault::Database(format!("a deployment cannot be read: {error}")).told(&self.path)
        })
    }

    fn column(&self, select: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<String>, JournalError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(select)?;
            let rows = statement.query_map(parameters, |row| row.get(0))?;
            rows.collect::<Result<Vec<String>, _>>()
        };
        read().map_err(|error| self.told(error))
    }

    fn told(&self, error: rusqlite::Error) -> JournalError {
        StoreFault::from(error).told(&self.path)
    }
}
