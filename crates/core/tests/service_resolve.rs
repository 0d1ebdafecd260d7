//! What is stuck has ways out, each with what it means.

#![cfg(not(loom))]

mod service_world;

use cutover_core::Environment;
use cutover_core::service::{Status, Way};
use service_world::World;

fn ways(world: &World) -> Vec<Way> {
    world.state.ways_out().iter().map(|way| way.way).collect()
}

#[test]
fn there_is_nothing_to_resolve_where_nothing_is_stuck() {
    let mut world = World::with(&["v1", "v2"]);
    assert_eq!(ways(&world), []);
    let refusal = world.resolve(Way::Retry).unwrap_err();
    assert_eq!(refusal.to_string(), "there is nothing to resolve: no deployment is stuck");
}

#[test]
fn a_way_back_that_is_stuck_can_be_tried_again_or_given_up_for_the_new_release() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    world.fails("shift");
    assert_eq!(ways(&world), [Way::Retry, Way::Keep]);
    let refusal = world.resolve(Way::Abandon).unwrap_err();
    assert_eq!(refusal.to_string(), "`abandon` is no way out here; `retry` or `keep` would be");

    world.resolve(Way::Retry).unwrap();
    world.fails("shift");
    world.resolve(Way::Keep).unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.last_closed().status), (Some("v2"), Status::Live));
    let readiness = world.state.rollback_readiness(world.now);
    assert!(readiness.ready && readiness.warm, "v1 is still warm: {readiness:?}");
    assert!(world.state.standby_until.is_some(), "and not for ever");
}

#[test]
fn a_shift_of_which_nobody_knows_can_be_left_without_harm_to_either_side() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    let shift = world.pending("shift");
    world.outside.perform(&shift);
    world.answer(&shift, service_world::failed("the connection broke"));
    world.fails("shift");
    assert_eq!(ways(&world), [Way::Retry, Way::Abandon]);
    world.resolve(Way::Abandon).unwrap();
    assert_eq!(world.last_closed().status, Status::Failed);
    world.fails("shift");
    assert_eq!(world.outside.running.len(), 2, "either may have the traffic");
    world.wait();
    world.go_well();
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
    assert_eq!(world.outside.check(), Ok(()));
}

#[test]
fn instances_that_cannot_be_stopped_can_be_left_and_are_stopped_when_that_is_possible() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    world.fails("retire");
    assert_eq!(world.open().status, Status::Stuck);
    assert_eq!(ways(&world), [Way::Retry, Way::Abandon]);
    world.resolve(Way::Abandon).unwrap();
    let closed = world.last_closed();
    assert_eq!(closed.status, Status::Failed);
    assert!(closed.reason.as_ref().unwrap().starts_with("its undo was given up by bob; "));
    world.go_well();
    assert_eq!(world.outside.running.len(), 2);
    world.wait();
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
    assert!(world.slot(Environment::Green).rolled_back, "nothing is ever switched to it");
    world.deploy("v3").unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn every_way_says_what_it_does_and_what_follows() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    world.fails("shift");
    let ways = world.state.ways_out();
    assert_eq!(ways[0].does, "asks the router again to send everything to blue");
    assert!(ways[0].consequence.starts_with("`v1` has the traffic if it answers"), "{}", ways[0].consequence);
    assert_eq!(ways[1].does, "gives up the undo; `v2` on green stays live");
}
