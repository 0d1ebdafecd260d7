//! A share of the traffic for the idle slot: who may have it, how it ends, and what waits for its end.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use std::time::Duration;

use cutover_core::service::{
    DeploymentKind, Effect, Event, Health, PendingEffect, Refusal, Status, StopScope, Way, WhenOpen,
};
use cutover_core::{Environment, Weights};
use service_world::{World, release, unhealthy};

const BLUE: Environment = Environment::Blue;
const GREEN: Environment = Environment::Green;

/// `v2` on green is live, `v1` on blue is warm and healthy, nothing is open.
fn warm() -> World {
    let mut world = World::settled(&["v1", "v2"]);
    world.health(BLUE, Health::Healthy);
    world
}

/// The same, with so many percent to blue.
fn split(percent: u8) -> World {
    let mut world = warm();
    world.share(percent).unwrap();
    world.go_well();
    assert_eq!(world.state.weights.of(BLUE), percent);
    world
}

#[track_caller]
fn all_is_on(world: &World, live: Environment) {
    assert_eq!((world.state.live, world.state.weights), (live, Weights::all_to(live)));
    assert_eq!(world.outside.route.as_ref().unwrap().weights, Weights::all_to(live));
    assert_eq!(world.outside.check(), Ok(()));
    assert!(world.state.deployment.is_none(), "{:?}", world.state.deployment);
}

#[test]
fn a_share_is_recorded_with_its_receipt_and_live_stays_live_also_below_half() {
    for percent in [1, 20, 60, 99] {
        let world = split(percent);
        let closed = world.last_closed();
        assert_eq!(
            (closed.kind, closed.status, closed.actor.as_str()),
            (DeploymentKind::Traffic, Status::Live, "bob")
        );
        assert_eq!((closed.receipts.len(), closed.receipts[0].weights.of(BLUE)), (1, percent));
        let said = format!("{} % to green, {percent} % to blue within 312 µs", 100 - percent);
        assert_eq!((closed.steps[0].name.as_str(), &closed.steps[0].detail), ("weights", &said));
        assert_eq!(closed.cutover_at, None, "live is what it was");
        let route = world.outside.route.as_ref().unwrap();
        assert_eq!((world.state.live, route.live()), (GREEN, GREEN));
        assert!(world.state.is_split());
    }
}

#[test]
fn no_share_sends_everything_to_live_again() {
    let mut world = split(20);
    world.share(55).unwrap();
    world.go_well();
    assert_eq!(world.state.weights.of(BLUE), 55);
    world.share(0).unwrap();
    world.go_well();
    all_is_on(&world, GREEN);
    assert_eq!(world.share(0), Err(Refusal::NotSplit { live: GREEN }));
    let route = world.outside.route.as_ref().unwrap();
    assert_eq!(route.live, None, "what has everything is live by that");
}

#[test]
fn all_of_it_would_be_a_switch_and_the_hint_says_how_that_is_made() {
    let mut world = warm();
    let refused = world.share(100).unwrap_err();
    assert_eq!(refused, Refusal::WouldSwitch { to: BLUE });
    assert!(refused.hint().unwrap().contains("`cutover rollback`"), "{refused}");
}

#[track_caller]
fn may_not_share(world: &mut World, why: &str) {
    let refused = world.share(20).unwrap_err();
    let Refusal::MayNotShare { why: said, .. } = &refused else { panic!("{refused}") };
    assert_eq!(said, why);
}

#[test]
fn only_what_is_warm_proved_and_healthy_is_given_a_share() {
    let mut world = World::settled(&["v1"]);
    may_not_share(&mut world, "it holds no release");
    world = World::settled(&["v1", "v2"]);
    world.health(BLUE, Health::Unknown);
    may_not_share(&mut world, "nothing is known of its health yet");
    world.health(BLUE, unhealthy());
    may_not_share(&mut world, "connection refused");
    world.health(BLUE, Health::Healthy);
    world.stop(StopScope::Idle).unwrap();
    may_not_share(&mut world, "its instances are being stopped");
    world.go_well();
    may_not_share(&mut world, "`v1` is cold there");
    world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    while world.state.deployment.is_some() {
        let pending = world.state.pending[0].clone();
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
    }
    may_not_share(&mut world, "`v2` was taken back");
}

#[test]
fn weights_are_a_deployments_own_while_it_is_open_and_nobodys_of_what_does_not_run() {
    let mut world = World::with(&["v1", "v2"]);
    assert!(matches!(world.share(20), Err(Refusal::WeightsAreTaken { status: Status::Live, .. })));
    world.end_bake();
    world.health(BLUE, Health::Healthy);
    let (deployment, actor) = ("late".parse().unwrap(), "bob".to_owned());
    let weights = Weights::new(80, 20).unwrap();
    let late = Event::TrafficRequested { deployment, actor, weights, live: BLUE };
    assert_eq!(world.happens(&late), Err(Refusal::LiveHasChanged { live: GREEN }));
    world.stop(StopScope::Service).unwrap();
    world.go_well();
    assert!(matches!(world.share(20), Err(Refusal::Stopped { .. })));
    assert_eq!(World::new().share(20), Err(Refusal::NothingIsLive));
}

#[test]
fn what_would_change_either_side_waits_for_the_end_of_the_split() {
    let mut world = split(20);
    let refused = Refusal::Split { idle: BLUE, percent: 20 };
    assert!(refused.hint().unwrap().starts_with("`cutover traffic blue=0` ends the split"), "{refused}");
    for when_open in [WhenOpen::Refuse, WhenOpen::Queue, WhenOpen::Supersede, WhenOpen::EndBake] {
        assert_eq!(world.deploy_when_open("v3", when_open), Err(refused.clone()));
    }
    assert_eq!(world.restart_instances(), Err(refused.clone()));
    assert_eq!(world.scale(2), Err(refused.clone()));
    assert_eq!(world.stop(StopScope::Idle), Err(refused.clone()));
    let (deployment, actor) = ("to".parse().unwrap(), "bob".to_owned());
    let to = Event::RollbackToRequested { deployment, actor, release: Box::new(release("v0")) };
    assert_eq!(world.happens(&to), Err(refused));
}

#[test]
fn the_standby_stands_still_while_there_is_a_split() {
    let mut world = warm();
    world.pass(1000);
    world.share(20).unwrap();
    world.go_well();
    assert_eq!(
        (world.state.standby_until, world.state.standby_left),
        (None, Some(Duration::from_secs(2600)))
    );
    world.share(30).unwrap();
    world.go_well();
    world.pass(100_000);
    assert_eq!(world.slot(BLUE).instances.len(), 1, "never stopped with weight");
    world.share(0).unwrap();
    world.go_well();
    assert_eq!(world.state.standby_until, Some(world.now + Duration::from_secs(2600)));
    assert_eq!(world.state.standby_left, None);
    world.wait();
    world.go_well();
    assert!(world.slot(BLUE).instances.is_empty());
}

#[test]
fn a_rollback_sends_everything_to_the_other_side_at_once_also_while_weights_are_being_set() {
    for answered in [true, false] {
        let mut world = warm();
        world.share(20).unwrap();
        if answered {
            world.go_well();
        }
        assert!(world.state.rollback_readiness(world.now).warm);
        world.rollback().unwrap();
        let Effect::Shift { route } = world.pending("shift").effect else { panic!() };
        assert_eq!(route.weights, Weights::all_to(BLUE));
        world.go_well();
        all_is_on(&world, BLUE);
        assert_eq!((world.live_version(), world.state.standby_left), (Some("v1"), None));
    }
}

#[test]
fn a_rollback_that_the_router_does_not_make_ends_with_everything_on_live() {
    let mut world = split(20);
    world.rollback().unwrap();
    world.fails("shift");
    world.go_well();
    all_is_on(&world, GREEN);
}

#[test]
fn what_loses_its_health_loses_its_share_by_itself_and_it_is_told() {
    let mut world = split(20);
    world.health(BLUE, unhealthy());
    world.go_well();
    all_is_on(&world, GREEN);
    let said = "blue, which shared the traffic, lost its share: connection refused";
    let closed = world.last_closed();
    assert_eq!((closed.actor.as_str(), closed.reason.as_deref()), ("the controller", Some(said)));
    assert_eq!(closed.kind, DeploymentKind::Traffic);
    assert_eq!(world.state.recovery.as_ref().unwrap().decision, said);
    assert!(world.state.standby_until.is_some());
}

#[test]
fn live_without_health_is_told_and_nothing_moves_by_itself() {
    let mut world = split(20);
    let happened = world.health(GREEN, unhealthy());
    assert!(happened.effects.is_empty(), "{:?}", happened.effects);
    assert_eq!(world.state.weights.of(BLUE), 20);
}

#[test]
fn weights_that_cannot_be_set_end_the_split() {
    let mut world = split(20);
    world.share(50).unwrap();
    world.fails("shift");
    world.go_well();
    all_is_on(&world, GREEN);
    assert_eq!(world.last_closed().status, Status::Failed);
}

#[test]
fn a_way_back_that_fails_is_stuck_and_can_only_be_tried_again() {
    let mut world = split(20);
    world.share(0).unwrap();
    world.fails("shift");
    world.fails("shift");
    assert_eq!(world.open().status, Status::Stuck);
    assert_eq!(world.state.ways_out().iter().map(|way| way.way).collect::<Vec<_>>(), [Way::Retry]);
    world.resolve(Way::Retry).unwrap();
    world.go_well();
    all_is_on(&world, GREEN);
    assert!(!world.slot(BLUE).rolled_back, "nothing was wrong with it");
}

#[test]
fn a_controller_that_starts_again_keeps_the_split() {
    let mut world = split(20);
    let happened = world.restart_in_term(2, None);
    let shifts = |pending: &PendingEffect| matches!(pending.effect, Effect::Shift { .. });
    assert!(!happened.effects.iter().any(shifts), "{:?}", happened.effects);
    world.go_well();
    assert_eq!(world.outside.route.as_ref().unwrap().weights.of(BLUE), 20);
    world.outside.route = None;
    world.restart_in_term(3, None);
    world.go_well();
    assert_eq!(world.outside.route.as_ref().unwrap().weights.of(BLUE), 20, "the router is told it again");
    assert!(world.state.deployment.is_none());
}

#[test]
fn a_controller_that_dies_while_weights_are_set_sets_them() {
    for reached in [true, false] {
        let mut world = warm();
        world.share(20).unwrap();
        if reached {
            let shift = world.pending("shift");
            world.outside.perform(&shift);
        }
        world.restart_in_term(2, None);
        world.go_well();
        assert_eq!(world.outside.route.as_ref().unwrap().weights.of(BLUE), 20);
        assert_eq!(world.state.weights.of(BLUE), 20);
        assert_eq!(world.last_closed().status, Status::Live);
    }
}

#[test]
fn after_a_reboot_everything_goes_to_live_and_it_is_said() {
    let mut world = split(60);
    world.outside.running.clear();
    world.outside.proved.clear();
    world.restart_in_term(2, None);
    let Effect::Shift { route } = world.pending("shift").effect else { panic!() };
    assert_eq!(route.weights, Weights::all_to(GREEN));
    let said = &world.state.recovery.as_ref().unwrap().decision;
    assert!(said.contains("blue, which shared the traffic, lost its share"), "{said}");
    world.health(GREEN, Health::Healthy);
    world.go_well();
    assert_eq!((world.state.live, world.state.weights), (GREEN, Weights::all_to(GREEN)));
    assert!(world.state.deployment.is_none());
}

#[test]
fn a_hand_at_the_router_is_followed_to_either_side() {
    for to in Environment::ALL {
        let mut world = split(20);
        let route = world.outside.route.as_mut().unwrap();
        route.weights = Weights::all_to(to);
        route.epoch = route.epoch.map(cutover_core::Epoch::by_hand);
        world.restart();
        world.go_well();
        all_is_on(&world, to);
    }
}

#[test]
fn a_stop_and_a_removal_end_the_split_with_everything_else() {
    for remove in [true, false] {
        let mut world = split(20);
        if remove {
            world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
        } else {
            world.stop(StopScope::Service).unwrap();
        }
        world.go_well();
        assert_eq!(world.state.weights, Weights::all_to(GREEN));
        assert!(world.outside.running.is_empty(), "{:?}", world.outside.running);
        assert_eq!(world.outside.check(), Ok(()));
        if !remove {
            world.restart_instances().unwrap();
            world.go_well();
            all_is_on(&world, GREEN);
        }
    }
}

#[test]
fn workers_and_hosts_stay_those_of_live() {
    let mut world = World::settled(&["v1", "exclusive"]);
    world.health(BLUE, Health::Healthy);
    let working: Vec<String> = world.outside.working().into_iter().map(str::to_owned).collect();
    assert_eq!(working.len(), 1);
    world.share(90).unwrap();
    world.go_well();
    assert_eq!(world.outside.working(), working);
}
