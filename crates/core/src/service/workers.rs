//! Programs without HTTP that run beside the instances of what is live: queue consumers, schedulers.
//!
//! They have no route, no gate and no warmth. They run for one release at a time unless both releases say that
//! theirs may overlap, so a job is never worked on by two versions by surprise.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::names::{InstanceId, WorkerName};
use crate::service::effect::{Effect, PendingEffect};
use crate::service::state::{Health, ServiceState};
use crate::timestamp::Timestamp;

/// One running copy of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerInstance {
    /// Which worker of its release.
    pub worker: WorkerName,
    /// Its id; tells the worker's name.
    pub id: InstanceId,
    /// Whether it may run beside workers of another release that say the same.
    pub overlap: bool,
    /// After this time it is killed when it is stopped.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
}

/// The workers of one slot's releases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Workers {
    /// Those that were asked to run and are not known to have stopped.
    pub asked: Vec<WorkerInstance>,
    /// Of these, those whose start was answered, and that nobody has asked to stop or missed since.
    pub started: BTreeSet<InstanceId>,
    /// Of these, those that are stopped, and started afresh if they are wanted then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outworn: BTreeSet<InstanceId>,
    /// What their watch says, or why they could not be started.
    pub health: Health,
    /// Why they could not be stopped, until they are.
    pub trouble: Option<String>,
    /// When starting or stopping is tried again.
    pub retry_at: Option<Timestamp>,
    /// How often that was tried in vain.
    pub tries: u32,
}

/// Workers that shall be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedWorkers {
    /// The slot.
    pub environment: Environment,
    /// Who; never nobody.
    pub workers: Vec<InstanceId>,
}

impl ServiceState {
    /// The workers that shall run now: those of the release that is live, unless the service was stopped.
    ///
    /// The ids follow from the deployment that brought the release, so they are the same whenever they are asked for.
    #[must_use]
    pub fn wanted_workers(&self) -> Vec<WorkerInstance> {
        if self.stopped.is_some() {
            return Vec::new();
        }
        let slot = &self.environments[self.live];
        let (Some(release), Some(deployment)) = (&slot.release, &slot.deployed_by) else {
            return Vec::new();
        };
        let (service, environment) = (&self.name, self.live);
        let each = release.configuration.workers.iter().flat_map(|(name, worker)| {
            (1..=worker.instances.max(1)).map(move |n| WorkerInstance {
                worker: name.clone(),
                id: InstanceId::try_from(format!("{service}-{environment}-{deployment}-{name}-{n}"))
                    .unwrap_or_else(|_| unreachable!("a label each and a number are printable and short")),
                overlap: worker.overlap,
                stop_timeout: worker.stop_timeout,
            })
        });
        each.collect()
    }

    /// The workers that are to be watched: those of the live slot, once they were started.
    ///
    /// The first conclusion counts as a change and has to be told.
    #[must_use]
    pub fn watched_workers(&self) -> Option<WatchedWorkers> {
        let workers: Vec<_> = self.workers[self.live].started.iter().cloned().collect();
        let watched = !workers.is_empty() && !self.workers_are_changing(self.live);
        watched.then_some(WatchedWorkers { environment: self.live, workers })
    }

    /// Whether workers of a slot are being started or stopped.
    #[must_use]
    pub fn workers_are_changing(&self, environment: Environment) -> bool {
        self.pending.iter().any(|pending| pending.changes_workers_of(environment))
    }

    /// Whether exactly those run that shall, as far as is known.
    #[must_use]
    pub fn workers_are_settled(&self) -> bool {
        let wanted = self.wanted_workers();
        let live = &self.workers[self.live];
        self.workers[self.idle()].asked.is_empty()
            && live.asked.len() == wanted.len()
            && live.outworn.is_empty()
            && wanted.iter().all(|worker| live.started.contains(&worker.id))
    }
}

impl PendingEffect {
    fn changes_workers_of(&self, wanted: Environment) -> bool {
        match &self.effect {
            Effect::StartWorkers { environment, .. } | Effect::StopWorkers { environment, .. } => {
                *environment == wanted
            }
            _ => false,
        }
    }
}
