//! Forgets what need not be kept. What to forget is found on a connection of its own, beside the appends; then it is
//! forgotten in small transactions between them.

use std::path::Path;

use cutover_core::service::Deployment;
use cutover_core::{DeploymentId, ServiceName, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};
use serde::Deserialize;

use crate::journal::record::none_one_or_many;
use crate::journal::retention::{Mention, Thinning};
use crate::journal::sqlite::append::check_term;
use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::{Command, SqliteJournal, Store, open};
use crate::journal::{Journal, JournalError, Pruned, Retention};

/// Records that one transaction thins at most.
const BATCH: usize = 500;

impl SqliteJournal {
    pub(super) async fn prune_all(
        &self,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Pruned, JournalError> {
        let mut pruned = Pruned::default();
        for service in self.services().await? {
            let history = match self.history(&service, usize::MAX).await {
                Ok(history) => history,
                // What cannot be read is evidence, and no reason to let the others grow.
                Err(error) => {
                    tracing::warn!(%service, %error, "nothing of it is forgotten");
                    continue;
                }
            };
            for batch in self.plan(retention, &service, history, now).await?.chunks(BATCH) {
                let batch = batch.to_vec();
                let done = self.ask(|reply| Command::Thin(service.clone(), batch, reply)).await?;
                pruned.thinned += done.thinned;
                pruned.forgotten += done.forgotten;
            }
        }
        Ok(pruned)
    }

    async fn plan(
        &self,
        retention: &Retention,
        service: &ServiceName,
        history: Vec<Deployment>,
        now: Timestamp,
    ) -> Result<Vec<Thinning>, JournalError> {
        let (retention, service, path) = (*retention, service.clone(), self.path.clone());
        let planned = tokio::task::spawn_blocking(move || {
            let records = mentions(&path, &service).map_err(|fault| fault.told(&path))?;
            Ok(retention.plan(&history, &records, now))
        });
        let ended = |error: tokio::task::JoinError| StoreFault::Database(error.to_string()).told(&self.path);
        planned.await.map_err(ended)?
    }
}

/// The whole records of a service. One that cannot be read is evidence: it is not among them, and stays.
fn mentions(path: &Path, service: &ServiceName) -> Result<Vec<Mention>, StoreFault> {
    #[derive(Deserialize)]
    struct Known {
        id: DeploymentId,
    }
    #[derive(Deserialize)]
    struct State {
        deployment: Option<Known>,
        #[serde(default)]
        queue: Vec<Known>,
    }
    #[derive(Deserialize)]
    struct Told {
        #[serde(deserialize_with = "none_one_or_many")]
        closed: Vec<Known>,
        state: State,
    }
    let connection: Connection = open::connect_read_only(path)?;
    let select = "SELECT sequence, at_ms, record FROM journal
         WHERE service = ? AND record IS NOT NULL ORDER BY service_sequence";
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([service.as_str()])?;
    let mut mentions = Vec::new();
    while let Some(row) = rows.next()? {
        let (sequence, at, text): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Ok(told) = serde_json::from_str::<Told>(&text) else { continue };
        mentions.push(Mention {
            sequence: sequence.cast_unsigned(),
            at: Timestamp::from_millis(at.cast_unsigned()),
            closed: told.closed.into_iter().map(|known| known.id).collect(),
            open: told.state.deployment.into_iter().chain(told.state.queue).map(|known| known.id).collect(),
        });
    }
    Ok(mentions)
}

impl Store {
    /// Thins records of a service in one transaction, and forgets the deployments of which nothing whole is left.
    pub(super) fn thin(
        &mut self,
        service: &ServiceName,
        thinning: &[Thinning],
    ) -> Result<Pruned, JournalError> {
        let Self { connection, own, .. } = self;
        let mut thin = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            check_term(&transaction, *own)?;
            let mut pruned = Pruned::default();
            for Thinning { sequence, forgets } in thinning {
                let update = "UPDATE journal SET record = NULL WHERE sequence = ? AND record IS NOT NULL";
                pruned.thinned +=
                    transaction.prepare_cached(update)?.execute([sequence.cast_signed()])? as u64;
                for id in forgets {
                    let delete = "DELETE FROM deployments WHERE service = ? AND id = ?";
                    let parameters = params![service.as_str(), id.as_str()];
                    pruned.forgotten += transaction.prepare_cached(delete)?.execute(parameters)? as u64;
                }
            }
            transaction.commit()?;
            Ok(pruned)
        };
        thin().map_err(|fault: StoreFault| fault.told(&self.path))
    }
}
