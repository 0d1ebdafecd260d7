//! Every order of requests, answers, failures, deadlines and crashes, up to a budget of each: the model.
//!
//! States are brought into a canonical form, see [`service_world::canonical`], so that there are finitely many.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use cutover_core::release::RolloutPolicy;
use cutover_core::service::{
    Answer, Deployment, Event, Health, PendingEffect, ServiceState, Status, StopScope, Way, WhenOpen, step,
};
use cutover_core::{Environment, Timestamp};
use service_world::{Outside, canonical, deploy_event, failed, label};
use stateright::{Checker, Model, Property};

/// How often each thing may happen on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Budget {
    deploys: u8,
    rollbacks: u8,
    aborts: u8,
    /// Restarts, scales, stops and shares.
    moves: u8,
    removals: u8,
    /// Rollbacks to a release that is named.
    returns: u8,
    /// Answers that are bad or do not come.
    failures: u8,
    crashes: u8,
    /// Changes of health, and deaths.
    ills: u8,
}

/// A service, what surrounds it, and what is left of the budget.
#[derive(Debug, Clone)]
struct Moment {
    service: ServiceState,
    outside: Outside,
    /// Shifts that nobody waits for and that may still arrive.
    late: Vec<PendingEffect>,
    left: Budget,
    requests: u32,
    /// What the last step violated.
    violation: Option<String>,
    /// How the deployment that the last step closed has ended.
    ended: Option<Status>,
    /// The canonical form, written once.
    key: String,
}

impl Moment {
    fn in_canonical_form(&mut self, time: Timestamp) {
        // More than two that are late at once show nothing that two do not.
        let early = self.late.len().saturating_sub(2);
        self.late.drain(..early);
        canonical::bring(&mut self.service, time, &mut self.outside, &mut self.late);
        self.key = serde_json::to_string(&self.service).unwrap();
        let rest = (&self.outside, &self.late, self.left, self.requests, &self.violation, self.ended);
        write!(self.key, "{rest:?}").unwrap();
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key.hash(hasher);
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Deploy(WhenOpen),
    Rollback,
    RollbackTo(&'static str),
    Remove,
    Promote,
    /// Of the instances of the live slot.
    Restart,
    Scale(u32),
    Stop,
    /// A share for the idle slot, in percent.
    Share(u8),
    Abort,
    /// A way out of what is stuck.
    Resolve(Way),
    /// Done and answered.
    Well(usize),
    /// Not done, and answered so.
    Fails(usize),
    /// Done, but the answer says it was not.
    FailsAfterAll(usize),
    /// The next deadline passes; what was awaited may still be done later.
    Deadline,
    /// A shift arrives that nobody waits for.
    Late(usize),
    Health(Environment, Health),
    /// Workers of live keep ending.
    WorkersEnd,
    /// The controller starts again; meanwhile one instance may have died, or traffic been moved by hand.
    Crash {
        dies: Option<usize>,
        by_hand: bool,
    },
}

struct Service {
    budget: Budget,
    rollout: RolloutPolicy,
    /// The versions that are deployed, in turn.
    versions: [&'static str; 2],
}

fn now() -> Timestamp {
    Timestamp::from_millis(canonical::NOW)
}

impl Service {
    fn event(&self, moment: &mut Moment, action: &Action) -> Event {
        let answered =
            |pending: &PendingEffect, answer| Event::Answered { effect: pending.id.clone(), answer };
        let pending = |index: usize| moment.service.pending[index].clone();
        match action {
            Action::Deploy(when_open) => {
                moment.left.deploys -= 1;
                moment.requests += 1;
                let version = self.versions[(moment.requests as usize - 1) % 2];
                deploy_event(moment.requests, version, self.rollout.clone(), *when_open)
            }
            Action::Rollback => {
                moment.left.rollbacks -= 1;
                moment.requests += 1;
                let deployment = format!("d{}", moment.requests).parse().unwrap();
                Event::RollbackRequested { deployment, actor: String::new() }
            }
            Action::RollbackTo(version) => {
                moment.left.returns -= 1;
                moment.requests += 1;
                let (deployment, actor) = (format!("d{}", moment.requests).parse().unwrap(), String::new());
                let release = Box::new(service_world::release(version));
                Event::RollbackToRequested { deployment, actor, release }
            }
            Action::Remove => {
                moment.left.removals -= 1;
                Event::RemoveRequested { actor: String::new(), end_bake: true }
            }
            Action::Restart | Action::Scale(_) | Action::Stop | Action::Share(_) => {
                moment.left.moves -= 1;
                moment.requests += 1;
                let (deployment, actor) = (format!("d{}", moment.requests).parse().unwrap(), String::new());
                match action {
                    Action::Scale(instances) => {
                        Event::ScaleRequested { deployment, actor, instances: *instances, end_bake: false }
                    }
                    Action::Share(percent) => {
                        service_world::share_event(deployment, &moment.service, *percent)
                    }
                    Action::Stop => service_world::stop_event(actor, StopScope::Service, false),
                    _ => Event::RestartRequested { deployment, actor, end_bake: true },
                }
            }
            Action::Promote => Event::PromoteRequested { deployment: None, actor: String::new() },
            Action::Abort => {
                moment.left.aborts -= 1;
                Event::AbortRequested { actor: String::new(), only_queue: false, deployment: None }
            }
            Action::Resolve(way) => {
                moment.left.aborts -= 1;
                Event::ResolveRequested { actor: String::new(), way: *way }
            }
            Action::Well(index) => {
                let pending = pending(*index);
                answered(&pending, moment.outside.perform(&pending))
            }
            Action::Fails(index) => {
                let pending = pending(*index);
                moment.left.failures -= 1;
                answered(&pending, failed("it broke"))
            }
            Action::FailsAfterAll(index) => {
                let pending = pending(*index);
                moment.left.failures -= 1;
                moment.outside.perform(&pending);
                answered(&pending, failed("it broke"))
            }
            Action::Late(index) => {
                let shift = moment.late.remove(*index);
                answered(&shift, moment.outside.perform(&shift))
            }
            Action::Deadline => {
                let next = moment.service.next_deadline().unwrap_or(now());
                if moment.service.pending.iter().any(|pending| pending.deadline <= next) {
                    moment.left.failures -= 1;
                }
                Event::TimePassed
            }
            Action::Health(environment, health) => {
                moment.left.ills -= 1;
                let instances = &moment.service.environments[*environment].instances;
                let instances = instances.iter().map(|instance| instance.id.clone()).collect();
                Event::HealthChanged { environment: *environment, instances, health: health.clone() }
            }
            Action::WorkersEnd => {
                moment.left.ills -= 1;
                let watched = moment.service.watched_workers().unwrap();
                let (environment, workers) = (watched.environment, watched.workers);
                Event::WorkersChanged { environment, workers, health: service_world::unhealthy() }
            }
            Action::Crash { dies, by_hand } => {
                moment.left.crashes -= 1;
                if *by_hand {
                    moment.outside.move_by_hand();
                }
                if let Some(id) = dies.and_then(|index| moment.outside.running.iter().nth(index).cloned()) {
                    moment.left.ills -= 1;
                    moment.outside.running.remove(&id);
                }
                let running = moment.outside.running.iter().cloned().collect();
                Event::ControllerStarted {
                    term: 1,
                    route: moment.outside.observe(),
                    blind: false,
                    running,
                    releases: None,
                }
            }
        }
    }
}

impl Model for Service {
    type State = Moment;
    type Action = Action;

    fn init_states(&self) -> Vec<Moment> {
        let moment = Moment {
            service: ServiceState::new("shop".parse().unwrap()),
            outside: Outside::default(),
            late: Vec::new(),
            left: self.budget,
            requests: 0,
            violation: None,
            ended: None,
            key: String::new(),
        };
        vec![moment]
    }

    fn actions(&self, moment: &Moment, actions: &mut Vec<Action>) {
        let left = &moment.left;
        if left.deploys > 0 {
            if moment.service.deployment.is_none() {
                actions.push(Action::Deploy(WhenOpen::Refuse));
            } else {
                actions.extend([WhenOpen::Queue, WhenOpen::Supersede, WhenOpen::EndBake].map(Action::Deploy));
            }
        }
        if left.rollbacks > 0 {
            actions.push(Action::Rollback);
        }
        if left.returns > 0 {
            actions.extend(self.versions.map(Action::RollbackTo));
        }
        if left.removals > 0 {
            actions.push(Action::Remove);
        }
        if left.moves > 0 {
            actions.extend([Action::Restart, Action::Scale(1), Action::Scale(2), Action::Stop]);
            actions.extend([0, 30].map(Action::Share));
        }
        if moment.service.deployment.as_ref().is_some_and(Deployment::is_held) {
            actions.push(Action::Promote);
        }
        if left.aborts > 0 {
            actions.push(Action::Abort);
            actions.extend(moment.service.ways_out().into_iter().map(|way| Action::Resolve(way.way)));
        }
        for (index, pending) in moment.service.pending.iter().enumerate() {
            actions.push(Action::Well(index));
            // Nothing depends on how a priority is answered.
            if left.failures > 0 && label(&pending.effect) != "prioritise" {
                actions.push(Action::Fails(index));
                actions.push(Action::FailsAfterAll(index));
            }
        }
        let next = moment.service.next_deadline();
        let expires = moment.service.pending.iter().any(|pending| Some(pending.deadline) <= next);
        if next.is_some() && (left.failures > 0 || !expires) {
            actions.push(Action::Deadline);
        }
        actions.extend((0..moment.late.len()).map(Action::Late));
        if left.ills > 0 {
            for watched in moment.service.watched() {
                actions.push(Action::Health(watched.environment, service_world::unhealthy()));
            }
            if moment.service.watched_workers().is_some() {
                actions.push(Action::WorkersEnd);
            }
        }
        if left.crashes > 0 {
            actions.push(Action::Crash { dies: None, by_hand: false });
            if moment.outside.clone().move_by_hand() {
                actions.push(Action::Crash { dies: None, by_hand: true });
            }
            if left.ills > 0 {
                let running = 0..moment.outside.running.len();
                actions.extend(running.map(|index| Action::Crash { dies: Some(index), by_hand: false }));
            }
        }
    }

    fn next_state(&self, before: &Moment, action: Action) -> Option<Moment> {
        let mut moment = before.clone();
        let event = self.event(&mut moment, &action);
        let time = if action == Action::Deadline { before.service.next_deadline()? } else { now() };
        // A refusal changes nothing.
        let transition = step(&before.service, &event, time).ok()?;
        let state = transition.state.check_invariants();
        let violation = state.and_then(|()| before.service.check_transition(&event, &transition)).err();
        moment.violation =
            violation.map(|violation| violation.to_string()).or_else(|| moment.outside.check().err());
        moment.ended = transition.closed.last().map(|closed| closed.status);
        let answered =
            matches!(&event, Event::Answered { answer, .. } if !matches!(answer, Answer::Failed { .. }));
        let after = &transition.state.pending;
        let dropped =
            before.service.pending.iter().filter(|p| label(&p.effect) == "shift" && !after.contains(p));
        if !answered {
            moment.late.extend(dropped.cloned());
        }
        moment.service = transition.state;
        moment.in_canonical_form(time);
        Some(moment)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the invariants hold, outside and inside", |_, moment: &Moment| {
                moment.violation.is_none()
            }),
            Property::sometimes("a second release is live", |_, moment: &Moment| {
                moment.ended == Some(Status::Live) && moment.requests == 2
            }),
            Property::sometimes("one is taken back", |_, moment: &Moment| {
                moment.ended == Some(Status::RolledBack)
            }),
        ]
    }
}

fn rollout() -> RolloutPolicy {
    RolloutPolicy {
        bake: Duration::from_secs(5),
        standby: Duration::from_secs(5),
        auto_rollback: true,
        hold: None,
        hold_requests: None,
    }
}

#[test]
fn gates_with_failures_in_every_order() {
    let budget = Budget { deploys: 2, ..Budget::default() };
    check_versions(["gated", "gated-2"], Budget { failures: 1, rollbacks: 1, ..budget }, rollout());
    check_versions(["gated", "gated-2"], Budget { failures: 1, aborts: 1, ..budget }, rollout());
}

#[test]
fn gates_with_crashes_and_deaths_in_every_order() {
    let budget = Budget { deploys: 2, ..Budget::default() };
    check_versions(["gated", "v2"], Budget { crashes: 1, ills: 1, ..budget }, rollout());
    check_versions(["v1", "gated"], Budget { crashes: 1, rollbacks: 1, ..budget }, rollout());
}

fn check(budget: Budget, rollout: RolloutPolicy) {
    check_versions(["v1", "v2"], budget, rollout);
}

fn check_versions(versions: [&'static str; 2], budget: Budget, rollout: RolloutPolicy) {
    let checker = Service { budget, rollout, versions }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
}

#[test]
fn requests_and_failures_in_every_order() {
    check(
        Budget { deploys: 2, rollbacks: 1, aborts: 1, failures: 2, crashes: 0, ills: 0, ..Budget::default() },
        rollout(),
    );
}

#[test]
fn crashes_and_deaths_in_every_order() {
    check(
        Budget { deploys: 2, rollbacks: 1, aborts: 0, failures: 1, crashes: 1, ills: 1, ..Budget::default() },
        rollout(),
    );
}

#[test]
fn a_hold_before_the_switch_in_every_order() {
    let hold = RolloutPolicy { hold: Some(Duration::from_secs(60)), ..rollout() };
    check(
        Budget { deploys: 2, rollbacks: 1, aborts: 1, failures: 0, crashes: 1, ills: 1, ..Budget::default() },
        hold,
    );
}

#[test]
fn a_switch_inside_a_hold_in_every_order() {
    let quiet = RolloutPolicy { hold_requests: Some(Duration::from_secs(60)), ..rollout() };
    let budget = Budget { deploys: 2, ..Budget::default() };
    check(Budget { rollbacks: 1, aborts: 1, crashes: 1, ..budget }, quiet.clone());
    check(Budget { failures: 2, ills: 1, ..budget }, quiet.clone());
    check_versions(["gated", "v2"], Budget { failures: 1, crashes: 1, ..budget }, quiet);
}

#[test]
fn restarts_scales_and_stops_in_every_order() {
    let budget = Budget { moves: 2, ..Budget::default() };
    check(Budget { deploys: 1, failures: 1, crashes: 1, ..budget }, rollout());
    check(Budget { deploys: 2, rollbacks: 1, aborts: 1, moves: 1, ..budget }, rollout());
    check(Budget { deploys: 1, aborts: 1, ills: 1, crashes: 1, ..budget }, rollout());
}

#[test]
fn a_share_for_the_idle_slot_in_every_order() {
    let budget = Budget { deploys: 2, moves: 1, ..Budget::default() };
    check(Budget { rollbacks: 1, failures: 1, ..budget }, rollout());
    check(Budget { crashes: 1, ills: 1, ..budget }, rollout());
    check(Budget { aborts: 1, failures: 2, ..budget }, rollout());
    check(Budget { moves: 2, crashes: 1, ..budget }, rollout());
}

#[test]
fn a_removal_in_every_order() {
    let budget = Budget { deploys: 2, removals: 1, ..Budget::default() };
    check(Budget { failures: 2, ..budget }, rollout());
    check(Budget { moves: 1, failures: 1, ..budget }, rollout());
    check(Budget { crashes: 1, ills: 1, ..budget }, rollout());
    check(Budget { rollbacks: 1, aborts: 1, crashes: 1, ..budget }, rollout());
    check_versions(["mixed", "mixed-2"], Budget { crashes: 1, ..budget }, rollout());
}

#[test]
fn a_rollback_to_a_named_release_in_every_order() {
    let budget = Budget { deploys: 2, returns: 1, ..Budget::default() };
    check(Budget { rollbacks: 1, failures: 2, ..budget }, rollout());
    check(Budget { aborts: 1, crashes: 1, ..budget }, rollout());
    check(Budget { removals: 1, failures: 1, ..budget }, rollout());
}

#[test]
fn a_move_beside_the_end_of_a_standby_with_failures_in_every_order() {
    check(Budget { deploys: 2, moves: 1, failures: 1, ..Budget::default() }, rollout());
}

#[test]
fn the_same_without_auto_rollback_bake_and_standby() {
    let rollout = RolloutPolicy {
        bake: Duration::ZERO,
        standby: Duration::ZERO,
        auto_rollback: false,
        hold: None,
        hold_requests: None,
    };
    check(
        Budget { deploys: 2, rollbacks: 1, aborts: 1, failures: 1, crashes: 1, ills: 0, ..Budget::default() },
        rollout,
    );
}

#[test]
fn workers_of_two_releases_with_failures_in_every_order() {
    let budget =
        Budget { deploys: 2, rollbacks: 1, aborts: 0, failures: 1, crashes: 0, ills: 0, ..Budget::default() };
    check_versions(["mixed", "mixed-2"], budget, rollout());
}

#[test]
fn workers_of_two_releases_with_crashes_in_every_order() {
    let budget =
        Budget { deploys: 2, rollbacks: 1, aborts: 0, failures: 0, crashes: 1, ills: 0, ..Budget::default() };
    check_versions(["mixed", "mixed-2"], budget, rollout());
}

#[test]
fn workers_that_may_not_overlap_and_end_in_every_order() {
    let budget =
        Budget { deploys: 2, rollbacks: 1, aborts: 0, failures: 0, crashes: 1, ills: 1, ..Budget::default() };
    check_versions(["exclusive", "overlapping"], budget, rollout());
}
