//! What is not needed any more is removed: never what is live, warm, wanted or referenced.

use std::collections::BTreeSet;

use cutover_core::service::{Effect, ServiceState};
use cutover_core::{InstanceId, ReleaseId};

use crate::journal::{JournalError, Pruned, Retention};
use crate::manager::DeploymentManager;
use crate::ports::KeepReleases;

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Of the journal.
    pub history: Retention,
    /// Of each service.
    pub releases: KeepReleases,
    /// Ended instances of each service whose logs are kept.
    pub ended_instances: usize,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tidied {
    /// Of the journal.
    pub history: Pruned,
    /// Releases.
    pub releases: usize,
    /// Uploads that belong to no release.
    pub uploads: usize,
    /// Directories of ended instances.
    pub instances: usize,
}

impl DeploymentManager {
    /// Removes what is older than what shall be kept: first what needs no record, for the disk may be full. What
    /// cannot be removed is logged and tried again next time.
    ///
    /// # Errors
    /// If the journal cannot be tidied; the rest is done.
    pub async fn tidy(&self, keep: &Keep) -> Result<Tidied, JournalError> {
        let mut tidied = Tidied::default();
        if let Err(reason) = self.common.ports.mandate.holds() {
            tracing::warn!(reason, "nothing is removed");
            return Ok(tidied);
        }
        let mut known = Vec::new();
        for snapshot in &self.services().await {
            let state = &snapshot.state;
            known.extend(state.instances_in_use());
            // Of a service that cannot be read nobody knows what it needs.
            if snapshot.sequence > 0 && *state == ServiceState::new(state.name.clone()) {
                continue;
            }
            let needed: Vec<ReleaseId> = state.releases_in_use().into_iter().cloned().collect();
            // Nothing goes back to what was removed.
            let gone = state.removal.as_ref().is_some_and(|removal| removal.done);
            let keep = if gone { KeepReleases { count: 0, ..keep.releases } } else { keep.releases };
            match self.common.ports.releases.prune(&state.name, &needed, keep).await {
                Ok(removed) => tidied.releases += removed,
                Err(error) => tracing::warn!(service = %state.name, %error, "old releases are left"),
            }
        }
        match self.common.ports.releases.prune_uploads().await {
            Ok(removed) => tidied.uploads = removed,
            Err(error) => tracing::warn!(%error, "old uploads are left"),
        }
        match self.common.ports.executor.prune(&known, keep.ended_instances).await {
            Ok(removed) => tidied.instances = removed,
            Err(error) => tracing::warn!(%error, "what ended instances left behind is left"),
        }
        let now = self.common.ports.clock.now();
        tidied.history = self.common.journal.prune(&keep.history, now).await?;
        Ok(tidied)
    }
}

/// What a state refers to.
pub(super) trait InUse {
    /// The releases of its slots and of its deployments, and those that a command runs with or a gate is asked of.
    fn releases_in_use(&self) -> BTreeSet<&ReleaseId>;
    fn instances_in_use(&self) -> Vec<InstanceId>;
}

impl InUse for ServiceState {
    fn releases_in_use(&self) -> BTreeSet<&ReleaseId> {
        let slots = self.environments.iter().map(|(_, slot)| slot);
        let open = self.deployment.iter().chain(&self.queue);
        let displaced = open.clone().filter_map(|deployment| deployment.displaced.as_ref());
        let held = slots.chain(displaced).filter_map(|slot| slot.release.as_ref().map(|release| &release.id));
        let run =
            self.commands.iter().filter(|command| command.ended.is_none()).map(|command| &command.release);
        // What trails may be of a release that is in no slot any more.
        let asked = self.pending.iter().map(|pending| &pending.effect).chain(&self.to_trail);
        let asked = asked.filter_map(|effect| match effect {
            Effect::RunGate { release, .. } => Some(&release.id),
            _ => None,
        });
        held.chain(open.map(|deployment| &deployment.release)).chain(run).chain(asked).collect()
    }

    fn instances_in_use(&self) -> Vec<InstanceId> {
        let slots = self.environments.iter().flat_map(|(_, slot)| &slot.instances);
        let asked = self.pending.iter().flat_map(|pending| match &pending.effect {
            Effect::Provision { instances, .. } | Effect::Retire { instances, .. } => instances.as_slice(),
            _ => &[],
        });
        let leaving = self.environments.iter().filter_map(|(_, slot)| slot.leaving.as_ref());
        let leaving = leaving.flat_map(|leaving| &leaving.instances);
        let rounds = self.deployment.iter().flat_map(|open| &open.rounds);
        let coming = rounds.flat_map(|round| &round.coming);
        let known = asked.chain(leaving).chain(coming);
        let workers = self.workers.iter().flat_map(|(_, workers)| &workers.asked);
        let workers = workers.map(|worker| worker.id.clone());
        slots.map(|instance| instance.id.clone()).chain(known.cloned()).chain(workers).collect()
    }
}
