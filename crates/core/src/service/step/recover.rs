//! A controller started, or looks again: what was recorded is compared with what is there.
//!
//! The rules, in the order in which they are asked. An undo that was begun goes on, and what was stuck is tried
//! again: a restart is as good as a person's word. Traffic that somebody moved past the controller stays where it
//! was moved to. Before the cutover a deployment resumes if its release and its instances are as recorded, else it
//! is undone. After the cutover it goes forward. What should run and does not is put back; what runs and nobody
//! knows is stopped. The decision and its reason are recorded in one sentence.

use std::collections::BTreeSet;

use crate::environment::Environment;
use crate::epoch::Epoch;
use crate::names::{DeploymentId, InstanceId, ReleaseId};
use crate::service::deployment::{Deployment, Outcome, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::event::ObservedRoute;
use crate::service::state::{Health, Recovery};
use crate::service::step::draft::{Draft, LONGEST_PAUSE};
use crate::service::step::undo::Cause;

/// What is really there.
struct Found<'a> {
    running: BTreeSet<&'a InstanceId>,
    releases: Option<&'a [ReleaseId]>,
}

impl Draft {
    pub(super) fn controller_started(
        &mut self,
        term: u32,
        route: Option<&ObservedRoute>,
        blind: bool,
        running: &[InstanceId],
        releases: Option<&[ReleaseId]>,
    ) {
        let found = Found { running: running.iter().collect(), releases };
        let last_epoch = self.state.epoch;
        let moved = self.moved_by_hand(route);
        // Later looks of the same controller are of the same term.
        let starts = self.state.term < term;
        self.state.term = self.state.term.max(term);
        let observed = route.map_or(Epoch::ZERO, |route| route.epoch);
        self.state.epoch = last_epoch.max(observed);
        let strays: Vec<_> =
            found.running.iter().filter(|id| !self.is_known(id)).map(|id| (**id).clone()).collect();

        let shifting = self.renew_shift();
        if starts {
            self.ask_again();
            self.clip_moments();
        }
        let before = self.turn();
        let mut decisions: Vec<String> =
            moved.map(|to| self.follow_the_hand(to, observed)).into_iter().collect();
        if self.turn() == before {
            decisions.extend(self.go_on_with_deployment(&found, starts));
        }
        decisions.extend(self.put_back(&found.running, starts));
        decisions.extend(self.miss_workers(&found.running));
        // What clients may be sent to is not stopped before they are sent elsewhere.
        let routed_to = |id: &InstanceId| {
            let instances = route.and_then(|route| route.instances.as_ref());
            instances.is_some_and(|routed| Environment::ALL.iter().any(|e| routed[*e].contains(id)))
        };
        let strays: Vec<_> = strays.into_iter().filter(|id| !routed_to(id)).collect();
        if !strays.is_empty() {
            decisions.push(format!("{} that nobody knows are stopped", instances(strays.len())));
        }
        self.retire_strays(strays);
        // What the router has is not what was asked for last: it lost it, or somebody else has been there.
        let astray = !blind && route.is_none_or(|r| r.weights != self.state.weights || r.epoch < last_epoch);
        let astray = astray || route.is_some_and(|route| self.lacks_instances(route, &found.running));
        let routed = self.slot(self.state.live).release.is_some() && self.state.removal.is_none();
        if route.is_some() && self.state.removal.as_ref().is_some_and(|removal| removal.done) {
            self.remove_again();
        }
        if astray && routed && !shifting && !self.is_shifting() {
            let weights = self.state.weights;
            self.publish(Purpose::Upkeep, weights);
            decisions.push("the router is told the route again".to_owned());
        }
        if !decisions.is_empty() {
            self.note_recovery(starts, &decisions.join("; "));
        }
    }

    /// Which deployment is open, and whether it goes back.
    fn turn(&self) -> Option<(DeploymentId, bool, Stage)> {
        let open = self.state.deployment.as_ref()?;
        Some((open.id.clone(), open.undo.is_some(), open.stage))
    }

    /// What becomes of the open deployment, and why, in one sentence; nothing on a mere look that changes nothing.
    fn go_on_with_deployment(&mut self, found: &Found<'_>, starts: bool) -> Option<String> {
        let open = self.state.deployment.clone()?;
        let name = format!("deployment `{}` of `{}`", open.id, open.version);
        if open.status == Status::Stuck {
            // A router that was looked at can be asked again. What cannot be stopped or revived is for a person, who
            // must find it as it was told.
            if !starts && open.stage != Stage::ShiftingBack {
                return None;
            }
            self.undo_again();
            return Some(format!("{name} was stuck: its undo is tried again"));
        }
        if let Some(undo) = &open.undo {
            if open.stage == Stage::Reviving && starts {
                self.revive();
            }
            return starts.then(|| format!("{name} goes on being taken back, because: {}", undo.reason));
        }
        if open.cutover_at.is_some() {
            return starts.then(|| format!("{name} goes forward: traffic had moved before the restart"));
        }
        if let Some(broken) = self.broken(&open, found) {
            let when = if starts { "after a restart of the controller" } else { "when it was looked for" };
            self.undo(format!("{broken} {when}"), Cause::Failure);
            return Some(format!("{name} is taken back: {broken}"));
        }
        starts.then(|| format!("{name} resumes: its release and its instances are as recorded"))
    }

    /// What of an attempt before its cutover is not as recorded. Instances that went away did not pass its gates
    /// with those that would replace them (I2).
    fn broken(&self, open: &Deployment, found: &Found<'_>) -> Option<String> {
        if found.releases.is_some_and(|present| !present.contains(&open.release)) {
            return Some(format!("release `{}` is no longer whole in the store", open.version));
        }
        if open.stage == Stage::Proving {
            let started = open.rounds.iter().flat_map(|round| &round.started);
            let gone = started.into_iter().find(|instance| !found.running.contains(&instance.id));
            return gone.map(|gone| format!("instance `{}` was gone", gone.id));
        }
        if !open.stage.is_before_the_shift() && open.stage != Stage::Shifting {
            return None;
        }
        let slot = self.slot(open.environment);
        let gone = slot.instances.iter().find(|instance| !found.running.contains(&instance.id));
        gone.map(|gone| format!("instance `{}` was gone", gone.id))
    }

    fn put_back(&mut self, running: &BTreeSet<&InstanceId>, starts: bool) -> Vec<String> {
        let mut decisions = Vec::new();
        let live = self.state.live;
        for environment in [live, live.other()] {
            let slot = self.slot(environment);
            let gone = slot.instances.iter().filter(|instance| !running.contains(&instance.id)).count();
            let waits = !starts && self.has_to_wait(environment);
            if gone > 0 && self.is_kept_up(environment) && !waits {
                self.restore(environment);
                decisions.push(format!("{} of {environment} had ended and are put back", instances(gone)));
            }
        }
        decisions
    }

    fn note_recovery(&mut self, starts: bool, decision: &str) {
        self.state.recovery = Some(Recovery { at: self.now, decision: decision.to_owned() });
        if !starts {
            return;
        }
        // One line in the report, however often it was restarted without anything else happening.
        self.revise(|deployment| {
            if deployment.steps.last().is_some_and(|last| last.name == "restart") {
                deployment.steps.pop();
            }
        });
        self.begin_step("restart");
        self.end_step("restart", Outcome::Passed, decision);
    }

    /// A clock that was set back while nobody looked must not make waits longer than they were meant.
    fn clip_moments(&mut self) {
        let now = self.now;
        self.revise(|deployment| {
            let latest = deployment.rollout.hold.map(|hold| now + hold);
            deployment.hold_until = deployment.hold_until.min(latest);
            let latest = now + deployment.rollout.bake;
            deployment.bake_until = deployment.bake_until.map(|until| until.min(latest));
            // Asked too early does no harm.
            deployment.checks.iter_mut().for_each(|check| check.at = check.at.map(|at| at.min(latest)));
        });
        self.state.republish_at = self.state.republish_at.map(|at| at.min(now + LONGEST_PAUSE));
        if let Some(removal) = &mut self.state.removal {
            removal.retry_at = removal.retry_at.map(|at| at.min(now + LONGEST_PAUSE));
        }
        for environment in Environment::ALL {
            let slot = self.slot_mut(environment);
            slot.retry_at = slot.retry_at.map(|at| at.min(now + LONGEST_PAUSE));
            if let Some(leaving) = &mut slot.leaving {
                leaving.retry_at = leaving.retry_at.map(|at| at.min(now + LONGEST_PAUSE));
            }
            let workers = &mut self.state.workers[environment];
            workers.retry_at = workers.retry_at.map(|at| at.min(now + LONGEST_PAUSE));
        }
    }

    /// Whether the router has other instances than it should, and would do better with those. While what it has
    /// serves and what it should have does not, it is left alone.
    fn lacks_instances(&self, route: &ObservedRoute, running: &BTreeSet<&InstanceId>) -> bool {
        let Some(routed) = &route.instances else { return false };
        let wanted = |environment: Environment| {
            let routed = self.slot(environment).routed();
            routed.into_iter().map(|instance| instance.id).collect::<BTreeSet<_>>()
        };
        let differs = |environment: &Environment| {
            routed[*environment].iter().cloned().collect::<BTreeSet<_>>() != wanted(*environment)
        };
        let live = self.state.live;
        let serves = routed[live].iter().any(|id| running.contains(id));
        let is_well = self.slot(live).health == Health::Healthy;
        Environment::ALL.iter().any(differs) && (is_well || !serves)
    }

    pub(super) fn is_shifting(&self) -> bool {
        self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Shift { .. }))
    }

    /// Whether the state knows of an instance: it is in a slot, or part of the open attempt.
    fn is_known(&self, id: &InstanceId) -> bool {
        let comes = |effect: &Effect| match effect {
            Effect::Provision { instances, .. } => instances.contains(id),
            _ => false,
        };
        if self.state.pending.iter().any(|pending| comes(&pending.effect)) {
            return true;
        }
        Environment::ALL.into_iter().any(|environment| {
            let workers = &self.state.workers[environment];
            if workers.asked.iter().any(|worker| worker.id == *id) {
                return true;
            }
            let slot = self.slot(environment);
            let open = self.state.deployment.as_ref();
            let may_run = slot.clearing.is_some() || open.is_some_and(|open| open.has_provisioned(slot));
            let comes = open.is_some_and(|open| open.rounds.iter().any(|round| round.coming.contains(id)));
            let goes = slot.leaving.as_ref().is_some_and(|leaving| leaving.instances.contains(id));
            comes
                || goes
                || slot.instances.iter().any(|instance| instance.id == *id)
                || (may_run && self.state.asked_for(environment).contains(id))
        })
    }

    /// Stops what runs under the service's name and nobody knows: a start that outlived its undo (I5).
    fn retire_strays(&mut self, strays: Vec<InstanceId>) {
        self.forget(|pending| {
            pending.purpose == Purpose::Upkeep && matches!(pending.effect, Effect::Retire { .. })
        });
        if !strays.is_empty() {
            let environment = self.state.idle();
            self.ask(Purpose::Upkeep, Effect::Retire { environment, instances: strays });
        }
    }
}

fn instances(count: usize) -> String {
    format!("{count} instance{}", if count == 1 { "" } else { "s" })
}
