//! Whatever happens in whatever order, the invariants hold, and in the end nothing is left hanging.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use cutover_core::gates::Finding;
use cutover_core::release::RolloutPolicy;
use cutover_core::routing::{Hold, Pause};
use cutover_core::service::{
    Answer, Clearing, Deployment, Effect, Event, Health, PendingEffect, ServiceState, Stage, Status,
    StopScope, Way, WhenOpen, step,
};
use cutover_core::{Environment, InstanceId};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, proptest};
use service_world::{World, deploy_event, failed, rollout};
use std::collections::BTreeSet;
use std::time::Duration;

/// One thing that happens; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Happening {
    Deploy { version: u8, bake: bool, standby: bool, auto_rollback: bool, waits: u8, when_open: u8 },
    Promote { exactly: bool },
    RestartInstances { end_bake: bool },
    Scale { instances: u8, end_bake: bool },
    Stop { idle: bool },
    Share { percent: u8 },
    Remove,
    RollbackTo(u8),
    Rollback,
    Abort,
    AbortQueue,
    Resolve(u8),
    ByHand,
    Well(u8),
    Fails(u8),
    FailsAfterAll(u8),
    Late(u8),
    Repeated(u8),
    Deadline,
    Time(u16),
    Dies(u8),
    Health { blue: bool, healthy: bool },
    Workers { healthy: bool },
    Contract,
    Pause { seconds: u8 },
    NotPassed { choice: u8, fails: bool },
    Restart { term: u8, remembers_route: bool },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..7_u8, any::<bool>(), any::<bool>(), any::<bool>(), prop_oneof![4 => Just(0_u8), 1 => 1..4_u8], 0..4_u8).prop_map(
            |(version, bake, standby, auto_rollback, waits, when_open)| Happening::Deploy {
                version, bake, standby, auto_rollback, waits, when_open
            }
        ),
        1 => any::<bool>().prop_map(|exactly| Happening::Promote { exactly }),
        2 => any::<bool>().prop_map(|end_bake| Happening::RestartInstances { end_bake }),
        2 => (0..4_u8, any::<bool>()).prop_map(|(instances, end_bake)| Happening::Scale { instances, end_bake }),
        1 => any::<bool>().prop_map(|idle| Happening::Stop { idle }),
        3 => prop_oneof![Just(0_u8), Just(20), Just(60), Just(100)].prop_map(|percent| Happening::Share { percent }),
        1 => Just(Happening::Remove),
        1 => (0..5_u8).prop_map(Happening::RollbackTo),
        1 => Just(Happening::Rollback),
        1 => Just(Happening::Abort),
        1 => Just(Happening::AbortQueue),
        2 => (0..3_u8).prop_map(Happening::Resolve),
        1 => Just(Happening::ByHand),
        16 => any::<u8>().prop_map(Happening::Well),
        1 => any::<u8>().prop_map(Happening::Fails),
        1 => any::<u8>().prop_map(Happening::FailsAfterAll),
        1 => any::<u8>().prop_map(Happening::Late),
        1 => any::<u8>().prop_map(Happening::Repeated),
        2 => Just(Happening::Deadline),
        1 => any::<u16>().prop_map(Happening::Time),
        1 => any::<u8>().prop_map(Happening::Dies),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(blue, healthy)| Happening::Health { blue, healthy }),
        1 => any::<bool>().prop_map(|healthy| Happening::Workers { healthy }),
        1 => Just(Happening::Contract),
        1 => (0..60_u8).prop_map(|seconds| Happening::Pause { seconds }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(choice, fails)| Happening::NotPassed { choice, fails }),
        2 => (0..4_u8, any::<bool>()).prop_map(|(term, remembers_route)| Happening::Restart {
            term, remembers_route
        }),
    ]
}

/// A world, and what was asked for in it: deeds may be done long after nobody waits for them.
struct History {
    world: World,
    asked: Vec<PendingEffect>,
    requests: u32,
}

impl History {
    fn happens(&mut self, event: &Event) {
        if let Ok(transition) = self.world.happens(event) {
            self.asked.extend(transition.effects);
        }
    }

    fn next_id(&mut self) -> cutover_core::DeploymentId {
        self.requests += 1;
        format!("d{}", self.requests).parse().unwrap()
    }

    fn pending(&self, choice: u8) -> Option<PendingEffect> {
        let pending = &self.world.state.pending;
        (!pending.is_empty()).then(|| pending[usize::from(choice) % pending.len()].clone())
    }

    fn answer(&mut self, pending: &PendingEffect, answer: Answer) {
        self.happens(&Event::Answered { effect: pending.id.clone(), answer });
    }

    fn take(&mut self, happening: &Happening) {
        match happening {
            Happening::Deploy { version, bake, standby, auto_rollback, waits, when_open } => {
                self.requests += 1;
                let policy = RolloutPolicy {
                    bake: if *bake { Duration::from_secs(10) } else { Duration::ZERO },
                    standby: if *standby { Duration::from_secs(60) } else { Duration::ZERO },
                    auto_rollback: *auto_rollback,
                    // For a person, for requests to end, or for both.
                    hold: (waits % 2 == 1).then_some(Duration::from_secs(30)),
                    hold_requests: (*waits >= 2).then_some(Duration::from_secs(20)),
                };
                let when_open = [WhenOpen::Refuse, WhenOpen::Queue, WhenOpen::Supersede, WhenOpen::EndBake]
                    [usize::from(*when_open)];
                let version =
                    ["v0", "v1", "exclusive", "overlapping", "mixed", "gated", "all"][usize::from(*version)];
                self.happens(&deploy_event(self.requests, version, policy, when_open));
            }
            Happening::Rollback => {
                self.requests += 1;
                let deployment = format!("d{}", self.requests).parse().unwrap();
                self.happens(&Event::RollbackRequested { deployment, actor: String::new() });
            }
            Happening::RestartInstances { end_bake } => {
                let (deployment, actor) = (self.next_id(), String::new());
                self.happens(&Event::RestartRequested { deployment, actor, end_bake: *end_bake });
            }
            Happening::Scale { instances, end_bake } => {
                let (deployment, actor) = (self.next_id(), String::new());
                let (instances, end_bake) = ((*instances).into(), *end_bake);
                self.happens(&Event::ScaleRequested { deployment, actor, instances, end_bake });
            }
            Happening::Stop { idle } => {
                let scope = if *idle { StopScope::Idle } else { StopScope::Service };
                self.happens(&service_world::stop_event(String::new(), scope, true));
            }
            Happening::Remove => {
                self.happens(&Event::RemoveRequested { actor: String::new(), end_bake: false })
            }
            Happening::Share { percent } => {
                let deployment = self.next_id();
                self.happens(&service_world::share_event(deployment, &self.world.state, *percent));
            }
            Happening::RollbackTo(version) => {
                let (deployment, actor) = (self.next_id(), String::new());
                let release = Box::new(service_world::release(&format!("v{version}")));
                self.happens(&Event::RollbackToRequested { deployment, actor, release });
            }
            Happening::Promote { exactly } => {
                let open = self.world.state.deployment.as_ref().filter(|_| *exactly);
                let deployment = open.map(|open| open.id.clone());
                self.happens(&Event::PromoteRequested { deployment, actor: String::new() });
            }
            Happening::Abort => self.happens(&Event::AbortRequested {
                actor: String::new(),
                only_queue: false,
                deployment: None,
            }),
            Happening::AbortQueue => {
                self.happens(&Event::AbortRequested {
                    actor: String::new(),
                    only_queue: true,
                    deployment: None,
                });
            }
            Happening::Resolve(choice) => {
                let way = [Way::Retry, Way::Keep, Way::Abandon][usize::from(*choice)];
                self.happens(&Event::ResolveRequested { actor: String::new(), way });
            }
            Happening::ByHand => {
                // A controller that lives looks every few seconds; here it does so at once.
                let before = self.world.state.clone();
                if self.world.outside.move_by_hand() {
                    self.take(&Happening::Restart { term: 0, remembers_route: true });
                    self.hand_is_obeyed(&before);
                }
            }
            Happening::Well(choice) => {
                let Some(pending) = self.pending(*choice) else {
                    return;
                };
                let answer = self.world.outside.perform(&pending);
                self.answer(&pending, answer);
            }
            Happening::Fails(choice) => {
                let Some(pending) = self.pending(*choice) else {
                    return;
                };
                self.answer(&pending, failed("it broke"));
            }
            Happening::FailsAfterAll(choice) => {
                let Some(pending) = self.pending(*choice) else {
                    return;
                };
                self.world.outside.perform(&pending);
                self.answer(&pending, failed("the connection broke before the answer"));
            }
            Happening::Late(choice) | Happening::Repeated(choice) => {
                if self.asked.is_empty() {
                    return;
                }
                let again = self.asked[usize::from(*choice) % self.asked.len()].clone();
                // A shift is fenced by its epoch. Starts and stops are kept in order by the one who performs
                // them, so only their answers come again.
                let fenced = matches!(again.effect, Effect::Shift { .. });
                let answer = if fenced {
                    self.world.outside.perform(&again)
                } else {
                    self.world.outside.clone().perform(&again)
                };
                let pending = self.world.state.pending.iter().any(|pending| pending.id == again.id);
                if fenced || !pending {
                    self.answer(&again, answer);
                }
            }
            Happening::Deadline => {
                if let Some(next) = self.world.state.next_deadline() {
                    self.world.now = self.world.now.max(next);
                    self.happens(&Event::TimePassed);
                }
            }
            Happening::Time(seconds) => {
                self.world.now = self.world.now + Duration::from_secs((*seconds).into());
                self.happens(&Event::TimePassed);
            }
            Happening::Dies(choice) => {
                let running = &mut self.world.outside.running;
                if let Some(id) = running.iter().nth(usize::from(*choice) % running.len().max(1)).cloned() {
                    running.remove(&id);
                }
            }
            Happening::Health { blue, healthy } => {
                let environment = if *blue { Environment::Blue } else { Environment::Green };
                let health = if *healthy { Health::Healthy } else { service_world::unhealthy() };
                let instances = self.world.slot(environment).instances.iter().map(|i| i.id.clone()).collect();
                self.happens(&Event::HealthChanged { environment, instances, health });
            }
            Happening::Workers { healthy } => {
                let Some(watched) = self.world.state.watched_workers() else { return };
                let health = if *healthy { Health::Healthy } else { service_world::unhealthy() };
                let (environment, workers) = (watched.environment, watched.workers);
                self.happens(&Event::WorkersChanged { environment, workers, health });
            }
            Happening::Pause { seconds } => {
                let until = self.world.now + Duration::from_secs(u64::from(*seconds));
                let pause = (*seconds > 0).then(|| Pause::Hold(Hold::until(until)));
                self.happens(&Event::PauseRequested { actor: "carol".to_owned(), pause });
            }
            Happening::Contract => {
                let live = self.world.slot(self.world.state.live).release.as_ref();
                let Some(release) = live.map(|release| release.id.clone()) else { return };
                self.happens(&Event::ContractRequested { actor: String::new(), release });
            }
            Happening::NotPassed { choice, fails } => {
                let gates: Vec<_> = self
                    .world
                    .state
                    .pending
                    .iter()
                    .filter(|pending| matches!(pending.effect, Effect::RunGate { .. }))
                    .cloned()
                    .collect();
                let Some(gate) = gates.get(usize::from(*choice) % gates.len().max(1)) else { return };
                let finding = if *fails { Finding::fail("no") } else { Finding::not_yet("nobody knows") };
                self.answer(gate, service_world::judged(finding));
            }
            Happening::Restart { term, remembers_route } => {
                if !remembers_route {
                    // A router that lost its fence cannot know an old shift; none may be on its way to it.
                    self.world.outside.route = None;
                    self.asked.retain(|asked| service_world::label(&asked.effect) != "shift");
                }
                let running = self.world.outside.running.iter().cloned().collect();
                let route = self.world.outside.observe();
                self.happens(&Event::ControllerStarted {
                    term: (*term).into(),
                    route,
                    blind: false,
                    running,
                    releases: None,
                });
            }
        }
    }

    /// Whatever is asked for next, it does not move traffic away from where a person sent it, if that may serve.
    fn hand_is_obeyed(&self, before: &ServiceState) {
        let to = self.world.outside.route.as_ref().unwrap().weights.sole().unwrap();
        let slot = &before.environments[to];
        let undone = |open: &Deployment| {
            let home = if open.cutover_at.is_some() { open.environment.other() } else { before.live };
            open.undo.is_some() && home != to
        };
        let untried = |open: &Deployment| {
            open.cutover_at.is_none() && open.environment == to && open.stage != Stage::Shifting
        };
        let open = before.deployment.as_ref();
        // What was on its way when the hand moved arrives after it, and is newer.
        let on_its_way = before.pending.iter().any(|pending| matches!(pending.effect, Effect::Shift { .. }));
        // So is one that was given up under a later epoch: the hand did not know of it.
        let given_up =
            self.world.outside.route.as_ref().is_some_and(|route| route.epoch < Some(before.epoch));
        let may_not_serve = on_its_way
            || given_up
            || before.removal.is_some()
            || slot.rolled_back
            || slot.clearing == Some(Clearing::Retiring)
            || slot.instances.is_empty()
            || open.is_some_and(|open| undone(open) || untried(open) && open.stage != Stage::Vacating);
        if may_not_serve {
            return;
        }
        let state = &self.world.state;
        let next = state.pending.iter().find_map(|pending| match &pending.effect {
            Effect::Shift { route } => route.weights.sole(),
            _ => None,
        });
        assert_eq!(next.or(state.weights.sole()), Some(to), "the hand is not obeyed: {:?}", state.recovery);
    }

    /// From here on everything goes well. A person aborts what is stuck; the rest has to end by itself.
    fn comes_to_rest(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..300 {
            if let Some(pending) = self.pending(0) {
                let mut answer = self.world.outside.perform(&pending);
                if let Effect::AwaitHealthy { instances, .. } = &pending.effect {
                    // What died in the meantime cannot become healthy; that is an answer too.
                    if !instances.iter().all(|i| self.world.outside.running.contains(&i.id)) {
                        answer = failed("it does not run");
                    }
                }
                self.answer(&pending, answer);
            } else if self.world.state.deployment.as_ref().is_some_and(|open| open.status == Status::Stuck) {
                self.happens(&Event::AbortRequested {
                    actor: String::new(),
                    only_queue: false,
                    deployment: None,
                });
            } else if let Some(next) = self.world.state.next_deadline() {
                self.world.now = self.world.now.max(next);
                self.happens(&Event::TimePassed);
            } else {
                break;
            }
        }
        let state = &self.world.state;
        prop_assert_eq!(&state.pending, &Vec::new());
        prop_assert!(state.deployment.is_none(), "{:?} is open for ever", state.deployment);
        prop_assert_eq!(state.next_deadline(), None);
        prop_assert!(state.workers_are_settled(), "{:?}", state.workers);
        let wanted = state.wanted_workers();
        let others = self.world.outside.workers.keys().filter(|id| wanted.iter().all(|w| w.id != **id));
        let left: Vec<_> = others.filter(|id| self.world.outside.running.contains(*id)).collect();
        prop_assert!(left.is_empty(), "{left:?} work for nobody");
        self.what_is_gone_is_gone()
    }

    /// Of what a person has stopped or removed, nothing runs and nothing is routed.
    fn what_is_gone_is_gone(&self) -> Result<(), TestCaseError> {
        let (state, outside) = (&self.world.state, &self.world.outside);
        if state.stopped.is_some() {
            prop_assert_eq!(outside.in_traffic(), Vec::new(), "it was stopped");
            // What failed beside it and is kept for inspection is no part of what was stopped.
            let kept = self.world.slot(state.idle());
            let is_kept = |id: &&InstanceId| kept.rolled_back && kept.instances.iter().any(|i| i.id == **id);
            let left: Vec<_> = outside.running.iter().filter(|id| !is_kept(id)).collect();
            prop_assert!(left.is_empty(), "it was stopped, and {left:?} run");
        }
        if let Some(removal) = &state.removal {
            prop_assert!(removal.done, "the removal never ends");
            prop_assert_eq!(&outside.route, &None, "it was removed");
            prop_assert_eq!(&outside.running, &BTreeSet::new(), "it was removed");
        }
        Ok(())
    }
}

/// What is the same for every history: deeds outside never break a promise, and readiness tells the truth.
fn check(history: &History) -> Result<(), TestCaseError> {
    prop_assert_eq!(history.world.outside.check(), Ok(()));
    let state = &history.world.state;
    let readiness = state.rollback_readiness(history.world.now);
    let request = Event::RollbackRequested { deployment: "asked".parse().unwrap(), actor: String::new() };
    let granted = step(state, &request, history.world.now);
    if readiness.ready {
        prop_assert!(granted.is_ok_and(|transition| !transition.is_noop()), "{readiness:?}");
        prop_assert!(readiness.to.is_some() && readiness.why_not.is_none());
    } else {
        let open = state.deployment.is_some();
        prop_assert!(granted.is_err() || open, "{readiness:?}");
        prop_assert!(readiness.why_not.is_some());
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_the_invariants_hold_and_it_comes_to_rest(happenings in vec(happening(), 1..80)) {
        let mut history = History { world: World::new(), asked: Vec::new(), requests: 0 };
        for happening in &happenings {
            history.take(happening);
            check(&history)?;
        }
        history.comes_to_rest()?;
        check(&history)?;
        // And it can be deployed to again, once nothing is split.
        history.take(&Happening::Share { percent: 0 });
        history.comes_to_rest()?;
        history.requests += 1;
        let fresh = deploy_event(history.requests, "fresh", rollout(), WhenOpen::Refuse);
        history.happens(&fresh);
        history.comes_to_rest()?;
        prop_assert_eq!(history.world.live_version(), Some("fresh"));
    }
}
