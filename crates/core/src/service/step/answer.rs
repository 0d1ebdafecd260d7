//! Answers to effects. What nobody waits for any more is ignored, whatever it says.

use crate::environment::Environment;
use crate::gates::Finding;
use crate::receipt::Receipt;
use crate::routing::ServiceRoute;
use crate::service::deployment::{DeploymentKind, Outcome, Stage};
use crate::service::effect::{Answer, Effect, EffectId, PendingEffect, Purpose};
use crate::service::state::Clearing;
use crate::service::step::draft::{Draft, RETRY_PAUSE};
use crate::service::step::line::are_the_same;
use crate::service::step::undo::Cause;

impl Draft {
    pub(super) fn answered(&mut self, id: &EffectId, answer: &Answer) {
        let Some(position) = self.state.pending.iter().position(|pending| pending.id == *id) else {
            return;
        };
        if !self.state.pending[position].is_answered_by(answer) {
            return;
        }
        let pending = self.state.pending.remove(position);
        match (&pending.effect, answer) {
            (Effect::Provision { environment, instances: asked, .. }, Answer::Provisioned { instances }) => {
                match pending.purpose {
                    Purpose::Upkeep if are_the_same(asked, instances) => {
                        self.restored(*environment, instances)
                    }
                    Purpose::Upkeep => self.not_restored(*environment, "other instances were started"),
                    _ if self.deployment_at(Stage::Adding).is_some() => self.added(asked, instances),
                    _ if self.deployment_at(Stage::Reviving).is_none() => self.provisioned(asked, instances),
                    _ if are_the_same(asked, instances) => self.revived(*environment, instances),
                    _ => self.not_revived("other instances were started"),
                }
            }
            (Effect::AwaitHealthy { .. }, Answer::Healthy { detail })
                if self.deployment_at(Stage::Reviving).is_some() =>
            {
                self.former_became_healthy(detail);
            }
            (Effect::AwaitHealthy { .. }, Answer::Healthy { detail })
                if self.deployment_at(Stage::Proving).is_some() =>
            {
                self.proved(detail);
            }
            (Effect::AwaitHealthy { .. }, Answer::Healthy { detail }) => self.became_healthy(detail),
            (Effect::Shift { route }, Answer::Shifted { receipt }) => {
                self.shifted(pending.purpose, route, receipt);
            }
            (Effect::Drain { .. }, Answer::Drained { left }) => {
                let held = if *left == 0 { String::new() } else { format!("{left} still under way") };
                self.drained(pending.purpose, Outcome::Passed, *left, &held);
            }
            (Effect::Retire { environment, .. }, Answer::Retired)
                if pending.purpose == Purpose::Clearing(*environment) =>
            {
                self.cleared(*environment);
            }
            (Effect::StartWorkers { environment, workers, .. }, Answer::WorkersStarted) => {
                self.workers_started(*environment, workers);
            }
            (Effect::StopWorkers { environment, workers }, Answer::WorkersStopped) => {
                self.workers_stopped(*environment, workers);
            }
            (Effect::StartWorkers { environment, .. }, Answer::Failed { reason, last_lines }) => {
                self.workers_not_started(*environment, reason, last_lines);
            }
            (Effect::StopWorkers { environment, .. }, Answer::Failed { reason, .. }) => {
                self.workers_not_stopped(*environment, reason);
            }
            (Effect::Unroute { .. }, Answer::Unrouted) => self.unrouted_for_good(),
            (Effect::Unroute { .. }, Answer::Failed { .. }) => self.not_unrouted(),
            (Effect::Retire { environment, .. }, Answer::Retired)
                if pending.purpose == Purpose::Leaving(*environment) =>
            {
                self.have_left(*environment);
            }
            (Effect::RunGate { gate, context, .. }, answer) => {
                // Whoever asked it for an answer got none: nobody knows.
                let finding = match answer {
                    Answer::Judged { finding } => (**finding).clone().in_short(),
                    Answer::Failed { reason, .. } => Finding::not_yet(reason.clone()),
                    _ => return,
                };
                self.judged(pending.purpose, gate, &context.deployment, finding);
            }
            (_, Answer::Failed { reason, last_lines }) => {
                if pending.purpose == Purpose::Deployment && !last_lines.is_empty() {
                    self.revise(|deployment| deployment.last_lines.clone_from(last_lines));
                }
                self.failed(&pending, reason);
            }
            _ => {}
        }
    }

    fn drained(&mut self, purpose: Purpose, outcome: Outcome, left: u64, detail: &str) {
        match purpose {
            Purpose::Deployment if self.deployment_at(Stage::Quieting).is_some() => {
                self.quieted(outcome, left, detail);
            }
            // Only told: traffic has moved, and the old environment stays warm whatever it still holds.
            Purpose::Deployment => self.end_step("drain", outcome, detail),
            // A clearing waits for no one for ever.
            Purpose::Clearing(environment) => self.cleared_to(environment, Clearing::Unrouting),
            Purpose::Leaving(environment) => self.left_to(environment, Clearing::Retiring),
            Purpose::Upkeep | Purpose::Trailing => {}
        }
    }

    fn shifted(&mut self, purpose: Purpose, route: &ServiceRoute, receipt: &Receipt) {
        if receipt.weights != route.weights {
            let weights = receipt.weights;
            let reason = format!(
                "the router has other weights than asked for: blue {} %, green {} %",
                weights.of(Environment::Blue),
                weights.of(Environment::Green)
            );
            return self.shift_failed(purpose, &reason);
        }
        self.state.epoch = self.state.epoch.max(receipt.epoch);
        self.state.weights = route.weights;
        self.pace_the_standby();
        if purpose == Purpose::Deployment {
            let open = self.state.deployment.as_ref();
            match open.map(|open| (open.stage, open.kind)) {
                Some((Stage::Shifting, DeploymentKind::Traffic)) => self.weights_are_set(receipt),
                Some((Stage::Admitting, _)) => self.admitted(),
                Some((Stage::Quieting, _)) => self.held_requests(),
                Some((Stage::Shifting, _)) => self.cut_over(receipt),
                Some((Stage::ShiftingBack, _)) => self.shifted_back(receipt),
                _ => {}
            }
        }
        if self.deployment_at(Stage::Exchanging).is_some() {
            self.revise(|deployment| deployment.receipts.push(receipt.clone()));
        }
        self.unrouted();
        self.unrouted_what_leaves();
        self.go_on_contracting(true);
    }

    fn failed(&mut self, pending: &PendingEffect, reason: &str) {
        match (&pending.effect, pending.purpose) {
            (Effect::Shift { .. }, purpose) => self.shift_failed(purpose, reason),
            (Effect::Drain { .. }, purpose) => self.drained(purpose, Outcome::Failed, 0, reason),
            (Effect::Provision { environment, .. }, Purpose::Upkeep) => {
                self.not_restored(*environment, reason);
            }
            (Effect::Provision { .. } | Effect::AwaitHealthy { .. }, _)
                if self.deployment_at(Stage::Reviving).is_some() =>
            {
                self.not_revived(reason);
            }
            (Effect::Provision { .. } | Effect::AwaitHealthy { .. }, _) => {
                self.undo(reason.to_owned(), Cause::Failure);
            }
            (Effect::Retire { environment, .. }, Purpose::Clearing(_)) => {
                self.clearing_failed(*environment, reason);
            }
            (Effect::Retire { .. }, Purpose::Leaving(environment)) => {
                self.leaving_failed(environment, reason);
            }
            // Priorities are a kindness, strays are looked for again at the next start, and workers have an answer
            // of their own.
            (
                Effect::Retire { .. }
                | Effect::Prioritise { .. }
                | Effect::RunGate { .. }
                | Effect::Unroute { .. }
                | Effect::StartWorkers { .. }
                | Effect::StopWorkers { .. },
                _,
            ) => {}
        }
    }

    fn shift_failed(&mut self, purpose: Purpose, reason: &str) {
        self.unrouting_failed(reason);
        match purpose {
            Purpose::Deployment if self.deployment_at(Stage::ShiftingBack).is_some() => {
                self.get_stuck("traffic could not be moved back", reason);
            }
            Purpose::Deployment => self.undo(reason.to_owned(), Cause::Failure),
            Purpose::Clearing(_) | Purpose::Leaving(_) | Purpose::Trailing => {}
            Purpose::Upkeep => self.state.republish_at = Some(self.now + RETRY_PAUSE),
        }
    }

    fn not_revived(&mut self, reason: &str) {
        self.get_stuck("its former release could not be brought back to health", reason);
    }
}

impl PendingEffect {
    /// Whether an answer can be one to this effect. A receipt of an older epoch is not: the shift was asked for
    /// again under the same id by a controller that started since.
    fn is_answered_by(&self, answer: &Answer) -> bool {
        match (&self.effect, answer) {
            (Effect::Shift { route }, Answer::Shifted { receipt }) => {
                receipt.service == route.name && Some(receipt.epoch) >= route.epoch
            }
            (Effect::Provision { .. }, Answer::Provisioned { .. })
            | (Effect::AwaitHealthy { .. }, Answer::Healthy { .. })
            | (Effect::Drain { .. }, Answer::Drained { .. })
            | (Effect::Retire { .. }, Answer::Retired)
            | (Effect::StartWorkers { .. }, Answer::WorkersStarted)
            | (Effect::StopWorkers { .. }, Answer::WorkersStopped)
            | (Effect::Prioritise { .. }, Answer::Prioritised)
            | (Effect::RunGate { .. }, Answer::Judged { .. })
            | (Effect::Unroute { .. }, Answer::Unrouted)
            | (_, Answer::Failed { .. }) => true,
            _ => false,
        }
    }
}
