//! What a file holds. Format 2; format 1 had neither chain nor `latest`.

use cutover_core::ServiceName;
use rusqlite::{Connection, Row};

use crate::journal::chain::{Hash, Head, Link};
use crate::journal::sqlite::fault::StoreFault;

/// Format of the file, kept in SQLite's `user_version`.
pub(super) const SCHEMA: i64 = 2;

/// The truth. `record` comes last, so that reading the rest of a row does not read it; it is `NULL` once the record is
/// thinned. Space that thinning sets free is used again by later records; the file does not shrink.
pub(super) const CREATE: &str = "
    CREATE TABLE journal (
        sequence INTEGER PRIMARY KEY,
        service TEXT NOT NULL,
        service_sequence INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        deployment TEXT,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL,
        record_hash BLOB NOT NULL,
        previous BLOB NOT NULL,
        hash BLOB NOT NULL,
        record TEXT,
        UNIQUE (service, service_sequence)
    );
";

/// The terms that controllers began.
pub(super) const CREATE_TERMS: &str = "CREATE TABLE IF NOT EXISTS terms (term INTEGER PRIMARY KEY);";

/// The projections: each service as its newest record leaves it (`state` is `NULL` if that cannot be read), and each
/// deployment as the newest record about it has it. `opened` is the sequence of the first record about it.
pub(super) const CREATE_PROJECTIONS: &str = "
    CREATE TABLE latest (
        service TEXT PRIMARY KEY,
        service_sequence INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        state TEXT
    );
    CREATE TABLE deployments (
        service TEXT NOT NULL,
        id TEXT NOT NULL,
        opened INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        deployment TEXT NOT NULL,
        PRIMARY KEY (service, id)
    );
    CREATE INDEX deployments_opened ON deployments (service, opened);
";

pub(super) const DROP_PROJECTIONS: &str = "DROP TABLE IF EXISTS latest; DROP TABLE IF EXISTS deployments;";

/// The columns of [`StoredRow`], in order.
pub(super) const COLUMNS: &str = "sequence, service, service_sequence, at_ms, deployment, actor, reason, \
                                  record_hash, previous, hash, record";

/// A row of the journal.
pub(super) struct StoredRow {
    pub(super) link: Link,
    pub(super) previous: Hash,
    pub(super) hash: Hash,
    pub(super) record: Option<String>,
}

impl StoredRow {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let link = Link {
            sequence: row.get::<_, i64>(0)?.cast_unsigned(),
            service: row.get(1)?,
            service_sequence: row.get::<_, i64>(2)?.cast_unsigned(),
            at: row.get::<_, i64>(3)?.cast_unsigned(),
            deployment: row.get(4)?,
            actor: row.get(5)?,
            reason: row.get(6)?,
            record_hash: row.get(7)?,
        };
        Ok(Self { link, previous: row.get(8)?, hash: row.get(9)?, record: row.get(10)? })
    }

    pub(super) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let insert = format!("INSERT INTO journal ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let Self { link, previous, hash, record } = self;
        connection.prepare_cached(&insert)?.execute(rusqlite::params![
            link.sequence.cast_signed(),
            link.service,
            link.service_sequence.cast_signed(),
            link.at.cast_signed(),
            link.deployment,
            link.actor,
            link.reason,
            link.record_hash,
            previous,
            hash,
            record,
        ])?;
        Ok(())
    }
}

/// The last link.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let select = "SELECT sequence, hash FROM journal ORDER BY sequence DESC LIMIT 1";
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(Head::EMPTY) };
    Ok(Head { sequence: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)? })
}

/// The greatest term that was begun; 0 if none was.
pub(super) fn greatest_term(connection: &Connection) -> rusqlite::Result<u32> {
    connection.prepare_cached("SELECT coalesce(max(term), 0) FROM terms")?.query_row([], |row| row.get(0))
}

pub(super) fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The name of a service in a row.
pub(super) fn service_name(text: &str) -> Result<ServiceName, StoreFault> {
    text.parse().map_err(|error: cutover_core::names::InvalidName| StoreFault::Database(error.to_string()))
}
