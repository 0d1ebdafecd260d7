//! Opens a journal, and brings an older one up to date.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cutover_core::service::ServiceState;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::journal::chain::{Head, Link, record_hash};
use crate::journal::record::Account;
use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::project;
use crate::journal::sqlite::schema::{self, SCHEMA, StoredRow};
use crate::journal::{JournalError, Record};

/// Opens or makes a journal for its one writer. Every step may be repeated after it has failed.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreFault> {
    // Configurations and the last lines of applications are not for everybody; SQLite gives the mode on to its
    // other files.
    File::options().create(true).append(true).mode(0o600).open(path)?;
    let mut connection = Connection::open(path)?;
    let found = schema::user_version(&connection)?;
    if found > SCHEMA {
        return Err(newer(path, found).into());
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Nothing of a sort goes to another disk, which may be full too.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    if found < SCHEMA {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have done it since the look above.
        match schema::user_version(&transaction)? {
            0 => create(&transaction)?,
            1 => upgrade(&transaction)?,
            _ => {}
        }
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
    }
    project::make_anew_if_missing(&mut connection)?;
    Ok(connection)
}

/// Opens a journal for a look; nothing is changed, and a controller may write meanwhile.
pub(super) fn connect_read_only(path: &Path) -> Result<Connection, StoreFault> {
    File::open(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match Connection::open_with_flags(path, flags).map(|c| (schema::user_version(&c), c)) {
        Ok((Ok(_), connection)) => connection,
        failed => {
            let fault = match failed {
                Ok((Err(error), _)) | Err(error) => StoreFault::from(error),
                Ok((Ok(_), _)) => unreachable!("matched above"),
            };
            // Where not even SQLite's index of the log can be made (a full or read-only disk), a journal without a
            // log is read as a file that nobody changes.
            if !matches!(fault, StoreFault::Suspect(_) | StoreFault::Full(_)) || has_log(path) {
                return Err(fault);
            }
            let uri = format!("file:{}?immutable=1", escaped(path));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    let found = schema::user_version(&connection)?;
    let name = || path.display().to_string();
    match found {
        SCHEMA => Ok(connection),
        0 => Err(StoreFault::Database("it is no journal".to_owned())),
        found if found > SCHEMA => Err(newer(path, found).into()),
        found => Err(JournalError::Older { path: name(), found, known: SCHEMA }.into()),
    }
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// A path in a URI.
fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    bytes
        .iter()
        .map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn newer(path: &Path, found: i64) -> JournalError {
    JournalError::Newer { path: path.display().to_string(), found, known: SCHEMA }
}

fn create(connection: &Connection) -> Result<(), StoreFault> {
    connection.execute_batch(schema::CREATE)?;
    connection.execute_batch(schema::CREATE_TERMS)?;
    Ok(connection.execute_batch(schema::CREATE_PROJECTIONS)?)
}

/// From format 1: the texts of the records stay as they are, and are chained as they are found.
fn upgrade(connection: &Connection) -> Result<(), StoreFault> {
    connection.execute_batch(schema::DROP_PROJECTIONS)?;
    connection.execute_batch("ALTER TABLE journal RENAME TO journal_1")?;
    connection.execute_batch(schema::CREATE)?;
    connection.execute_batch(schema::CREATE_TERMS)?;
    let mut head = Head::EMPTY;
    let mut before: HashMap<String, ServiceState> = HashMap::new();
    let select = "SELECT service, service_sequence, at_ms, record FROM journal_1 ORDER BY sequence";
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (service, text): (String, String) = (row.get(0)?, row.get(3)?);
        let Account { deployment, actor, reason } = match Record::read(&text) {
            Ok(record) => {
                let state = match before.remove(&service) {
                    Some(state) => state,
                    None => ServiceState::new(schema::service_name(&service)?),
                };
                let account = record.account(&state);
                before.insert(service.clone(), record.state);
                account
            }
            // What is damaged is evidence, too: it is kept, and `verify` names it.
            Err(_) => Account { deployment: None, actor: String::new(), reason: String::new() },
        };
        let link = Link {
            sequence: head.sequence + 1,
            service,
            service_sequence: row.get::<_, i64>(1)?.cast_unsigned(),
            at: row.get::<_, i64>(2)?.cast_unsigned(),
            deployment: deployment.map(String::from),
            actor,
            reason,
            record_hash: record_hash(&text),
        };
        let (previous, hash) = (head.hash, link.hash(&head.hash));
        head = Head { sequence: link.sequence, hash };
        StoredRow { link, previous, hash, record: Some(text) }.insert(connection)?;
    }
    drop(rows);
    drop(statement);
    connection.execute_batch("DROP TABLE journal_1")?;
    project::make_anew(connection)
}
