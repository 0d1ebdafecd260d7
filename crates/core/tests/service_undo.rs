//! The way of a deployment back before its cutover: by failure and by hand.

#![cfg(not(loom))]

mod service_world;

use cutover_core::release::RolloutPolicy;
use cutover_core::service::{Answer, Effect, Refusal, Stage, Status};
use cutover_core::{Environment, Weights};
use service_world::{World, failed, rollout};

#[test]
fn a_release_that_never_becomes_healthy_is_taken_back_and_the_live_one_is_untouched() {
    let mut world = World::settled(&["v1"]);
    let before = (world.slot(Environment::Blue).clone(), world.outside.route.clone());
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    assert_eq!((world.open().status, world.open().stage), (Status::RollingBack, Stage::Retiring));
    assert_eq!(world.labels(), ["retire"], "what was never in the table need not leave it");
    world.goes_well("retire");
    let closed = world.last_closed();
    assert_eq!((closed.status, closed.reason.as_deref()), (Status::RolledBack, Some("it broke")));
    assert_eq!((world.slot(Environment::Blue).clone(), world.outside.route.clone()), before);
    assert_eq!(world.slot(Environment::Green).release, None);
}

#[test]
fn a_start_that_was_never_answered_is_stopped_by_the_ids_it_was_asked_for() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let Effect::Provision { instances, .. } = world.pending("provision").effect else { panic!() };
    assert_eq!(instances[0].as_str(), "shop-green-d2-1");
    world.wait();
    let Effect::Retire { instances: stopped, .. } = world.pending("retire").effect else { panic!() };
    assert_eq!(stopped, instances);
    world.go_well();
    assert_eq!(world.last_closed().reason.as_deref(), Some("there was no answer within 60 s"));
}

#[test]
fn a_shift_without_an_answer_is_undone_by_a_newer_one_before_anything_is_stopped() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    let lost = world.pending("shift");
    let late = world.outside.perform(&lost);
    world.wait();
    assert_eq!(world.open().stage, Stage::ShiftingBack);
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-green-d2-1", "it was made after all");
    let transition = world.answer(&lost, late);
    assert!(transition.noop, "its receipt proves nothing any more");
    world.goes_well("shift");
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
    assert_eq!(world.labels(), ["drain"], "it may hold requests");
    assert_eq!(world.outside.perform(&lost), failed("the router has a newer epoch"));
    for kind in ["drain", "shift", "retire"] {
        world.goes_well(kind);
    }
    assert_eq!(world.last_closed().status, Status::RolledBack);
}

#[test]
fn a_router_that_ends_up_with_other_weights_has_not_shifted() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    let shift = world.pending("shift");
    let Answer::Shifted { mut receipt } = world.outside.perform(&shift) else { panic!() };
    receipt.weights = Weights::all_to(Environment::Blue);
    world.answer(&shift, Answer::Shifted { receipt });
    assert_eq!(world.open().stage, Stage::ShiftingBack);
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn without_auto_rollback_a_release_that_failed_is_kept_for_inspection_and_never_rolled_back_to() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("v2", RolloutPolicy { auto_rollback: false, ..rollout() }).unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    assert_eq!(world.last_closed().status, Status::Failed);
    assert_eq!(world.slot(Environment::Green).instances.len(), 1);
    assert!(matches!(world.rollback(), Err(Refusal::NothingToRollBackTo { .. })));
    world.restart();
    assert_eq!(world.state.watched().len(), 1, "nobody watches it or starts it again");
    world.go_well();
    world.deploy("v3").unwrap();
    // A receipt proves that it is in no table before it is stopped.
    assert_eq!(world.labels(), ["shift"]);
    world.goes_well("shift");
    assert_eq!(world.labels(), ["retire"]);
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn without_auto_rollback_a_failed_shift_is_still_undone() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("v2", RolloutPolicy { auto_rollback: false, ..rollout() }).unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    world.fails("shift");
    world.goes_well("shift");
    assert_eq!(world.last_closed().status, Status::Failed);
    assert_eq!(world.slot(Environment::Green).instances.len(), 1);
    assert!(world.outside.route.as_ref().unwrap().green.is_empty());
}

#[test]
fn the_former_release_is_put_back_cold_if_the_new_one_fails_and_can_still_be_rolled_back_to() {
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    assert_eq!((world.open().stage, world.labels()), (Stage::Vacating, vec!["drain"]));
    for kind in ["drain", "shift", "retire"] {
        world.goes_well(kind);
    }
    assert_eq!(world.version_on(Environment::Blue), Some("v3"));
    world.goes_well("provision");
    world.fails("healthy");
    world.go_well();
    assert_eq!(world.version_on(Environment::Blue), Some("v1"));
    world.rollback().unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.last_closed().status), (Some("v1"), Status::Live));
}

#[test]
fn a_slot_that_cannot_be_emptied_fails_the_deployment_and_is_emptied_later() {
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    world.fails("drain");
    world.goes_well("shift");
    world.fails("retire");
    let closed = world.last_closed();
    assert_eq!(closed.status, Status::Failed);
    assert_eq!(closed.reason.as_deref(), Some("blue could not be emptied: it broke"));
    assert_eq!(world.slot(Environment::Blue).trouble.as_deref(), Some("it broke"));
    world.wait();
    world.goes_well("retire");
    let slot = world.slot(Environment::Blue);
    assert_eq!((slot.trouble.as_deref(), slot.instances.len()), (None, 0));
    assert_eq!(world.version_on(Environment::Blue), Some("v1"), "cold, and still there to go back to");
}

#[test]
fn an_abort_while_the_slot_is_emptied_does_not_wait_for_it() {
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    world.abort().unwrap();
    let closed = world.last_closed();
    assert_eq!((closed.status, closed.reason.as_deref()), (Status::RolledBack, Some("aborted by hand")));
    world.go_well();
    assert_eq!((world.version_on(Environment::Blue), world.live_version()), (Some("v1"), Some("v2")));
    assert_eq!(world.slot(Environment::Blue).instances.len(), 0);
}

#[test]
fn an_abort_at_any_point_before_the_cutover_leaves_traffic_where_it_was() {
    for answered in 0..3 {
        let mut world = World::settled(&["v1"]);
        world.deploy("v2").unwrap();
        for kind in ["provision", "healthy"].iter().take(answered) {
            world.goes_well(kind);
        }
        world.abort().unwrap();
        let undo = if answered == 2 { "shift" } else { "retire" };
        assert_eq!(world.labels(), [undo], "nothing of the way forward is waited for");
        assert!(world.abort().unwrap().noop, "twice is as good as once");
        world.go_well();
        assert_eq!(world.last_closed().status, Status::RolledBack, "after {answered} answers");
        assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
        assert_eq!(world.outside.running.len(), 1);
    }
    assert_eq!(World::settled(&["v1"]).abort(), Err(Refusal::NothingToAbort));
}

#[test]
fn an_undo_that_fails_is_stuck_and_says_why_until_a_person_tries_again() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    world.fails("shift");
    world.fails("shift");
    assert_eq!(world.open().status, Status::Stuck);
    let reason = world.open().reason.clone().unwrap();
    assert_eq!(
        reason,
        "traffic could not be moved back: it broke; it was being taken back because: it broke"
    );
    assert!(matches!(world.deploy("v3"), Err(Refusal::DeploymentOpen { status: Status::Stuck, .. })));
    world.abort().unwrap();
    world.goes_well("shift");
    world.goes_well("drain");
    world.goes_well("shift");
    world.fails("retire");
    assert_eq!(world.open().status, Status::Stuck);
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.last_closed().status, Status::RolledBack);
    assert_eq!(world.outside.running.len(), 1);
}
