//! Going back: in the bake, after it, warm and cold; and what `status` says about it beforehand.

#![cfg(not(loom))]

mod service_world;

use cutover_core::release::RolloutPolicy;
use cutover_core::service::{Clearing, DeploymentKind, Effect, Health, Refusal, Stage, Status, Way};
use cutover_core::{Environment, Weights};
use service_world::{World, rollout, unhealthy};

#[test]
fn a_rollback_in_the_bake_is_one_shift_and_belongs_to_the_same_deployment() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    assert_eq!((world.open().status, world.labels()), (Status::RollingBack, vec!["shift"]));
    assert!(world.rollback().unwrap().noop, "asked twice, it is not taken back itself");
    let transition = world.goes_well("shift");
    let closed = transition.closed.last().unwrap();
    assert_eq!((closed.id.as_str(), closed.status), ("d2", Status::RolledBack));
    assert_eq!(closed.reason.as_deref(), Some("rolled back by hand"));
    assert_eq!(closed.taken_back_by.as_deref(), Some("bob"));
    assert_eq!(world.live_version(), Some("v1"));
    assert_eq!(world.slot(Environment::Green).clearing, Some(Clearing::Draining), "the bad one is cleared");
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
}

#[test]
fn a_release_that_was_taken_back_is_never_rolled_back_to() {
    let mut world = World::with(&["v1", "v2"]);
    world.abort().unwrap();
    world.go_well();
    let refusal = world.rollback().unwrap_err();
    assert_eq!(refusal.to_string(), "there is nothing to roll back to: `v2` was itself taken back");
    world.deploy("v2").unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v2"), "to deploy it again is another matter");
}

#[test]
fn a_release_that_loses_its_health_in_the_bake_is_taken_back_by_itself() {
    let mut world = World::with(&["v1", "v2"]);
    world.health(Environment::Green, unhealthy());
    assert_eq!(world.open().stage, Stage::ShiftingBack);
    world.go_well();
    let closed = world.last_closed();
    assert_eq!(closed.status, Status::RolledBack);
    assert_eq!(closed.reason.as_deref(), Some("lost health in the bake: connection refused"));
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn it_is_not_taken_back_to_something_worse_and_says_so_until_that_changes() {
    let mut world = World::with(&["v1", "v2"]);
    world.health(Environment::Blue, unhealthy());
    world.health(Environment::Green, unhealthy());
    assert_eq!(world.open().status, Status::Live);
    let reason = world.open().reason.clone().unwrap();
    assert_eq!(
        reason,
        "lost health in the bake: connection refused; not taken back, because `v1` is not well either: connection refused"
    );
    world.health(Environment::Green, Health::Healthy);
    assert_eq!(world.open().reason, None);
    world.health(Environment::Green, unhealthy());
    world.health(Environment::Blue, Health::Healthy);
    assert_eq!(world.open().status, Status::RollingBack);
}

#[test]
fn without_auto_rollback_a_lost_health_is_only_said() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("v2", RolloutPolicy { auto_rollback: false, ..rollout() }).unwrap();
    world.go_well();
    world.health(Environment::Green, unhealthy());
    assert_eq!(world.open().status, Status::Live);
    assert!(world.open().reason.as_ref().unwrap().ends_with("because auto_rollback is off"));
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"), "by hand it is");
}

#[test]
fn health_that_was_lost_between_the_gate_and_the_receipt_counts_after_the_receipt() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    world.health(Environment::Green, unhealthy());
    world.goes_well("shift");
    assert_eq!((world.open().status, world.open().stage), (Status::RollingBack, Stage::ShiftingBack));
}

#[test]
fn the_first_release_has_nothing_to_go_back_to() {
    let mut world = World::with(&["v1"]);
    let refusal = world.rollback().unwrap_err();
    assert_eq!(refusal.to_string(), "there is nothing to roll back to: there is no former release");
    assert!(refusal.hint().is_some());
    world.health(Environment::Blue, unhealthy());
    assert_eq!(world.live_version(), Some("v1"));
    assert!(matches!(world.rollback(), Err(Refusal::NothingToRollBackTo { .. })));
}

#[test]
fn a_former_release_that_is_not_well_is_brought_back_to_health_before_traffic_goes_to_it() {
    for ask in [World::rollback, World::abort] {
        let mut world = World::with(&["v1", "v2"]);
        world.health(Environment::Blue, unhealthy());
        let readiness = world.state.rollback_readiness(world.now);
        assert!(readiness.ready && !readiness.warm, "{readiness:?}");
        ask(&mut world).unwrap();
        assert_eq!((world.open().stage, world.live_version()), (Stage::Reviving, Some("v2")));
        let asked = world.pending("provision").effect;
        let Effect::Provision { environment, instances, .. } = asked else { panic!() };
        assert_eq!((environment, instances[0].as_str()), (Environment::Blue, "shop-blue-d1-1"));
        world.goes_well("provision");
        assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-green-d2-1", "not before it is healthy");
        world.goes_well("healthy");
        world.go_well();
        assert_eq!((world.live_version(), world.last_closed().status), (Some("v1"), Status::RolledBack));
    }
}

#[test]
fn a_former_release_that_cannot_be_revived_is_stuck_with_traffic_untouched_and_ways_out() {
    let mut world = World::with(&["v1", "v2"]);
    world.health(Environment::Blue, unhealthy());
    world.rollback().unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    assert_eq!((world.open().status, world.live_version()), (Status::Stuck, Some("v2")));
    let ways: Vec<_> = world.state.ways_out().iter().map(|way| way.way).collect();
    assert_eq!(ways, [Way::Retry, Way::Keep]);
    world.resolve(Way::Retry).unwrap();
    assert_eq!(world.labels(), ["provision"]);
    world.fails("provision");
    world.resolve(Way::Keep).unwrap();
    world.go_well();
    let closed = world.last_closed();
    assert_eq!((closed.status, world.live_version()), (Status::Live, Some("v2")));
    assert!(closed.reason.as_ref().unwrap().starts_with("kept live by bob"), "{:?}", closed.reason);
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-green-d2-1");
}

#[test]
fn after_the_bake_a_warm_rollback_is_a_deployment_of_its_own_and_one_shift() {
    let mut world = World::settled(&["v1", "v2"]);
    world.rollback().unwrap();
    assert_eq!((world.open().kind, world.labels()), (DeploymentKind::Rollback, vec!["shift"]));
    assert!(world.rollback().unwrap().noop);
    let closed = world.goes_well("shift").closed.remove(0);
    assert_eq!((closed.status, closed.undoes.unwrap().as_str()), (Status::Live, "d2"));
    assert_eq!(world.live_version(), Some("v1"));
    assert!(world.slot(Environment::Green).rolled_back);
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
}

#[test]
fn a_cold_rollback_starts_the_release_again_and_passes_its_gates() {
    let mut world = World::settled(&["v1", "v2"]);
    world.wait();
    world.go_well();
    world.rollback().unwrap();
    let Effect::Provision { instances, .. } = world.pending("provision").effect else { panic!() };
    assert_eq!(instances[0].as_str(), "shop-blue-d3-1");
    world.goes_well("provision");
    world.goes_well("healthy");
    world.goes_well("shift");
    assert_eq!((world.live_version(), world.last_closed().status), (Some("v1"), Status::Live));
}

#[test]
fn a_cold_rollback_that_fails_leaves_the_release_as_cold_as_it_was() {
    let mut world = World::settled(&["v1", "v2"]);
    world.wait();
    world.go_well();
    let cold = world.slot(Environment::Blue).clone();
    world.rollback().unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    world.go_well();
    assert_eq!(world.last_closed().status, Status::RolledBack);
    assert_eq!(*world.slot(Environment::Blue), cold);
    assert_eq!(world.live_version(), Some("v2"));
}

#[test]
fn a_rollback_while_the_standby_is_being_stopped_waits_for_that_and_starts_it_again() {
    let mut world = World::settled(&["v1", "v2"]);
    world.wait();
    world.goes_well("drain");
    world.rollback().unwrap();
    assert_eq!((world.open().stage, world.labels()), (Stage::Vacating, vec!["shift"]));
    world.go_well();
    assert_eq!((world.live_version(), world.last_closed().kind), (Some("v1"), DeploymentKind::Rollback));
}

#[test]
fn after_the_bake_an_unhealthy_standby_is_started_afresh_instead_of_being_refused() {
    let mut world = World::settled(&["v1", "v2"]);
    world.health(Environment::Blue, unhealthy());
    assert!(!world.state.rollback_readiness(world.now).warm);
    world.rollback().unwrap();
    assert_eq!(world.open().stage, Stage::Vacating);
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn a_warm_rollback_whose_shift_fails_has_moved_nothing_and_can_be_tried_again() {
    let mut world = World::settled(&["v1", "v2"]);
    world.rollback().unwrap();
    world.fails("shift");
    world.goes_well("shift");
    assert_eq!((world.last_closed().status, world.live_version()), (Status::Failed, Some("v2")));
    assert_eq!(world.outside.route.as_ref().unwrap().weights, Weights::all_to(Environment::Green));
    assert_eq!(world.outside.running.len(), 2, "the standby is as warm as before");
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn a_standby_that_would_end_during_a_rollback_waits_for_it() {
    let mut world = World::settled(&["v1", "v2"]);
    world.now = world.state.next_deadline().unwrap();
    world.rollback().unwrap();
    world.pass(5);
    assert_eq!(world.labels(), ["shift"]);
    world.fails("shift");
    world.goes_well("shift");
    world.wait();
    assert_eq!(world.labels(), ["drain"], "the standby ends now");
}

#[test]
fn a_bake_whose_way_back_is_stuck_can_be_undone_later() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    world.wait();
    assert_eq!(world.open().status, Status::Stuck);
    assert_eq!(world.state.next_deadline(), None, "only a person goes on");
    world.rollback().unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.last_closed().status), (Some("v1"), Status::RolledBack));
}

#[test]
fn status_says_whether_how_long_and_why_not() {
    let mut world = World::new();
    let readiness = |world: &World| world.state.rollback_readiness(world.now);
    assert_eq!(readiness(&world).why_not.as_deref(), Some("there is no former release"));
    world.deploy("v1").unwrap();
    assert_eq!(
        readiness(&world).why_not.as_deref(),
        Some("deployment `d1` brings the first release; abort ends it")
    );
    world.go_well();
    world.end_bake();

    world.deploy("v2").unwrap();
    assert_eq!((readiness(&world).ready, readiness(&world).seconds), (true, 0.0));
    world.goes_well("provision");
    world.now = world.now + std::time::Duration::from_secs(4);
    world.goes_well("healthy");
    world.now = world.now + std::time::Duration::from_millis(20);
    world.goes_well("shift");
    world.go_well();
    let baking = readiness(&world);
    assert_eq!((baking.ready, baking.warm, baking.seconds), (true, true, 0.02));
    assert_eq!(baking.to.unwrap().as_str(), "v1");

    world.rollback().unwrap();
    assert_eq!(readiness(&world).why_not.as_deref(), Some("deployment `d2` is being taken back already"));
    world.wait();
    assert!(
        readiness(&world)
            .why_not
            .unwrap()
            .starts_with("deployment `d2` is stuck (traffic could not be moved")
    );
    world.abort().unwrap();
    world.go_well();
    assert_eq!(readiness(&world).why_not.as_deref(), Some("`v2` was itself taken back"));
}

#[test]
fn a_cold_rollback_is_estimated_from_how_long_the_start_took() {
    let mut world = World::new();
    world.deploy("v1").unwrap();
    world.goes_well("provision");
    world.now = world.now + std::time::Duration::from_secs(4);
    world.go_well();
    world.end_bake();
    world.deploy("v2").unwrap();
    world.go_well();
    world.end_bake();
    world.wait();
    world.go_well();
    let readiness = world.state.rollback_readiness(world.now);
    assert_eq!((readiness.ready, readiness.warm, readiness.seconds), (true, false, 4.0));
}
