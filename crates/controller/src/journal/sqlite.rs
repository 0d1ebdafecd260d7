//! The journal in SQLite, on a thread of its own.
//!
//! `journal` is the truth; `deployments` is a projection that could be dropped and made again from it. Appends
//! that wait while one is written are committed together.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;

use async_trait::async_trait;
use cutover_core::ServiceName;
use cutover_core::service::Deployment;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::journal::{Journal, JournalError, Latest, Record};

/// Format of the file, kept in SQLite's `user_version`.
const SCHEMA: i64 = 1;
/// Appends that one commit makes durable at most.
const GROUP: usize = 64;

const CREATE: &str = "
    CREATE TABLE journal (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        service TEXT NOT NULL,
        service_sequence INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (service, service_sequence)
    );
    CREATE TABLE terms (term INTEGER PRIMARY KEY);
    PRAGMA user_version = 1;
";

/// The projection: each deployment as the newest record about it has it.
const CREATE_PROJECTION: &str = "
    CREATE TABLE deployments (
        service TEXT NOT NULL,
        id TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        deployment TEXT NOT NULL,
        PRIMARY KEY (service, id)
    );
";

/// The journal of a state directory.
#[derive(Debug, Clone)]
pub struct SqliteJournal {
    commands: mpsc::Sender<Command>,
    path: String,
}

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

enum Command {
    BeginTerm(Reply<u32>),
    Append(Append),
    Latest(ServiceName, Reply<Option<Latest>>),
    Services(Reply<Vec<ServiceName>>),
    History(ServiceName, usize, Reply<Vec<Deployment>>),
}

struct Append {
    service: ServiceName,
    expected: u64,
    record: Box<Record>,
    reply: Reply<u64>,
}

impl SqliteJournal {
    /// Opens or makes the journal `path`.
    ///
    /// # Errors
    /// [`JournalError::Newer`] if a newer version wrote it, [`JournalError::Unusable`] otherwise.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let name = path.display().to_string();
        let store = Store { connection: connect(path, &name)?, path: name.clone() };
        let (commands, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let started = thread.spawn(move || store.serve(&queue));
        started.map_err(|error| JournalError::Unusable { path: name.clone(), reason: error.to_string() })?;
        Ok(Self { commands, path: name })
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        // Both errors mean that the thread is gone, which the answer tells.
        let _ = self.commands.send(command(reply));
        let gone =
            || JournalError::Unusable { path: self.path.clone(), reason: "its thread has ended".to_owned() };
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn begin_term(&self) -> Result<u32, JournalError> {
        self.ask(Command::BeginTerm).await
    }

    async fn append(
        &self,
        service: &ServiceName,
        expected: u64,
        record: Record,
    ) -> Result<u64, JournalError> {
        let service = service.clone();
        self.ask(|reply| Command::Append(Append { service, expected, record: Box::new(record), reply })).await
    }

    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        self.ask(|reply| Command::Latest(service.clone(), reply)).await
    }

    async fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        self.ask(Command::Services).await
    }

    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        self.ask(|reply| Command::History(service.clone(), limit, reply)).await
    }
}

fn connect(path: &Path, name: &str) -> Result<Connection, JournalError> {
    let unusable =
        |error: rusqlite::Error| JournalError::Unusable { path: name.to_owned(), reason: error.to_string() };
    // Configurations and the last lines of applications are not for everybody; SQLite gives the mode on to its
    // other files.
    let created = std::fs::File::options().create(true).append(true).mode(0o600).open(path);
    created.map_err(|error| JournalError::Unusable { path: name.to_owned(), reason: error.to_string() })?;
    let connection = Connection::open(path).map_err(unusable)?;
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unusable)?;
    if found > SCHEMA {
        return Err(JournalError::Newer { path: name.to_owned(), found, known: SCHEMA });
    }
    let prepare = || {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        if found == 0 {
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {CREATE} COMMIT;"))?;
        }
        Ok(())
    };
    prepare().map_err(unusable)?;
    project_anew(&connection)
        .map_err(|fault| JournalError::Unusable { path: name.to_owned(), reason: fault.to_string() })?;
    Ok(connection)
}

/// Makes the projection from the journal if it is not there.
fn project_anew(connection: &Connection) -> Result<(), AppendFault> {
    let select = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'deployments'";
    if connection.query_row(select, [], |row| row.get::<_, i64>(0))? > 0 {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(CREATE_PROJECTION)?;
    let mut records = transaction.prepare("SELECT service, record FROM journal ORDER BY sequence")?;
    let mut rows = records.query([])?;
    while let Some(row) = rows.next()? {
        let (service, record): (String, String) = (row.get(0)?, row.get(1)?);
        project(&transaction, &service, &serde_json::from_str(&record)?)?;
    }
    drop(rows);
    drop(records);
    Ok(transaction.commit()?)
}

struct Store {
    connection: Connection,
    path: String,
}

/// An error on the way of one append: this one's own, or everybody's.
#[derive(Debug, thiserror::Error)]
enum AppendFault {
    #[error(transparent)]
    Conflict(JournalError),
    #[error("{0}")]
    Database(String),
}

impl From<rusqlite::Error> for AppendFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<serde_json::Error> for AppendFault {
    fn from(error: serde_json::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl Store {
    fn serve(mut self, queue: &mpsc::Receiver<Command>) {
        while let Ok(command) = queue.recv() {
            let mut next = Some(command);
            while let Some(command) = next.take() {
                next = self.obey(command, queue);
            }
        }
    }

    /// Obeys a command; answers the one that ended a group of appends, if one did.
    ///
    /// A reply that nobody waits for any more is dropped on purpose: the record stands all the same.
    fn obey(&mut self, command: Command, queue: &mpsc::Receiver<Command>) -> Option<Command> {
        match command {
            Command::Append(first) => {
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
                return next;
            }
            Command::BeginTerm(reply) => drop(reply.send(self.begin_term().map_err(|e| self.unusable(&e)))),
            Command::Latest(service, reply) => drop(reply.send(self.latest(&service))),
            Command::Services(reply) => drop(reply.send(self.services())),
            Command::History(service, limit, reply) => drop(reply.send(self.history(&service, limit))),
        }
        None
    }

    fn append(&mut self, group: Vec<Append>) {
        match self.commit(&group) {
            Ok(results) => {
                for (append, result) in group.into_iter().zip(results) {
                    let _ = append.reply.send(result);
                }
            }
            Err(reason) => {
                for append in group {
                    let _ = append.reply.send(Err(self.unusable(&reason)));
                }
            }
        }
    }

    /// Writes a group in one transaction; a conflict of one is that one's alone.
    fn commit(&mut self, group: &[Append]) -> Result<Vec<Result<u64, JournalError>>, String> {
        let immediate = TransactionBehavior::Immediate;
        let transaction =
            self.connection.transaction_with_behavior(immediate).map_err(|error| error.to_string())?;
        let mut results = Vec::with_capacity(group.len());
        for append in group {
            match write(&transaction, append) {
                Ok(sequence) => results.push(Ok(sequence)),
                Err(AppendFault::Conflict(conflict)) => results.push(Err(conflict)),
                Err(AppendFault::Database(reason)) => return Err(reason),
            }
        }
        transaction.commit().map_err(|error| error.to_string())?;
        Ok(results)
    }

    fn begin_term(&mut self) -> Result<u32, String> {
        let insert = "INSERT INTO terms SELECT coalesce(max(term), 0) + 1 FROM terms RETURNING term";
        self.connection.query_row(insert, [], |row| row.get(0)).map_err(|error| error.to_string())
    }

    fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        let select = "SELECT service_sequence, record FROM journal WHERE service = ? ORDER BY service_sequence DESC LIMIT 1";
        let row = self
            .connection
            .query_row(select, [service.as_str()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })
            .optional()
            .map_err(|error| self.unusable(&error.to_string()))?;
        let Some((sequence, text)) = row else { return Ok(None) };
        let record: Record = self.parse(&text)?;
        Ok(Some(Latest { sequence: sequence.cast_unsigned(), state: record.state }))
    }

    fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        let names = self.column("SELECT DISTINCT service FROM journal ORDER BY service", params![])?;
        names
            .into_iter()
            .map(|name| name.parse().map_err(|error| self.unusable(&format!("{error}"))))
            .collect()
    }

    fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        // In the order they were opened: the host's clock may have been set back between two.
        let select = "SELECT deployment FROM deployments WHERE service = ? ORDER BY rowid DESC LIMIT ?";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let texts = self.column(select, params![service.as_str(), limit])?;
        texts.iter().map(|text| self.parse(text)).collect()
    }

    fn column(&self, select: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<String>, JournalError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(select)?;
            let rows = statement.query_map(parameters, |row| row.get(0))?;
            rows.collect::<Result<Vec<String>, _>>()
        };
        read().map_err(|error| self.unusable(&error.to_string()))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, JournalError> {
        serde_json::from_str(text)
            .map_err(|error| self.unusable(&format!("a record cannot be read: {error}")))
    }

    fn unusable(&self, reason: &str) -> JournalError {
        JournalError::Unusable { path: self.path.clone(), reason: reason.to_owned() }
    }
}

fn write(transaction: &Transaction<'_>, append: &Append) -> Result<u64, AppendFault> {
    let Append { service, expected, record, .. } = append;
    let select = "SELECT coalesce(max(service_sequence), 0) FROM journal WHERE service = ?";
    let found: i64 = transaction.prepare_cached(select)?.query_row([service.as_str()], |row| row.get(0))?;
    let found = found.cast_unsigned();
    if found != *expected {
        let conflict = JournalError::Conflict { service: service.clone(), expected: *expected, found };
        return Err(AppendFault::Conflict(conflict));
    }
    let next = found + 1;
    let insert = "INSERT INTO journal (service, service_sequence, at_ms, record) VALUES (?, ?, ?, ?)";
    let at = record.at.as_millis().cast_signed();
    transaction.prepare_cached(insert)?.execute(params![
        service.as_str(),
        next.cast_signed(),
        at,
        serde_json::to_string(record)?
    ])?;
    project(transaction, service.as_str(), record)?;
    Ok(next)
}

/// Takes into the projection what a record says about deployments.
fn project(connection: &Connection, service: &str, record: &Record) -> Result<(), AppendFault> {
    for deployment in record.deployments() {
        let upsert = "INSERT INTO deployments (service, id, started_ms, deployment) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET deployment = excluded.deployment";
        let started = deployment.started_at.as_millis().cast_signed();
        let text = serde_json::to_string(deployment)?;
        let id = deployment.id.as_str();
        connection.prepare_cached(upsert)?.execute(params![service, id, started, text])?;
    }
    Ok(())
}
