//! Restart, scale and stop: what changes within the live slot.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use cutover_core::Environment;
use cutover_core::service::{DeploymentKind, Event, Refusal, Stage, Status, StopScope, WhenOpen};
use service_world::{World, unhealthy};

/// `v1` on blue is live with so many instances and nothing is open.
fn running(instances: u32) -> World {
    let mut world = World::settled(&["v1"]);
    world.scale(instances).unwrap();
    world.go_well();
    assert_eq!(world.last_closed().status, Status::Live);
    world
}

fn ids(world: &World) -> Vec<String> {
    world.slot(world.state.live).instances.iter().map(|instance| instance.id.to_string()).collect()
}

#[test]
fn a_restart_exchanges_one_instance_at_a_time_and_never_serves_with_fewer() {
    let mut world = running(3);
    let before = ids(&world);
    world.restart_instances().unwrap();
    let mut most = 0;
    while !world.state.pending.is_empty() {
        assert_eq!(ids(&world).len(), 3);
        most = most.max(world.outside.running.len());
        let pending = world.state.pending.first().cloned().unwrap();
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
        assert_eq!(world.outside.check(), Ok(()));
    }
    assert_eq!(most, 4, "a surge of one");
    assert_eq!(world.outside.running.len(), 3);
    assert!(ids(&world).iter().all(|id| !before.contains(id)), "{:?}", ids(&world));
    let closed = world.last_closed();
    assert_eq!(
        (closed.kind, closed.status, closed.receipts.len()),
        (DeploymentKind::Restart, Status::Live, 3)
    );
    assert_eq!(world.state.weights.of(Environment::Blue), 100);
}

#[test]
fn a_replacement_that_does_not_become_healthy_ends_the_restart_with_what_serves_as_it_is() {
    let mut world = running(2);
    let before = ids(&world);
    world.restart_instances().unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    world.go_well();
    assert_eq!((ids(&world), world.outside.running.len()), (before, 2));
    assert_eq!(world.last_closed().status, Status::RolledBack);
    assert_eq!(world.last_closed().reason.as_deref(), Some("it broke"));
}

#[test]
fn an_abort_while_the_table_is_being_told_takes_the_new_one_out_again_before_it_is_stopped() {
    let mut world = running(1);
    let before = ids(&world);
    world.restart_instances().unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    // Published, but the answer is not here yet.
    let shift = world.pending("shift");
    world.outside.perform(&shift);
    world.abort().unwrap();
    world.go_well();
    assert_eq!((ids(&world), world.outside.running.len()), (before, 1));
    assert_eq!(world.outside.check(), Ok(()));
}

#[test]
fn a_rollback_does_not_wait_for_the_end_of_a_restart() {
    let mut world = World::settled(&["v1", "v2"]);
    world.restart_instances().unwrap();
    assert!(world.state.rollback_readiness(world.now).ready);
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
    assert_eq!(world.outside.running.len(), 1, "{:?}", world.outside.running);
}

#[test]
fn a_restart_goes_on_after_a_restart_of_the_controller_wherever_that_was() {
    for steps in 0..12 {
        let mut world = running(2);
        let before = ids(&world);
        world.restart_instances().unwrap();
        for _ in 0..steps {
            let Some(pending) = world.state.pending.first().cloned() else { break };
            let answer = world.outside.perform(&pending);
            world.answer(&pending, answer);
        }
        world.restart_in_term(2, None);
        world.go_well();
        assert!(ids(&world).iter().all(|id| !before.contains(id)), "after {steps} steps: {:?}", ids(&world));
        assert_eq!(world.outside.running.len(), 2, "after {steps} steps");
        assert_eq!(world.last_closed().status, Status::Live, "after {steps} steps");
    }
}

#[test]
fn a_scale_holds_until_a_deploy_brings_its_own_number() {
    let mut world = running(3);
    world.scale(2).unwrap();
    world.go_well();
    assert_eq!((ids(&world).len(), world.outside.running.len()), (2, 2));
    // A reboot: nothing runs any more.
    world.outside.running.clear();
    world.restart();
    world.go_well();
    assert_eq!(world.outside.running.len(), 2, "as many as before");
    world.deploy("v2").unwrap();
    world.go_well();
    assert_eq!(ids(&world).len(), 1);
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(ids(&world).len(), 2);
}

#[test]
fn a_cold_rollback_to_what_was_scaled_starts_as_many() {
    let mut world = running(3);
    world.deploy("v2").unwrap();
    world.go_well();
    world.end_bake();
    world.wait();
    world.go_well();
    assert_eq!(world.outside.running.len(), 1, "v1 is cold");
    world.rollback().unwrap();
    world.go_well();
    assert_eq!((world.live_version(), ids(&world).len()), (Some("v1"), 3));
}

#[test]
fn a_scale_to_what_there_is_is_done_at_once_and_to_none_is_refused() {
    let mut world = running(2);
    world.scale(2).unwrap();
    assert_eq!(world.last_closed().kind, DeploymentKind::Scale);
    assert!(world.state.deployment.is_none());
    assert_eq!(world.scale(0), Err(Refusal::ScaledToNothing));
}

#[test]
fn a_stopped_service_is_started_by_nothing_but_a_person() {
    let mut world = World::settled(&["v1", "v2"]);
    world.stop(StopScope::Service).unwrap();
    world.go_well();
    assert!(world.outside.running.is_empty());
    assert_eq!(world.outside.check(), Ok(()));
    world.restart();
    world.go_well();
    world.pass(7200);
    assert!(world.outside.running.is_empty(), "nothing heals it");
    assert!(matches!(world.scale(2), Err(Refusal::Stopped { .. })));
    world.restart_instances().unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.outside.running.len()), (Some("v2"), 1));
    assert_eq!(world.state.stopped, None);
}

#[test]
fn a_deploy_of_the_identical_release_starts_a_stopped_service() {
    let mut world = World::settled(&["v1"]);
    world.stop(StopScope::Service).unwrap();
    world.go_well();
    world.deploy("v1").unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.state.stopped.as_ref()), (Some("v1"), None));
    assert_eq!(world.outside.running.len(), 1);
    // In the bake the former, stopped one is brought back if somebody asks for it.
    world.rollback().unwrap();
    world.go_well();
    assert_eq!((world.state.live, world.outside.running.len()), (Environment::Blue, 1));
}

#[test]
fn the_warmth_can_be_ended_early_and_what_is_cold_is_not_stopped_again() {
    let mut world = World::settled(&["v1", "v2"]);
    world.stop(StopScope::Idle).unwrap();
    world.go_well();
    assert_eq!((world.outside.running.len(), world.state.standby_until), (1, None));
    assert!(matches!(world.stop(StopScope::Idle), Err(Refusal::NothingToStop { .. })));
    assert!(!world.state.rollback_readiness(world.now).warm);
}

#[test]
fn while_a_deployment_is_open_only_the_end_of_its_bake_lets_a_restart_in() {
    let mut world = World::with(&["v1", "v2"]);
    assert!(matches!(world.restart_instances(), Err(Refusal::DeploymentOpen { baking: true, .. })));
    assert!(matches!(world.stop(StopScope::Service), Err(Refusal::DeploymentOpen { .. })));
    let deployment = "r1".parse().unwrap();
    world.happens(&Event::RestartRequested { deployment, actor: "bob".to_owned(), end_bake: true }).unwrap();
    assert_eq!(world.open().kind, DeploymentKind::Restart);
    assert!(world.state.standby_until.is_some(), "the former release stays warm");
    assert!(matches!(world.deploy("v3"), Err(Refusal::DeploymentOpen { .. })));
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn an_instance_that_dies_during_a_restart_is_put_back_beside_it() {
    let mut world = running(2);
    world.restart_instances().unwrap();
    world.goes_well("provision");
    assert_eq!(world.open().stage, Stage::Proving);
    world.health(Environment::Blue, unhealthy());
    let dead = world.slot(Environment::Blue).instances[1].id.clone();
    world.outside.running.remove(&dead);
    world.restart();
    world.go_well();
    assert_eq!((world.outside.running.len(), world.last_closed().status), (2, Status::Live));
}

#[test]
fn nothing_of_it_is_for_a_service_that_never_was_live() {
    let mut world = World::new();
    assert_eq!(world.restart_instances(), Err(Refusal::NothingIsLive));
    assert_eq!(world.scale(2), Err(Refusal::NothingIsLive));
    assert!(matches!(world.stop(StopScope::Service), Err(Refusal::NothingToStop { .. })));
}

#[test]
fn a_removed_service_is_routed_no_more_and_begins_anew_with_a_newer_epoch() {
    let mut world = World::settled(&["v1", "v2"]);
    world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
    assert!(matches!(world.deploy("v3"), Err(Refusal::BeingRemoved { .. })));
    assert!(!world.state.rollback_readiness(world.now).ready);
    while !world.state.pending.is_empty() {
        let pending = world.state.pending.first().cloned().unwrap();
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
        assert_eq!(world.outside.check(), Ok(()));
    }
    assert!(world.outside.running.is_empty() && world.outside.route.is_none());
    assert!(world.state.removal.as_ref().unwrap().done);
    assert!(matches!(
        world.happens(&Event::RemoveRequested { actor: String::new(), end_bake: false }),
        Err(Refusal::Removed { .. })
    ));
    world.restart();
    world.go_well();
    assert!(world.outside.route.is_none(), "nothing brings it back");
    let epoch = world.state.epoch;
    world.deploy("v1").unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.state.removal.as_ref()), (Some("v1"), None));
    assert!(world.state.epoch > epoch);
}

#[test]
fn a_removal_that_the_router_does_not_answer_is_tried_again_also_by_the_next_controller() {
    let mut world = World::settled(&["v1"]);
    world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
    for kind in ["shift", "drain", "retire"] {
        world.goes_well(kind);
    }
    world.fails("unroute");
    world.restart_in_term(2, None);
    assert_eq!(world.outside.running.len(), 0);
    world.wait();
    world.go_well();
    assert!(world.outside.route.is_none() && world.state.removal.as_ref().unwrap().done);
}

fn rollback_to(world: &mut World, version: &str) -> Result<service_world::Happened, Refusal> {
    let (deployment, actor) = (format!("to-{version}").parse().unwrap(), "bob".to_owned());
    let release = Box::new(service_world::release(version));
    world.happens(&Event::RollbackToRequested { deployment, actor, release })
}

#[test]
fn a_rollback_to_any_kept_release_passes_its_gates_in_the_idle_slot_first() {
    let mut world = World::settled(&["v1", "v2", "v3"]);
    assert!(matches!(rollback_to(&mut world, "v3"), Err(Refusal::AlreadyLive { .. })));
    rollback_to(&mut world, "v1").unwrap();
    while world.state.deployment.is_some() {
        assert_eq!(world.outside.check(), Ok(()));
        let pending = world.state.pending.first().cloned().unwrap();
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
    }
    world.go_well();
    assert_eq!((world.live_version(), world.last_closed().kind), (Some("v1"), DeploymentKind::Rollback));
    assert_eq!(world.outside.running.len(), 1);
}

#[test]
fn a_rollback_to_a_release_that_does_not_start_puts_the_former_one_back() {
    let mut world = World::settled(&["v1", "v2", "v3"]);
    rollback_to(&mut world, "v1").unwrap();
    for kind in ["drain", "shift", "retire", "provision"] {
        world.goes_well(kind);
    }
    world.fails("healthy");
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
    assert_eq!(world.version_on(world.state.idle()), Some("v2"));
    assert!(world.state.rollback_readiness(world.now).ready);
}

#[test]
fn a_rollback_to_the_warm_release_is_one_shift_and_one_before_the_cutover_is_refused() {
    let mut world = World::settled(&["v1", "v2"]);
    rollback_to(&mut world, "v1").unwrap();
    assert_eq!(world.labels(), ["shift"]);
    world.go_well();
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    let refusal = rollback_to(&mut world, "v1").unwrap_err();
    assert_eq!(refusal.hint().as_deref(), Some("`cutover abort` takes it back; ask again once it has ended"));
}

#[test]
fn a_bake_is_in_the_way_of_no_rollback_to_a_release() {
    let mut world = World::with(&["v1", "v2"]);
    rollback_to(&mut world, "v1").unwrap();
    assert_eq!((world.open().status, world.labels()), (Status::RollingBack, vec!["shift"]));
    world.go_well();
    assert_eq!((world.live_version(), world.last_closed().status), (Some("v1"), Status::RolledBack));

    let mut world = World::with(&["v0", "v1", "v2"]);
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    let baked = world.open().id.clone();
    rollback_to(&mut world, "v0").unwrap();
    assert_eq!(world.open().kind, DeploymentKind::Rollback);
    world.go_well();
    let ended = world.closed.iter().find(|closed| closed.id == baked).unwrap();
    assert_eq!((ended.status, world.live_version()), (Status::Live, Some("v0")));
    assert!(world.state.queue.is_empty() && world.state.deployment.is_none(), "nothing follows a rescue");
    assert_eq!(world.outside.running.len(), 1);
}

#[test]
fn a_rollback_to_what_was_taken_back_itself_is_refused_however_often_it_was_live() {
    let mut world = World::settled(&["v0", "v1", "v2"]);
    // A warm way back to v1, then on to v0.
    world.rollback().unwrap();
    world.go_well();
    rollback_to(&mut world, "v0").unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v0"));
    let refusal = rollback_to(&mut world, "v1").unwrap_err();
    assert_eq!(refusal.to_string(), "there is nothing to roll back to: `v1` was itself taken back");
}

#[test]
fn an_abort_of_a_scale_keeps_what_runs_until_it_is_being_stopped() {
    for (steps, left, status) in
        [(0, 3, Status::RolledBack), (1, 3, Status::RolledBack), (2, 1, Status::Live)]
    {
        let mut world = running(3);
        world.scale(1).unwrap();
        for kind in ["shift", "drain"].into_iter().take(steps) {
            world.goes_well(kind);
        }
        world.abort().unwrap();
        world.go_well();
        let said = format!("after {steps} steps");
        assert_eq!((ids(&world).len(), world.outside.running.len()), (left, left), "{said}");
        let route = world.outside.route.as_ref().unwrap();
        assert_eq!(route.instances(Environment::Blue).len(), left, "{said}");
        assert_eq!(world.last_closed().status, status, "{said}");
        assert_eq!(world.slot(Environment::Blue).count() as usize, left, "{said}");
        // It comes back as it was, too.
        world.stop(StopScope::Service).unwrap();
        world.go_well();
        world.restart_instances().unwrap();
        world.go_well();
        assert_eq!(world.outside.running.len(), left, "{said}");
    }
}

#[test]
fn an_abort_of_a_restart_ends_it_well_only_if_nothing_of_it_was_left_to_do() {
    for (rounds, status) in [(1, Status::RolledBack), (2, Status::Live)] {
        let mut world = running(2);
        world.restart_instances().unwrap();
        for round in 1..=rounds {
            for kind in ["provision", "healthy", "shift", "drain"] {
                world.goes_well(kind);
            }
            if round < rounds {
                world.goes_well("retire");
            }
        }
        world.abort().unwrap();
        assert_eq!(world.last_closed().status, status);
        assert!(world.last_closed().reason.is_some());
        world.go_well();
        assert_eq!((ids(&world).len(), world.outside.running.len()), (2, 2));
    }
}

#[test]
fn a_publication_that_fails_for_one_purpose_has_failed_for_all_that_waited_for_it() {
    let mut world = World::settled(&["v1", "v2"]);
    world.scale(2).unwrap();
    world.go_well();
    world.stop(StopScope::Idle).unwrap();
    world.goes_well("drain");
    world.scale(1).unwrap();
    world.fails("shift");
    world.wait();
    world.go_well();
    assert_eq!(world.outside.running.len(), 1, "{:?}", world.outside.running);
    assert_eq!((world.slot(Environment::Blue).clearing, world.state.deployment.as_ref()), (None, None));
}

#[test]
fn a_stop_can_be_taken_back_before_it_is_done() {
    for steps in 0..4 {
        let mut world = running(2);
        world.stop(StopScope::Service).unwrap();
        for kind in ["shift", "drain", "retire"].into_iter().take(steps) {
            world.goes_well(kind);
        }
        world.restart_instances().unwrap();
        world.go_well();
        assert_eq!((ids(&world).len(), world.outside.running.len()), (2, 2), "after {steps} steps");
        assert_eq!((world.state.stopped.as_ref(), world.outside.check()), (None, Ok(())));
        assert_eq!(world.last_closed().status, Status::Live);
    }
}

#[test]
fn a_restart_of_what_was_stopped_that_ends_while_old_instances_are_stopped_leaves_nothing_stopped() {
    let mut world = running(2);
    world.stop(StopScope::Service).unwrap();
    world.restart_instances().unwrap();
    for kind in ["provision", "healthy", "shift", "drain"] {
        world.goes_well(kind);
    }
    world.abort().unwrap();
    assert_eq!((world.last_closed().status, world.state.stopped.as_ref()), (Status::Live, None));
    world.go_well();
    assert_eq!((ids(&world).len(), world.outside.running.len()), (2, 2));
    world.scale(1).unwrap();
}

#[test]
fn a_stop_and_a_removal_end_a_bake_if_they_are_told_to_and_nothing_starts_it_again() {
    let stop = |end_bake| service_world::stop_event("bob".to_owned(), StopScope::Service, end_bake);
    let remove = |end_bake| Event::RemoveRequested { actor: "bob".to_owned(), end_bake };
    for (refused, granted) in [(stop(false), stop(true)), (remove(false), remove(true))] {
        let mut world = World::with(&["v1", "v2"]);
        world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
        let hint = world.happens(&refused).unwrap_err().hint().unwrap();
        assert!(hint.starts_with("`--end-bake` ends the bake now") && !hint.contains("--queue"), "{hint}");
        world.happens(&granted).unwrap();
        world.go_well();
        assert!(world.outside.running.is_empty(), "{:?}", world.outside.running);
        assert_eq!(world.last_closed().status, Status::RolledBack, "what waited is dropped");
        assert!(world.state.queue.is_empty() && world.state.deployment.is_none());
    }
}

#[test]
fn what_was_idle_when_it_was_asked_about_is_not_stopped_once_it_is_live() {
    let mut world = World::settled(&["v1", "v2"]);
    world.rollback().unwrap();
    world.go_well();
    let stop = |environment| Event::StopRequested {
        actor: "bob".to_owned(),
        scope: StopScope::Idle,
        environment: Some(environment),
        end_bake: false,
    };
    assert_eq!(
        world.happens(&stop(Environment::Blue)),
        Err(Refusal::IsLive { environment: Environment::Blue })
    );
    let mut world = World::settled(&["v1", "v2"]);
    world.happens(&stop(Environment::Blue)).unwrap();
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
}

#[test]
fn a_restart_that_ends_a_bake_comes_before_what_waits_in_the_queue_and_does_not_drop_it() {
    let mut world = World::with(&["v1", "v2"]);
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    let deployment = "r1".parse().unwrap();
    world.happens(&Event::RestartRequested { deployment, actor: "bob".to_owned(), end_bake: true }).unwrap();
    assert_eq!((world.open().kind, world.state.queue.len()), (DeploymentKind::Restart, 1));
    world.go_well();
    assert_eq!((world.live_version(), world.state.queue.len()), (Some("v3"), 0));
}

#[test]
fn a_removal_that_cannot_be_finished_is_taken_back_by_a_restart() {
    let mut world = World::settled(&["v1"]);
    world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
    world.goes_well("shift");
    world.goes_well("drain");
    world.fails("retire");
    let hint = world.deploy("v2").unwrap_err().hint().unwrap();
    assert!(hint.starts_with("`cutover restart` takes that back"), "{hint}");
    world.restart_instances().unwrap();
    world.go_well();
    assert_eq!((world.live_version(), world.state.removal.as_ref()), (Some("v1"), None));
    assert_eq!((world.outside.running.len(), world.outside.route.is_some()), (1, true));
}

#[test]
fn a_word_to_forget_the_route_that_comes_late_does_not_touch_a_newer_one() {
    let mut world = World::settled(&["v1"]);
    world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
    for kind in ["shift", "drain", "retire"] {
        world.goes_well(kind);
    }
    let late = world.pending("unroute");
    world.restart_instances().unwrap();
    world.go_well();
    let answer = world.outside.perform(&late);
    assert!(world.answer(&late, answer).noop);
    assert!(world.outside.route.is_some(), "it has newer word");
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_up_a_removal_and_what_was_removed_says_so() {
    let mut world = World::settled(&["v1", "v2"]);
    world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
    while !world.labels().contains(&"unroute") {
        let pending = world.state.pending.first().cloned().unwrap();
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
    }
    world.fails("unroute");
    world.now = cutover_core::Timestamp::from_millis(1000);
    world.restart_in_term(2, None);
    world.pass(320);
    world.go_well();
    assert!(world.state.removal.as_ref().unwrap().done);
    let why_not = world.state.rollback_readiness(world.now).why_not;
    assert_eq!(why_not.as_deref(), Some("the service was removed"));
}

#[test]
fn a_hand_at_the_router_does_not_keep_what_is_being_removed() {
    let mut world = World::settled(&["v1", "v2"]);
    world.happens(&Event::RemoveRequested { actor: "bob".to_owned(), end_bake: false }).unwrap();
    assert!(world.outside.move_by_hand());
    world.restart_in_term(2, None);
    let decision = &world.state.recovery.as_ref().unwrap().decision;
    assert!(
        decision.contains("by hand, past the controller, and the service is removed all the same"),
        "{decision}"
    );
    world.go_well();
    assert!(world.state.removal.as_ref().unwrap().done && world.outside.running.is_empty());
    assert_eq!(world.outside.route, None);
}
