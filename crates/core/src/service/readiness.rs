//! Whether a rollback is possible, how long it would take, and if not, why not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::names::Version;
use crate::service::deployment::{Deployment, DeploymentKind, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Health, ServiceState, Slot};
use crate::timestamp::Timestamp;

/// Assumed for a switch if none was measured yet.
const SWITCH: Duration = Duration::from_millis(100);
/// Assumed for a start if none was measured.
const START: Duration = Duration::from_secs(30);

/// What `status` says about a rollback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether a rollback asked for now would bring a former release back, or leave it live. What is stuck or
    /// under way may accept a rollback too, as another try at its undo.
    pub ready: bool,
    /// The version that would have the traffic afterwards.
    pub to: Option<Version>,
    /// Seconds until it would have it, estimated from the last time.
    pub seconds: f64,
    /// Why it is not ready.
    pub why_not: Option<String>,
    /// Whether that version runs, so that traffic only has to be switched.
    pub warm: bool,
}

/// Where a rollback would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) environment: Environment,
    pub(crate) version: Version,
    pub(crate) warm: bool,
}

/// Why a rollback has nowhere to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoTarget {
    pub(crate) why: String,
}

impl ServiceState {
    /// Whether a rollback asked for at `now` would be accepted, where it would lead and how long it would take.
    #[must_use]
    pub fn rollback_readiness(&self, now: Timestamp) -> Readiness {
        match &self.deployment {
            Some(open) if !open.is_baking() && !open.kind.is_within_live() && !self.is_overtaken(open) => {
                self.readiness_amid(open)
            }
            _ => self.readiness_settled(now),
        }
    }

    fn readiness_settled(&self, now: Timestamp) -> Readiness {
        match self.rollback_target() {
            Ok(target) => Readiness {
                ready: true,
                seconds: self.estimate(&target, now).as_secs_f64(),
                to: Some(target.version),
                why_not: None,
                warm: target.warm,
            },
            Err(NoTarget { why }) => Readiness::not(why),
        }
    }

    /// Before the cutover a rollback takes the deployment back; traffic is where it would go already.
    fn readiness_amid(&self, deployment: &Deployment) -> Readiness {
        let id = &deployment.id;
        match (&deployment.from, deployment.status) {
            (_, Status::Stuck) => {
                let reason = deployment.reason.as_deref().unwrap_or("no reason is known");
                Readiness::not(format!(
                    "deployment `{id}` is stuck ({reason}); a rollback tries to undo it again"
                ))
            }
            (_, Status::RollingBack) => {
                Readiness::not(format!("deployment `{id}` is being taken back already"))
            }
            _ if deployment.kind == DeploymentKind::Rollback => {
                Readiness::not(format!("a rollback to `{}` is under way", deployment.version))
            }
            (None, _) => Readiness::not(format!("deployment `{id}` brings the first release; abort ends it")),
            (Some(from), _) => {
                Readiness { ready: true, to: Some(from.clone()), seconds: 0.0, why_not: None, warm: true }
            }
        }
    }

    fn estimate(&self, target: &Target, now: Timestamp) -> Duration {
        let switch = self.last_switch.unwrap_or(SWITCH);
        if target.warm {
            return switch;
        }
        let slot = &self.environments[target.environment];
        let emptying =
            self.pending.iter().filter(|pending| pending.purpose == Purpose::Clearing(target.environment));
        // Whoever asks for it does not wait for those who last.
        let left = emptying.map(|pending| match pending.effect {
            Effect::Drain { .. } => pending.deadline.since(now).min(self.longest_drain_in_a_hurry()),
            _ => pending.deadline.since(now),
        });
        let left = left.max().unwrap_or_default();
        left + slot.start_took.unwrap_or(START) + switch
    }

    /// Where a rollback would go now: without an open deployment, or in the bake of one.
    ///
    /// What is cold or not well has to be started first: in the bake where it is, afterwards afresh by a
    /// deployment of its own.
    pub(crate) fn rollback_target(&self) -> Result<Target, NoTarget> {
        if let Some(removal) = &self.removal {
            let is = if removal.done { "was" } else { "is being" };
            return Err(NoTarget { why: format!("the service {is} removed") });
        }
        let environment = self.idle();
        let slot = &self.environments[environment];
        let Some(release) = &slot.release else {
            return Err(NoTarget { why: "there is no former release".to_owned() });
        };
        let version = release.version.clone();
        if slot.rolled_back {
            return Err(NoTarget { why: format!("`{version}` was itself taken back") });
        }
        if !slot.passed_gates {
            return Err(NoTarget { why: format!("`{version}` has not passed its gates") });
        }
        if let Some(why) = self.unfit_for_the_schema(release) {
            return Err(NoTarget { why });
        }
        Ok(Target { environment, version, warm: slot.unfit().is_none() })
    }

    /// Whether a rollback asked for now would not undo what is open but be made in its stead: weights are being set,
    /// and the other side is fit to have everything.
    pub(crate) fn is_overtaken(&self, open: &Deployment) -> bool {
        let fit = self.rollback_target().is_ok_and(|target| target.warm);
        open.kind == DeploymentKind::Traffic && open.undo.is_none() && fit
    }

    /// Why the former release could not take the traffic this instant.
    pub(crate) fn former_is_unfit(&self) -> Option<String> {
        self.environments[self.idle()].unfit()
    }

    /// Whether a slot's own instances are being started again.
    pub(crate) fn is_being_restored(&self, environment: Environment) -> bool {
        self.pending.iter().any(|pending| {
            pending.purpose == Purpose::Upkeep
                && matches!(&pending.effect, Effect::Provision { environment: e, .. } if *e == environment)
        })
    }
}

impl Slot {
    /// Why the slot could not take traffic this instant.
    pub(crate) fn unfit(&self) -> Option<String> {
        match &self.health {
            Health::Unhealthy { reason, .. } => Some(reason.clone()),
            _ if self.clearing.is_some() => Some("its instances are being stopped".to_owned()),
            _ if self.instances.is_empty() => Some("it has no instances".to_owned()),
            Health::Unknown | Health::Healthy => None,
        }
    }
}

impl Readiness {
    fn not(why: String) -> Self {
        Self { ready: false, to: None, seconds: 0.0, why_not: Some(why), warm: false }
    }
}
