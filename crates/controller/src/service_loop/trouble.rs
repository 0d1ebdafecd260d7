//! What could not be recorded: whether it was all the same, whether the trouble is over, and what is told of it.

use std::sync::Arc;

use cutover_core::ServiceName;
use cutover_core::service::{Deployment, ServiceState};

use crate::journal::JournalError;
use crate::service_loop::{ServiceLoop, Snapshot, Unfulfilled};

impl ServiceLoop {
    /// After an append that failed, asks the journal whether it was recorded all the same: then what it decided
    /// holds, and what it asked for is begun.
    pub(super) async fn make_certain(&mut self) -> Result<(), Unfulfilled> {
        if !self.uncertain {
            return Ok(());
        }
        let name = self.snapshot.state.name.clone();
        let latest = match self.journal.latest(&name).await {
            Ok(latest) => latest.filter(|latest| latest.sequence != self.snapshot.sequence),
            Err(error) => {
                self.note_trouble(&name, &error);
                return Err(error.into());
            }
        };
        let Some(latest) = latest else {
            // That it can be read says nothing of whether it can be written: the trouble stays.
            self.uncertain = false;
            return Ok(());
        };
        let last_closed = self.closed_by(&latest.state).await?;
        self.uncertain = false;
        let (sequence, state) = (latest.sequence, latest.state);
        self.snapshot =
            Arc::new(Snapshot { sequence, state, last_closed, waiting_for: None, journal_trouble: None });
        self.publish.send_replace(Arc::clone(&self.snapshot));
        self.changed.notify_one();
        self.forget_what_nobody_awaits();
        for pending in self.snapshot.state.pending.clone() {
            self.start(pending);
        }
        self.watches.follow(&self.snapshot.state, &self.ports, &self.events);
        Ok(())
    }

    /// The deployment that ended last, if `state` is what came of a decision that seemed lost.
    pub(super) async fn closed_by(&self, state: &ServiceState) -> Result<Option<Deployment>, JournalError> {
        let before = self.snapshot.state.deployment.as_ref().map(|deployment| &deployment.id);
        let gone = before.filter(|id| state.deployment.as_ref().is_none_or(|now| now.id != **id));
        let Some(gone) = gone else { return Ok(self.snapshot.last_closed.clone()) };
        // A decision may end the open one and what waits behind it.
        let latest = self.journal.history(&state.name, 32).await?;
        Ok(latest.into_iter().find(|deployment| deployment.id == *gone))
    }

    /// What could not be recorded is not forgotten before something could be.
    pub(super) async fn look_whether_the_trouble_is_over(&mut self) {
        if self.snapshot.journal_trouble.is_none() || self.uncertain || !self.unrecorded.is_empty() {
            return;
        }
        match self.journal.probe().await {
            Ok(()) => self.revise(|snapshot| snapshot.journal_trouble = None),
            Err(error) => self.revise(|snapshot| snapshot.journal_trouble = Some(error.to_string())),
        }
    }

    pub(super) fn note_trouble(&mut self, name: &ServiceName, error: &JournalError) {
        tracing::error!(service = %name, %error, "a decision could not be recorded and was not taken");
        if matches!(error, JournalError::Superseded { .. }) {
            self.deposed = true;
            self.deposing.send_replace(Some(error.to_string()));
        }
        self.revise(|snapshot| snapshot.journal_trouble = Some(error.to_string()));
    }
}
