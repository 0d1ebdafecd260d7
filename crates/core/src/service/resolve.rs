//! The ways out of a deployment that is stuck, for the person who has to choose.

use serde::{Deserialize, Serialize};

use crate::service::deployment::{Deployment, DeploymentKind, Stage, Status};
use crate::service::state::ServiceState;

/// A way out of `stuck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Try the part of the undo again that failed.
    Retry,
    /// Give up the undo: the release that was being taken back stays live.
    Keep,
    /// End the deployment as failed and leave what could not be undone.
    Abandon,
}

/// A way with what it means for this service now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayOut {
    /// Which.
    pub way: Way,
    /// What is done, in one sentence.
    pub does: String,
    /// What follows from it, in one sentence.
    pub consequence: String,
}

impl Way {
    /// The word used in files, JSON and on the command line.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Keep => "keep",
            Self::Abandon => "abandon",
        }
    }
}

impl ServiceState {
    /// The ways out of what is stuck, the least harmful first; none if nothing is.
    #[must_use]
    pub fn ways_out(&self) -> Vec<WayOut> {
        let Some(stuck) = self.deployment.as_ref().filter(|open| open.status == Status::Stuck) else {
            return Vec::new();
        };
        Way::of(stuck).iter().map(|way| self.explain(*way, stuck)).collect()
    }

    fn explain(&self, way: Way, stuck: &Deployment) -> WayOut {
        let (version, environment) = (&stuck.version, stuck.environment);
        let from = stuck.from.as_ref().map_or_else(|| "no release".to_owned(), |from| format!("`{from}`"));
        let old = environment.other();
        let (does, consequence) = match (way, stuck.stage) {
            (Way::Retry, Stage::ShiftingBack) => (
                format!("asks the router again to send everything to {old}"),
                format!(
                    "{from} has the traffic if it answers; if not, this stays stuck and nothing has changed"
                ),
            ),
            (Way::Retry, Stage::Reviving) => (
                format!("starts {from} on {old} again and waits for its health"),
                format!("traffic goes back to it once it is healthy; until then `{version}` serves"),
            ),
            (Way::Retry, _) => (
                format!("stops the instances on {environment} again"),
                "the deployment ends as rolled back if they end; traffic is not touched".to_owned(),
            ),
            (Way::Keep, _) => (
                format!("gives up the undo; `{version}` on {environment} stays live"),
                format!(
                    "what it was being taken back for still holds; {from} stays on {old} and a rollback to it can \
                     be asked for again"
                ),
            ),
            (Way::Abandon, Stage::ShiftingBack) => (
                "ends the deployment as failed; the instances on both sides are left running".to_owned(),
                format!(
                    "until the router answers nobody knows whether {old} or {environment} serves; it is told to \
                     serve from {old} as soon as it does"
                ),
            ),
            (Way::Abandon, _) => {
                let left = self.asked_for(environment).len();
                (
                    "ends the deployment as failed without waiting for its instances".to_owned(),
                    format!(
                        "what still runs of them ({left} were started) holds memory and ports until it can be \
                         stopped, which is tried again by itself; traffic is not touched, and what {environment} \
                         held before is not put back"
                    ),
                )
            }
        };
        let next = self.queue.first().filter(|_| way != Way::Retry);
        let consequence = match next {
            Some(next) => format!("{consequence}; then `{}`, which waits, begins at once", next.version),
            None => consequence,
        };
        WayOut { way, does, consequence }
    }
}

impl Way {
    /// The ways that fit where a deployment is stuck.
    pub(crate) fn of(stuck: &Deployment) -> &'static [Self] {
        match (stuck.stage, stuck.cutover_at.is_some()) {
            // All to live is where it ends either way, and nothing on the other side is to be given up.
            _ if stuck.kind == DeploymentKind::Traffic => &[Self::Retry],
            (Stage::Reviving, _) | (Stage::ShiftingBack, true) => &[Self::Retry, Self::Keep],
            _ => &[Self::Retry, Self::Abandon],
        }
    }
}
