//! Requests that wait or are sent away, the switch inside a hold, those that last, and what is learned after a shift.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use std::time::Duration;

use cutover_core::drain::{Connections, Drain};
use cutover_core::receipt::{Receipt, ShiftReport, Trace};
use cutover_core::release::RolloutPolicy;
use cutover_core::routing::{Hold, Maintenance, Pause, ServiceRoute};
use cutover_core::service::{
    Answer, Deployment, Effect, Event, Outcome, Refusal, Stage, Status, StopScope, step,
};
use cutover_core::{Environment, PerEnvironment};
use service_world::{Happened, World, rollout};

const TIME: Duration = Duration::from_secs(30);

fn pause(world: &mut World, pause: Option<Pause>) -> Result<Happened, Refusal> {
    world.happens(&Event::PauseRequested { actor: "carol".to_owned(), pause })
}

fn hold(world: &mut World) -> Result<Happened, Refusal> {
    let until = world.now + TIME;
    pause(world, Some(Pause::Hold(Hold::until(until))))
}

/// The route that is asked for.
fn shift(world: &World) -> ServiceRoute {
    let Effect::Shift { route } = world.pending("shift").effect else { unreachable!("it is a shift") };
    *route
}

/// `v1` is live, and `v2` is deployed with its switch inside a hold.
fn holding() -> World {
    let mut world = World::settled(&["v1"]);
    let policy = RolloutPolicy { hold_requests: Some(TIME), ..rollout() };
    world.deploy_with("v2", policy).unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    assert_eq!((world.open().stage, world.open().status), (Stage::Quieting, Status::Shifting));
    world
}

#[test]
fn a_pause_is_part_of_the_route_and_moves_no_traffic() {
    let mut world = World::settled(&["v1"]);
    let before = world.state.weights;
    hold(&mut world).unwrap();
    let route = shift(&world);
    assert!(matches!(route.pause, Some(Pause::Hold(_))));
    assert_eq!(route.weights, before);
    world.goes_well("shift");
    assert_eq!(world.state.pause.as_ref().unwrap().by, "carol");
    pause(&mut world, None).unwrap();
    assert_eq!(shift(&world).pause, None);
    world.goes_well("shift");
    assert!(matches!(pause(&mut world, None), Err(Refusal::NotPaused)));
}

#[test]
fn a_hold_is_forgotten_when_its_time_is_over_and_maintenance_is_not() {
    let mut world = World::settled(&["v1"]);
    hold(&mut world).unwrap();
    world.goes_well("shift");
    world.pass(TIME.as_secs() + 1);
    assert_eq!(world.state.pause, None);
    assert_eq!(shift(&world).pause, None);
    world.goes_well("shift");
    let page = Some("<h1>away</h1>".to_owned());
    pause(&mut world, Some(Pause::Maintenance(Maintenance { page, retry_after: 60 }))).unwrap();
    world.goes_well("shift");
    world.pass(24 * 3600);
    world.restart();
    world.go_well();
    assert!(world.state.pause.is_some());
}

#[test]
fn a_persons_hold_goes_on_after_that_of_a_deployment_whatever_becomes_of_it() {
    for goes_well in [true, false] {
        let mut world = World::settled(&["v1"]);
        let until = world.now + 10 * TIME;
        pause(&mut world, Some(Pause::Hold(Hold::until(until)))).unwrap();
        world.goes_well("shift");
        let policy = RolloutPolicy { hold_requests: Some(TIME), ..rollout() };
        world.deploy_with("v2", policy).unwrap();
        world.goes_well("provision");
        world.goes_well("healthy");
        world.goes_well("shift");
        assert_ne!(world.state.pause.as_ref().unwrap().deployment, None);
        if goes_well {
            world.go_well();
            assert_eq!(world.live_version(), Some("v2"));
        } else {
            world.abort().unwrap();
            world.go_well();
            assert_eq!(world.live_version(), Some("v1"));
        }
        let paused = world.state.pause.clone().unwrap();
        assert_eq!((paused.by.as_str(), paused.deployment), ("carol", None));
        assert_eq!(world.outside.route.as_ref().unwrap().pause, Some(Pause::Hold(Hold::until(until))));
        pause(&mut world, None).unwrap();
        world.go_well();
        assert_eq!(world.outside.route.as_ref().unwrap().pause, None);
    }
}

#[test]
fn a_stop_ends_a_hold_because_there_is_nothing_to_wait_for_any_more() {
    let mut world = World::settled(&["v1"]);
    hold(&mut world).unwrap();
    world.goes_well("shift");
    world.stop(StopScope::Service).unwrap();
    world.go_well();
    assert_eq!(
        (world.state.pause.clone(), world.outside.route.as_ref().unwrap().pause.clone()),
        (None, None)
    );
}

#[test]
fn a_hold_that_would_be_over_and_one_of_nothing_are_refused() {
    let mut world = World::settled(&["v1"]);
    let past = Pause::Hold(Hold::until(world.now));
    assert!(matches!(pause(&mut world, Some(past)), Err(Refusal::HoldIsOver)));
    let mut world = World::new();
    assert!(matches!(hold(&mut world), Err(Refusal::NothingIsLive)));
}

#[test]
fn a_switch_inside_a_hold_waits_until_nobody_is_at_work_and_ends_the_hold_by_itself() {
    let mut world = holding();
    let route = shift(&world);
    assert_eq!(route.weights.sole(), Some(Environment::Blue), "nothing has moved");
    assert!(matches!(route.pause, Some(Pause::Hold(_))));
    assert!(matches!(pause(&mut world, None), Err(Refusal::HoldIsTaken { .. })));
    world.goes_well("shift");
    let Effect::Drain { environment, stays, .. } = world.pending("drain").effect else {
        unreachable!("it is a drain")
    };
    assert_eq!((environment, stays), (Environment::Blue, true));
    assert!(!world.slot(Environment::Green).passed_gates);
    world.goes_well("drain");
    let route = shift(&world);
    assert_eq!((route.weights.sole(), route.pause), (Some(Environment::Green), None));
    assert_eq!(route.replay.to, None, "both may not serve at the same time");
    world.go_well();
    assert_eq!((world.live_version(), &world.state.pause), (Some("v2"), &None));
    let steps: Vec<&str> = world.open().steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["provision", "healthy", "hold", "quiet", "switch", "bake", "drain"]);
}

#[test]
fn a_release_that_does_not_become_quiet_keeps_its_traffic() {
    let mut world = holding();
    world.goes_well("shift");
    let drain = world.pending("drain");
    world.answer(&drain, Answer::Drained { left: 2 });
    assert_eq!(world.open().reason.as_deref(), Some("the old release is not quiet: 2 still under way"));
    assert_eq!(world.state.pause, None);
    assert_eq!((shift(&world).weights.sole(), shift(&world).pause), (Some(Environment::Blue), None));
    world.go_well();
    assert_eq!((world.last_closed().status, world.live_version()), (Status::RolledBack, Some("v1")));
    let quiet = world.last_closed().steps.iter().find(|step| step.name == "quiet").unwrap();
    assert_eq!(quiet.outcome, Some(Outcome::Failed));
}

#[test]
fn a_hold_that_is_over_before_the_switch_takes_the_deployment_back() {
    let mut world = holding();
    world.goes_well("shift");
    // The requests have their own time, which is as long.
    world.pass(TIME.as_secs());
    let reason = world.open().reason.clone().unwrap();
    assert!(reason.contains("the time for which requests could be held was over"), "{reason}");
    world.go_well();
    assert_eq!((world.live_version(), &world.state.pause), (Some("v1"), &None));
}

#[test]
fn a_first_release_has_nobody_to_be_quiet_beside() {
    let mut world = World::new();
    world.deploy_with("v1", RolloutPolicy { hold_requests: Some(TIME), ..rollout() }).unwrap();
    world.go_well();
    assert_eq!((world.live_version(), &world.state.pause), (Some("v1"), &None));
}

#[test]
fn an_abort_lets_requests_go_on() {
    let mut world = holding();
    world.goes_well("shift");
    world.abort().unwrap();
    assert_eq!(shift(&world).pause, None);
    world.go_well();
    assert_eq!((world.live_version(), &world.state.pause), (Some("v1"), &None));
}

#[test]
fn those_that_last_part_from_what_is_warm_and_from_nothing_else() {
    let mut world = World::settled(&["v1"]);
    assert_eq!(world.state.parting(), None, "there is only one environment");
    world.deploy("v2").unwrap();
    world.go_well();
    let parting = world.state.parting().unwrap();
    assert_eq!(parting.policy, Drain::default());
    assert!(parting.instances.iter().all(|instance| instance.as_str().contains("-blue-")));
    world.rollback().unwrap();
    world.goes_well("shift");
    // What was taken back is emptied: whoever empties it asks.
    assert_eq!(world.state.parting(), None);
    let Effect::Drain { environment, policy, .. } = world.pending("drain").effect else {
        unreachable!("it is a drain")
    };
    assert_eq!((environment, policy), (Environment::Green, Drain::default()));
}

#[test]
fn whoever_needs_the_slot_waits_for_plain_requests_and_no_longer() {
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    let Effect::Drain { policy, .. } = world.pending("drain").effect else { unreachable!("it is a drain") };
    assert_eq!(policy, Drain::default().at_once());
    assert!(matches!(policy.connections, Connections::Within { limit, .. } if limit == policy.requests));
}

#[test]
fn what_is_learned_of_a_shift_is_kept_with_its_deployment_open_or_ended() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.go_well();
    let id = world.open().id.clone();
    let trace = |receipt: &Receipt, is_whole| Trace {
        at: receipt.published_at,
        is_whole,
        is_cut: false,
        report: ShiftReport {
            epoch: receipt.epoch,
            boot_id: receipt.boot_id.clone(),
            first_answer_us: PerEnvironment { blue: None, green: Some(7) },
            emptied_us: PerEnvironment::default(),
            left: PerEnvironment::default(),
            sides: PerEnvironment::default(),
            turned_away: 0,
            held: 0,
        },
        probes: Vec::new(),
    };
    let receipt = world.open().receipts[0].clone();
    let news = |is_whole, ended: Option<&Deployment>| Event::ShiftTraced {
        deployment: id.clone(),
        trace: Box::new(trace(&receipt, is_whole)),
        ended: ended.cloned().map(Box::new),
    };
    world.happens(&news(false, None)).unwrap();
    assert_eq!(world.open().traces, [trace(&receipt, false)]);
    world.end_bake();
    let ended = world.last_closed().clone();
    assert_eq!(ended.traces.len(), 1);
    // Without its record nothing can be said of it any more; with it, it is told once more.
    assert!(world.happens(&news(true, None)).unwrap().noop);
    let transition = step(&world.state, &news(true, Some(&ended)), world.now).unwrap();
    assert_eq!(transition.told.len(), 1);
    assert_eq!(transition.told[0].traces, [trace(&receipt, true)], "what was known before is replaced");
}

fn maintenance() -> Pause {
    Pause::Maintenance(Maintenance { page: None, retry_after: 60 })
}

/// `v1` is live and in maintenance.
fn in_maintenance() -> World {
    let mut world = World::settled(&["v1"]);
    pause(&mut world, Some(maintenance())).unwrap();
    world.goes_well("shift");
    world
}

/// The same, and `v2` waits for those who are at work.
fn quieting_in_maintenance() -> World {
    let mut world = in_maintenance();
    world.deploy_with("v2", RolloutPolicy { hold_requests: Some(TIME), ..rollout() }).unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    assert_eq!(world.open().stage, Stage::Quieting);
    world
}

#[test]
fn nobody_can_wait_where_all_are_sent_away() {
    let mut world = in_maintenance();
    assert!(matches!(hold(&mut world), Err(Refusal::InMaintenance)));
    assert_eq!(world.state.pause.as_ref().map(|paused| &paused.pause), Some(&maintenance()));
}

#[test]
fn a_switch_inside_a_maintenance_waits_for_those_at_work_and_leaves_its_end_to_people() {
    let mut world = quieting_in_maintenance();
    assert!(matches!(pause(&mut world, None), Err(Refusal::HoldIsTaken { .. })), "nobody gets in amid it");
    world.goes_well("drain");
    let route = shift(&world);
    assert_eq!((route.weights.sole(), route.pause), (Some(Environment::Green), Some(maintenance())));
    world.go_well();
    let steps: Vec<&str> = world.open().steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["provision", "healthy", "quiet", "switch", "bake", "drain"]);
    assert_eq!(world.live_version(), Some("v2"));
    pause(&mut world, None).unwrap();
    assert_eq!(shift(&world).pause, None);
}

#[test]
fn a_deployment_that_is_taken_back_leaves_a_maintenance_as_it_was() {
    let mut world = quieting_in_maintenance();
    let drain = world.pending("drain");
    world.answer(&drain, Answer::Drained { left: 1 });
    world.go_well();
    assert_eq!((world.last_closed().status, world.live_version()), (Status::RolledBack, Some("v1")));
    assert_eq!(world.state.pause.as_ref().map(|paused| &paused.pause), Some(&maintenance()));
}

#[test]
fn a_promotion_while_requests_begin_to_wait_is_the_same_as_once() {
    let mut world = World::settled(&["v1"]);
    let policy = RolloutPolicy { hold: Some(TIME * 10), hold_requests: Some(TIME), ..rollout() };
    world.deploy_with("v2", policy).unwrap();
    for effect in ["provision", "healthy", "shift"] {
        world.goes_well(effect);
    }
    let promotion =
        Event::PromoteRequested { deployment: Some(world.open().id.clone()), actor: "carol".to_owned() };
    world.happens(&promotion).unwrap();
    assert_eq!(world.open().stage, Stage::Quieting);
    world.happens(&promotion).unwrap();
    for effect in ["shift", "drain"] {
        world.goes_well(effect);
    }
    let route = shift(&world);
    assert_eq!((route.weights.sole(), route.pause), (Some(Environment::Green), None));
}
