//! The controller starts again: what was wanted is asked for again, what is gone is put back.

#![cfg(not(loom))]

mod service_world;

use cutover_core::service::{
    Answer, DeploymentKind, Effect, Event, Health, Instance, PendingEffect, Purpose, Stage, Status,
};
use cutover_core::{Environment, Epoch};
use service_world::{World, failed, unhealthy};

#[test]
fn a_restart_with_everything_in_place_asks_for_nothing() {
    let mut world = World::settled(&["v1", "v2"]);
    let transition = world.restart();
    assert_eq!(transition.effects, []);
    assert_eq!(world.state.term, 1);
}

#[test]
fn whatever_had_no_answer_is_asked_for_again_under_the_same_id() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let before = world.pending("provision");
    world.now = world.now + std::time::Duration::from_secs(30);
    let transition = world.restart();
    assert_eq!(transition.effects.len(), 1);
    assert_eq!(transition.effects[0].id, before.id);
    assert_eq!(transition.effects[0].effect, before.effect);
    assert!(transition.effects[0].deadline > before.deadline);
    world.go_well();
    assert_eq!(world.live_version(), Some("v2"));
}

#[test]
fn a_pending_shift_gets_an_epoch_that_is_newer_than_anything_the_router_knows() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    let before = world.pending("shift");
    let stale = world.outside.perform(&before);
    let mut route = world.outside.observe().unwrap();
    route.epoch = Epoch::try_from(9 << 32).unwrap();
    world.outside.route.as_mut().unwrap().epoch = Some(route.epoch);
    let running = world.outside.running.iter().cloned().collect();
    world
        .happens(&Event::ControllerStarted {
            term: 3,
            route: Some(route.clone()),
            blind: false,
            running,
            releases: None,
        })
        .unwrap();
    let again = world.pending("shift");
    assert_eq!(again.id, before.id);
    let Effect::Shift { route: asked } = &again.effect else { panic!() };
    assert!(asked.epoch.unwrap() > route.epoch);
    assert!(world.answer(&again, stale).noop, "the receipt of the former life proves nothing");
    world.goes_well("shift");
    assert_eq!(world.live_version(), Some("v2"));
}

#[test]
fn live_and_warm_instances_that_are_gone_are_started_again_under_their_own_ids() {
    let mut world = World::settled(&["v1", "v2"]);
    world.outside.running.clear();
    let transition = world.restart();
    let restores = |effects: &[PendingEffect], wanted: Environment, name: &str, only_if_room: bool| {
        let restored = effects.iter().filter_map(|pending| match &pending.effect {
            Effect::Provision { environment, instances, if_room, .. } => {
                Some((pending.purpose, *environment, instances[0].to_string(), *if_room))
            }
            _ => None,
        });
        let expected = (Purpose::Upkeep, wanted, name.to_owned(), only_if_room);
        assert_eq!(restored.collect::<Vec<_>>(), [expected]);
    };
    // Live comes first, and whatever the host has room for. What is only warm waits until live is well.
    restores(&transition.effects, Environment::Green, "shop-green-d2-1", false);
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
    let well = world.health(Environment::Green, Health::Healthy);
    restores(&well.effects, Environment::Blue, "shop-blue-d1-1", true);
    world.go_well();
    assert_eq!(world.outside.running.len(), 2);
}

#[test]
fn the_warm_release_does_not_wait_for_ever_for_a_live_one_that_does_not_become_well() {
    let mut world = World::settled(&["v1", "v2"]);
    world.outside.running.clear();
    world.restart();
    world.go_well();
    world.health(Environment::Green, unhealthy());
    assert_eq!(world.outside.running.len(), 1);
    world.wait();
    world.go_well();
    assert_eq!(world.outside.running.len(), 2, "it may be the rescue");
}

#[test]
fn what_has_no_room_is_tried_again_with_growing_pauses_and_a_look_does_not_hurry_it() {
    let mut world = World::settled(&["v1", "v2"]);
    world.outside.running.retain(|id| id.as_str().contains("green"));
    world.restart();
    world.fails("provision");
    let pauses: Vec<u64> = (0..8)
        .map(|_| {
            assert!(world.restart().noop, "a look changes nothing before its time");
            let before = world.now;
            world.wait();
            world.fails("provision");
            world.now.since(before).as_secs()
        })
        .collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 320, 320]);
}

#[test]
fn the_decision_of_a_restart_is_recorded_in_one_sentence() {
    let decision = |world: &World| world.state.recovery.as_ref().unwrap().decision.clone();
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.restart_in_term(1, None);
    let resumes = "deployment `d2` of `v2` resumes: its release and its instances are as recorded";
    assert_eq!(decision(&world), resumes);
    let step = world.open().steps.last().unwrap();
    assert_eq!((step.name.as_str(), step.detail.as_str()), ("restart", resumes));

    world.go_well();
    world.restart_in_term(2, None);
    assert_eq!(
        decision(&world),
        "deployment `d2` of `v2` goes forward: traffic had moved before the restart"
    );

    world.rollback().unwrap();
    world.restart_in_term(3, None);
    assert_eq!(
        decision(&world),
        "deployment `d2` of `v2` goes on being taken back, because: rolled back by hand"
    );
    world.fails("shift");
    world.restart_in_term(4, None);
    assert_eq!(decision(&world), "deployment `d2` of `v2` was stuck: its undo is tried again");
}

#[test]
fn an_attempt_whose_release_is_no_longer_whole_is_taken_back_and_one_that_is_live_is_not() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let kept = vec![world.slot(Environment::Blue).release.as_ref().unwrap().id.clone()];
    world.restart_in_term(1, Some(kept.clone()));
    world.go_well();
    let closed = world.last_closed();
    assert_eq!(closed.status, Status::RolledBack);
    assert!(closed.reason.as_ref().unwrap().contains("`v2` is no longer whole in the store"));
    assert_eq!(world.live_version(), Some("v1"));

    world.deploy("v3").unwrap();
    world.go_well();
    world.restart_in_term(2, Some(kept));
    world.go_well();
    assert_eq!((world.live_version(), world.open().status), (Some("v3"), Status::Live));
}

#[test]
fn traffic_that_was_moved_by_hand_in_the_bake_takes_the_deployment_back() {
    let mut world = World::with(&["v1", "v2"]);
    world.health(Environment::Blue, unhealthy());
    assert!(world.outside.move_by_hand());
    let by_hand = world.outside.observe().unwrap().epoch;
    world.restart_in_term(1, None);
    world.go_well();
    let closed = world.last_closed();
    assert_eq!((closed.status, world.live_version()), (Status::RolledBack, Some("v1")));
    assert!(closed.reason.as_ref().unwrap().contains("moved to blue by hand"));
    assert!(world.outside.observe().unwrap().epoch > by_hand);
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
}

#[test]
fn traffic_that_was_moved_by_hand_after_the_bake_is_a_rollback_of_its_own() {
    let mut world = World::settled(&["v1", "v2"]);
    assert!(world.outside.move_by_hand());
    world.restart_in_term(1, None);
    world.go_well();
    let closed = world.last_closed();
    assert_eq!((closed.kind, closed.status), (DeploymentKind::Rollback, Status::Live));
    assert_eq!(closed.undoes.as_ref().unwrap().as_str(), "d2");
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn traffic_that_was_moved_by_hand_to_what_was_being_emptied_keeps_its_instances() {
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    assert_eq!(world.labels(), ["drain"]);
    assert!(world.outside.move_by_hand());
    world.restart_in_term(1, None);
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
    assert!(world.outside.running.contains(&world.outside.in_traffic()[0]));
}

#[test]
fn traffic_that_was_moved_by_hand_to_what_was_taken_back_is_moved_back_and_said() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    world.goes_well("shift");
    assert!(world.outside.move_by_hand());
    world.restart_in_term(1, None);
    let decision = &world.state.recovery.as_ref().unwrap().decision;
    assert!(decision.contains("is moved back, because what is on green may not serve"), "{decision}");
    world.go_well();
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_bake_longer() {
    let mut world = World::with(&["v1", "v2"]);
    world.now = cutover_core::Timestamp::from_millis(1000);
    world.restart_in_term(1, None);
    assert_eq!(world.open().bake_until, Some(world.now + std::time::Duration::from_secs(600)));
}

#[test]
fn instances_that_came_back_elsewhere_are_published_with_unchanged_weights() {
    let mut world = World::settled(&["v1"]);
    world.outside.running.clear();
    world.restart();
    let provision = world.pending("provision");
    let Answer::Provisioned { mut instances } = world.outside.perform(&provision) else { panic!() };
    instances[0].address.set_port(4999);
    world.answer(&provision, Answer::Provisioned { instances: instances.clone() });
    assert_eq!(world.slot(Environment::Blue).instances, instances);
    let shift = world.pending("shift");
    assert_eq!(shift.purpose, Purpose::Upkeep);
    let before = world.state.weights;
    world.goes_well("shift");
    assert_eq!(world.state.weights, before);
    assert_eq!(world.outside.route.as_ref().unwrap().blue[0].address.port(), 4999);
}

#[test]
fn instances_that_moved_while_a_shift_is_pending_travel_with_that_shift() {
    let mut world = World::settled(&["v1"]);
    world.outside.running.clear();
    world.restart();
    let provision = world.pending("provision");
    let id = world.slot(Environment::Blue).instances[0].id.clone();
    world.deploy("v2").unwrap();
    let attempt =
        world.state.pending.iter().find(|pending| pending.purpose == Purpose::Deployment).unwrap().clone();
    let answer = world.outside.perform(&attempt);
    world.answer(&attempt, answer);
    world.goes_well("healthy");
    let first = world.pending("shift");
    world.outside.perform(&provision);
    let moved = Instance { id, address: "127.0.0.1:4999".parse().unwrap() };
    world.answer(&provision, Answer::Provisioned { instances: vec![moved] });
    let shift = world.pending("shift");
    assert_eq!(shift.purpose, Purpose::Deployment, "one shift at a time, and it still moves traffic");
    assert!(shift.id != first.id);
    world.goes_well("shift");
    assert_eq!(world.live_version(), Some("v2"));
    assert_eq!(world.outside.route.as_ref().unwrap().blue[0].address.port(), 4999);
}

#[test]
fn what_could_not_be_put_back_is_tried_again() {
    let mut world = World::settled(&["v1"]);
    world.outside.running.clear();
    world.restart();
    world.fails("provision");
    assert!(world.slot(Environment::Blue).trouble.as_ref().unwrap().contains("it broke"));
    world.wait();
    world.go_well();
    assert_eq!(world.slot(Environment::Blue).trouble, None);
    assert_eq!(world.outside.running.len(), 1);
}

#[test]
fn nothing_is_rolled_back_to_instances_that_were_started_again_and_not_yet_seen_healthy() {
    let mut world = World::with(&["v1", "v2"]);
    world.outside.running.retain(|id| id.as_str().contains("green"));
    world.restart();
    world.go_well();
    world.health(Environment::Green, unhealthy());
    assert_eq!(world.open().status, Status::Live);
    world.health(Environment::Blue, Health::Healthy);
    assert_eq!(world.open().status, Status::RollingBack);
}

#[test]
fn a_router_that_lost_the_service_gets_it_again() {
    let mut world = World::settled(&["v1"]);
    world.outside.route = None;
    world.restart();
    assert_eq!(world.labels(), ["shift"]);
    world.fails("shift");
    world.wait();
    world.goes_well("shift");
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
    assert_eq!(world.state.next_deadline(), None);
}

#[test]
fn a_router_that_came_back_with_an_older_table_gets_the_present_one() {
    let mut world = World::settled(&["v1"]);
    let old = world.outside.route.clone();
    world.deploy("v2").unwrap();
    world.go_well();
    world.outside.route = old;
    world.restart();
    world.go_well();
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-green-d2-1");
}

#[test]
fn an_older_table_is_noticed_even_if_its_weights_are_the_same() {
    let mut world = World::settled(&["v1", "v2"]);
    let old = world.outside.route.clone();
    world.wait();
    world.go_well();
    world.outside.route = old;
    assert!(world.outside.check().is_err(), "it routes to what was stopped");
    world.restart();
    world.go_well();
    assert_eq!(world.outside.check(), Ok(()));
}

#[test]
fn an_attempt_whose_instances_did_not_survive_is_taken_back() {
    for answered in [1, 2] {
        let mut world = World::settled(&["v1"]);
        world.deploy("v2").unwrap();
        for kind in ["provision", "healthy"].iter().take(answered) {
            world.goes_well(kind);
        }
        world.outside.running.retain(|id| id.as_str().contains("blue"));
        world.restart();
        world.go_well();
        let closed = world.last_closed();
        assert_eq!(closed.status, Status::RolledBack);
        let reason = closed.reason.as_deref();
        assert_eq!(reason, Some("instance `shop-green-d2-1` was gone after a restart of the controller"));
        assert_eq!(world.live_version(), Some("v1"));
    }
}

#[test]
fn a_bake_goes_on_after_a_restart() {
    let mut world = World::with(&["v1", "v2"]);
    let until = world.open().bake_until;
    world.outside.running.clear();
    world.restart();
    world.go_well();
    world.health(Environment::Green, Health::Healthy);
    world.go_well();
    assert_eq!((world.open().stage, world.open().bake_until), (Stage::Baking, until));
    assert_eq!(world.outside.running.len(), 2);
}

#[test]
fn a_stuck_undo_is_tried_again_so_that_the_route_is_not_put_right_the_wrong_way() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    let shift = world.pending("shift");
    world.outside.perform(&shift);
    world.answer(&shift, failed("the connection broke before the answer"));
    assert_eq!(world.open().status, Status::Stuck);
    world.restart();
    let Effect::Shift { route } = world.pending("shift").effect else { panic!() };
    assert_eq!(route.weights.sole(), Some(Environment::Blue));
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn while_the_way_back_is_stuck_whatever_is_published_is_the_way_back() {
    let mut world = World::with(&["v1", "v2"]);
    world.rollback().unwrap();
    world.fails("shift");
    world.outside.running.retain(|id| id.as_str().contains("blue"));
    world.restart();
    world.fails("shift");
    let provision = world.pending("provision");
    let Answer::Provisioned { mut instances } = world.outside.perform(&provision) else { panic!() };
    instances[0].address.set_port(4999);
    world.answer(&provision, Answer::Provisioned { instances });
    let Effect::Shift { route } = world.pending("shift").effect else { panic!() };
    assert_eq!((route.weights.sole(), route.green[0].address.port()), (Some(Environment::Blue), 4999));
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn what_runs_under_the_services_name_and_is_known_to_nobody_is_stopped() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let late = world.pending("provision");
    world.abort().unwrap();
    world.go_well();
    world.outside.perform(&late);
    assert_eq!(world.outside.running.len(), 2);
    world.restart();
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
    assert_eq!(world.outside.in_traffic()[0].as_str(), "shop-blue-d1-1");
}
