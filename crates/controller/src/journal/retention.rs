//! What may be forgotten, and what never: the audit trail.
//!
//! Of every decision there stay for ever: when, about which service and deployment, who asked, why, and the hashes
//! that chain it. What is forgotten is the rest of its text: the record is *thinned*. Whole records stay of
//!
//! - the newest decision of each service, from which a restart goes on;
//! - the decisions about a deployment that has not ended;
//! - the end of each deployment that is kept: among the newest of its service, or younger than `keep_for`;
//! - every decision that is younger than `keep_for` and about a kept deployment, or none.
//!
//! A deployment of which no whole record is left is in no history any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_core::service::Deployment;
use cutover_core::{DeploymentId, Timestamp};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many deployments of each service are kept whatever their age.
    pub keep_deployments: usize,
    /// Deployments that ended less than this ago are kept however many there are.
    pub keep_for: Duration,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Records of which only the audit trail is left.
    pub thinned: u64,
    /// Deployments that are in no history any more.
    pub forgotten: u64,
}

/// A whole record, as far as retention cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
    pub(super) closed: Vec<DeploymentId>,
    /// What was open after it, or waited.
    pub(super) open: Vec<DeploymentId>,
}

impl Mention {
    fn ids(&self) -> impl Iterator<Item = &DeploymentId> {
        self.closed.iter().chain(&self.open)
    }
}

/// A record to be thinned, and the deployments that nothing whole tells of once it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thinning {
    pub(super) sequence: u64,
    pub(super) forgets: Vec<DeploymentId>,
}

impl Retention {
    /// What to thin of a service: `history` holds its deployments, newest first, `records` its whole records, oldest
    /// first. The answer is in the order of the records.
    pub(super) fn plan(&self, history: &[Deployment], records: &[Mention], now: Timestamp) -> Vec<Thinning> {
        let young = |at: Timestamp| now.since(at) < self.keep_for;
        let kept_at = |(place, deployment): (usize, &Deployment)| {
            place < self.keep_deployments || deployment.ended_at.is_none_or(young)
        };
        let mut kept: BTreeSet<&DeploymentId> = history
            .iter()
            .enumerate()
            .filter(|(place, deployment)| kept_at((*place, deployment)))
            .map(|(_, deployment)| &deployment.id)
            .collect();
        // One that the history does not know was opened after it was read.
        let ended: BTreeSet<&DeploymentId> =
            history.iter().filter(|known| known.ended_at.is_some()).map(|known| &known.id).collect();
        let newest = records.last().map(|record| record.sequence);
        // What a whole record tells of is in the history; then its end must be told too, and so on.
        let whole = loop {
            let stays = |record: &&Mention| {
                Some(record.sequence) == newest
                    || record.closed.iter().any(|id| kept.contains(id))
                    || record.ids().any(|id| !ended.contains(id))
                    || (young(record.at)
                        && (record.ids().next().is_none() || record.ids().any(|id| kept.contains(id))))
            };
            let whole: BTreeSet<u64> = records.iter().filter(stays).map(|record| record.sequence).collect();
            let told =
                records.iter().filter(|record| whole.contains(&record.sequence)).flat_map(Mention::ids);
            let before = kept.len();
            kept.extend(told);
            if kept.len() == before {
                break whole;
            }
        };
        let last_told: BTreeMap<&DeploymentId, u64> =
            records.iter().flat_map(|record| record.ids().map(|id| (id, record.sequence))).collect();
        let thin = records.iter().filter(|record| !whole.contains(&record.sequence));
        let thinning = thin.map(|record| {
            let last =
                |id: &&DeploymentId| !kept.contains(*id) && last_told.get(*id) == Some(&record.sequence);
            Thinning { sequence: record.sequence, forgets: record.ids().filter(last).cloned().collect() }
        });
        thinning.collect()
    }
}
