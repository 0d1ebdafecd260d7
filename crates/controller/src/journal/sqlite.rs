//! The journal in SQLite, on a thread of its own.
//!
//! `journal` is the truth; `latest` and `deployments` are projections that could be dropped and made again from it.
//! Appends that wait while one is written are committed together.
//!
//! Reading order: `schema` is what a file holds, `open` opens it and brings it up to date, `append` writes, `project`
//! keeps the projections, `read` answers, `reserve` is what a full disk leaves for rescue, `prune` forgets; `verify`
//! and `transfer` work on the file from outside, also while a controller runs.

mod append;
mod fault;
mod file;
mod open;
mod project;
mod prune;
pub(super) mod read;
mod reserve;
mod schema;
pub(super) mod transfer;
pub(super) mod verify;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use cutover_core::service::Deployment;
use cutover_core::{ServiceName, Timestamp};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::journal::retention::Thinning;
use crate::journal::{Importance, Journal, JournalError, Latest, Pruned, Record, Retention};
use append::Append;
use fault::StoreFault;
use file::FileIdentity;
use reserve::Reserve;

/// The journal of a state directory. Clones are the same handle: they share its term.
#[derive(Debug, Clone)]
pub struct SqliteJournal {
    commands: mpsc::Sender<Command>,
    path: PathBuf,
}

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

enum Command {
    BeginTerm(Reply<u32>),
    Append(Append),
    Latest(ServiceName, Reply<Option<Latest>>),
    Services(Reply<Vec<ServiceName>>),
    LastMoment(Reply<Option<Timestamp>>),
    History(ServiceName, usize, Reply<Vec<Deployment>>),
    Thin(ServiceName, Vec<Thinning>, Reply<Pruned>),
    Probe(Reply<()>),
}

/// A disk that does not answer by then is told of; what was asked for may still be done, and is found then.
const PATIENCE: Duration = Duration::from_secs(15);

impl SqliteJournal {
    /// Opens or makes the journal `path`, and the reserve beside it. What an older version wrote is brought up to
    /// date. If the disk is full, what is needed is taken from the reserve.
    ///
    /// # Errors
    /// [`JournalError::Newer`] if a newer version wrote it, [`JournalError::Full`] if the disk is full and nothing is
    /// left of the reserve, [`JournalError::Unusable`] otherwise.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let mut reserve = Reserve::beside(path);
        let connection = reserve.at_any_cost(|| open::connect(path)).map_err(|fault| fault.told(path))?;
        if let Err(error) = reserve.make_whole() {
            tracing::warn!(%error, "the disk space that is kept for rescue is not there; new decisions wait for it");
        }
        let file = FileIdentity::of(path).map_err(|error| StoreFault::from(error).told(path))?;
        let store = Store { connection, path: path.to_owned(), file, own: 0, reserve };
        let (commands, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let started = thread.spawn(move || store.serve(&queue));
        started.map_err(|error| StoreFault::Database(error.to_string()).told(path))?;
        Ok(Self { commands, path: path.to_owned() })
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        // Both errors mean that the thread is gone, which the answer tells.
        let _ = self.commands.send(command(reply));
        let told = |why: String| StoreFault::Database(why).told(&self.path);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(told("its thread has ended".to_owned()))),
            Err(_) => Err(told(format!(
                "its disk has not answered for {} s; `cutover rollback --break-glass` needs no disk",
                PATIENCE.as_secs()
            ))),
        }
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
        importance: Importance,
    ) -> Result<u64, JournalError> {
        let (service, record) = (service.clone(), Box::new(record));
        self.ask(|reply| Command::Append(Append { service, expected, record, importance, reply })).await
    }

    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        self.ask(|reply| Command::Latest(service.clone(), reply)).await
    }

    async fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        self.ask(Command::Services).await
    }

    async fn last_moment(&self) -> Result<Option<Timestamp>, JournalError> {
        self.ask(Command::LastMoment).await
    }

    async fn probe(&self) -> Result<(), JournalError> {
        self.ask(Command::Probe).await
    }

    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        self.ask(|reply| Command::History(service.clone(), limit, reply)).await
    }

    async fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, JournalError> {
        self.prune_all(retention, now).await
    }
}

/// What the journal's thread owns.
struct Store {
    connection: Connection,
    path: PathBuf,
    /// What was opened, in case somebody deletes it.
    file: FileIdentity,
    /// The term that this handle began last.
    own: u32,
    reserve: Reserve,
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
            Command::Append(first) => return self.append_with_those_that_wait(first, queue),
            Command::BeginTerm(reply) => drop(reply.send(self.begin_term())),
            Command::Latest(service, reply) => drop(reply.send(self.latest(&service))),
            Command::Services(reply) => drop(reply.send(self.services())),
            Command::LastMoment(reply) => drop(reply.send(self.last_moment())),
            Command::History(service, limit, reply) => drop(reply.send(self.history(&service, limit))),
            Command::Probe(reply) => drop(reply.send(self.probe())),
            Command::Thin(service, thinning, reply) => drop(reply.send(self.thin(&service, &thinning))),
        }
        None
    }
}
