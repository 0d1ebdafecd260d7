//! The wait for a person between the other gates and the shift.
//!
//! Until somebody promotes it the new release has not passed its gates: it is in no route, so that nobody can send
//! traffic to it past the one who decides. It is watched meanwhile, and loses its turn with its health.

use std::time::Duration;

use crate::names::DeploymentId;
use crate::service::deployment::{Deployment, Outcome, Stage, Status};
use crate::service::state::Health;
use crate::service::step::draft::Draft;
use crate::service::step::refusal::{Held, Refusal};
use crate::service::step::undo::Cause;

impl Draft {
    /// Begins to wait for a promote.
    pub(super) fn hold(&mut self, hold: Duration) {
        let until = self.now + hold;
        self.revise(|deployment| {
            deployment.stage = Stage::AwaitingPromotion;
            deployment.hold_until = Some(until);
        });
        self.begin_step("promote");
    }

    pub(super) fn promote_requested(
        &mut self,
        wanted: Option<&DeploymentId>,
        actor: &str,
    ) -> Result<(), Refusal> {
        let open = self.state.deployment.as_ref();
        let open =
            open.ok_or_else(|| Refusal::NothingToPromote { why: "no deployment is open".to_owned() })?;
        if let Some(other) = wanted.filter(|wanted| **wanted != open.id) {
            let why = format!("deployment `{other}` is not open, `{}` of `{}` is", open.id, open.version);
            return Err(Refusal::NothingToPromote { why });
        }
        if !open.is_held() {
            let is_past = match open.stage {
                Stage::Quieting => open.rollout.hold.is_some(),
                stage => matches!(stage, Stage::Shifting | Stage::Baking),
            };
            let promoted = is_past && open.undo.is_none();
            // Told twice is told once.
            if promoted && wanted.is_some() {
                return Ok(());
            }
            return Err(Refusal::NothingToPromote { why: open.why_not_held() });
        }
        let environment = open.environment;
        self.end_step("promote", Outcome::Passed, format!("by {actor}"));
        self.revise(|deployment| deployment.hold_until = None);
        if !self.needs_quiet() {
            self.pass_gates(environment);
        }
        Ok(())
    }

    /// Nobody promoted it in time.
    pub(super) fn end_hold(&mut self) {
        let Some(hold) = self.deployment_at(Stage::AwaitingPromotion).and_then(|held| held.rollout.hold)
        else {
            return;
        };
        let reason = format!("nobody promoted it within {}", humantime::format_duration(hold));
        // No fault of the release: it is not kept for inspection.
        self.undo(reason, Cause::ByHand);
    }

    /// What waits and is not well any more is not what passed its other gates.
    pub(super) fn weigh_health_of_the_held(&mut self) {
        let proving = self.state.deployment.as_ref().filter(|d| d.undo.is_none() && d.stage.is_proving());
        let Some(held) = proving else { return };
        let meanwhile =
            if held.is_held() { "while it waited to be promoted" } else { "before it had passed its gates" };
        if let Health::Unhealthy { reason, last_lines } = &self.slot(held.environment).health {
            let (reason, last_lines) = (format!("lost health {meanwhile}: {reason}"), last_lines.clone());
            self.revise(|deployment| deployment.last_lines = last_lines);
            self.undo(reason, Cause::Failure);
        }
    }
}

impl Deployment {
    /// Whether nothing but a person's promote is awaited.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.stage == Stage::AwaitingPromotion && self.undo.is_none()
    }

    /// How long a person's promote is awaited, while it is.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        let since = self.steps.iter().rev().find(|report| report.name == "promote")?.started_at;
        self.hold_until.filter(|_| self.is_held()).map(|until| Held { since, until })
    }

    fn why_not_held(&self) -> String {
        let (id, version) = (&self.id, &self.version);
        match (self.status, self.stage) {
            (_, Stage::Shifting | Stage::Baking) if self.undo.is_none() => {
                format!("deployment `{id}` of `{version}` waits for nobody: it is `{}`", self.status.label())
            }
            (Status::RollingBack | Status::Stuck, _) => {
                let reason = self.reason.as_deref().unwrap_or("no reason is known");
                format!("deployment `{id}` of `{version}` is being taken back: {reason}")
            }
            _ if self.rollout.hold.is_some() => {
                format!("deployment `{id}` of `{version}` has not passed its other gates yet")
            }
            _ => format!("deployment `{id}` of `{version}` goes on by itself once it has passed its gates"),
        }
    }
}
