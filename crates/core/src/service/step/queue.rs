//! One at a time: what becomes of a deployment that is asked for while another is open.
//!
//! A queued deployment is a whole [`Deployment`] that has not started; it is looked at again when its turn comes,
//! for the service it was asked for may be another by then. What fails by itself does not hold up what waits
//! behind it, for that may be its mend. What a person takes back does: whoever rescues wants no surprise a moment
//! later.

use crate::names::DeploymentId;
use crate::release::Release;
use crate::service::deployment::{Deployment, DeploymentKind, Outcome, Stage, Status, StepReport};
use crate::service::event::WhenOpen;
use crate::service::step::draft::Draft;
use crate::service::step::refusal::{Asked, Refusal};
use crate::service::step::undo::Cause;

/// Deployments of one service that may wait.
const LONGEST_QUEUE: usize = 8;

impl Draft {
    /// Decides what a wanted deployment and the open one mean for each other.
    pub(super) fn meet_the_open(
        &mut self,
        wanted: Deployment,
        release: &Release,
        when_open: WhenOpen,
    ) -> Result<(), Refusal> {
        let Some(open) = &self.state.deployment else {
            self.open(wanted, release);
            return Ok(());
        };
        let refused = Refusal::open(Asked::Deploy, &self.state, open);
        let baking = open.is_baking();
        // Nothing may wait behind what no one knows the end of, and nobody overtakes a rescue.
        let may_wait = open.status != Status::Stuck;
        let may_replace = may_wait && open.kind != DeploymentKind::Rollback && open.taken_back_by.is_none();
        match when_open {
            WhenOpen::Queue if may_wait && self.state.queue.len() >= LONGEST_QUEUE => {
                Err(Refusal::QueueFull { length: self.state.queue.len() })
            }
            WhenOpen::Queue if may_wait => {
                self.enqueue(wanted, release, false);
                Ok(())
            }
            WhenOpen::EndBake if baking => {
                self.enqueue(wanted, release, true);
                self.end_bake_early();
                Ok(())
            }
            WhenOpen::Supersede if may_replace => {
                let because = format!("superseded by `{}` (deployment `{}`)", wanted.version, wanted.id);
                self.drop_queue(&because);
                self.enqueue(wanted, release, true);
                if baking {
                    self.end_bake_early();
                } else {
                    self.undo(because, Cause::ByHand);
                }
                Ok(())
            }
            _ => Err(refused),
        }
    }

    fn enqueue(&mut self, mut wanted: Deployment, release: &Release, first: bool) {
        wanted.incoming = Some(Box::new(release.clone()));
        wanted.steps.push(StepReport {
            name: "queue".to_owned(),
            started_at: self.now,
            ended_at: None,
            outcome: None,
            detail: String::new(),
            finding: None,
        });
        let position = if first { 0 } else { self.state.queue.len() };
        self.state.queue.insert(position, wanted);
    }

    /// Opens what waited longest, once nothing is open.
    pub(super) fn start_queued(&mut self) {
        while self.state.deployment.is_none()
            && !self.state.queue.is_empty()
            && self.state.is_contracting().is_ok()
        {
            let queued = self.state.queue.remove(0);
            let Some(release) = queued.incoming.clone() else { continue };
            let live = self.slot(self.state.live).release.as_ref();
            let deployment = Deployment {
                from: live.map(|live| live.version.clone()),
                environment: self.state.idle(),
                ..queued
            };
            if live.is_some_and(|live| live.id == release.id) && self.state.stopped.is_none() {
                self.end_unstarted(deployment, Status::Live, "the identical release was live already");
                continue;
            }
            if let Some(because) = self.may_not_begin(&deployment) {
                self.end_unstarted(deployment, Status::RolledBack, &because);
                continue;
            }
            self.open(deployment, &release);
            self.end_step("queue", Outcome::Passed, "");
        }
    }

    /// Ends everything that waits.
    pub(super) fn drop_queue(&mut self, because: &str) {
        for queued in std::mem::take(&mut self.state.queue) {
            self.end_unstarted(queued, Status::RolledBack, because);
        }
    }

    /// Ends one that waits; whether it did.
    pub(super) fn drop_queued(&mut self, wanted: &DeploymentId, because: &str) -> bool {
        let Some(position) = self.state.queue.iter().position(|queued| queued.id == *wanted) else {
            return false;
        };
        let queued = self.state.queue.remove(position);
        self.end_unstarted(queued, Status::RolledBack, because);
        true
    }

    fn end_unstarted(&mut self, mut deployment: Deployment, status: Status, reason: &str) {
        for report in &mut deployment.steps {
            report.ended_at = Some(self.now);
            report.outcome = Some(if status == Status::Live { Outcome::Passed } else { Outcome::Failed });
        }
        deployment.status = status;
        deployment.stage = Stage::Ended;
        deployment.reason = Some(reason.to_owned());
        deployment.ended_at = Some(self.now);
        deployment.incoming = None;
        self.ended(deployment);
    }
}

impl crate::service::state::ServiceState {
    /// How many deployments come before this one, the open one included; `None` if it does not wait.
    #[must_use]
    pub fn ahead_of(&self, id: &DeploymentId) -> Option<usize> {
        let position = self.queue.iter().position(|queued| queued.id == *id)?;
        Some(position + usize::from(self.deployment.is_some()))
    }
}
