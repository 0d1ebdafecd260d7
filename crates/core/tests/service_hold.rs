//! A deployment that waits for a person before its shift.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use std::time::Duration;

use cutover_core::Environment;
use cutover_core::release::RolloutPolicy;
use cutover_core::service::{Event, Refusal, Stage, Status, WhenOpen};
use service_world::{Happened, World, deploy_event, rollout, unhealthy};

const HOLD: Duration = Duration::from_secs(900);

fn held_policy() -> RolloutPolicy {
    RolloutPolicy { hold: Some(HOLD), ..rollout() }
}

/// `v1` is live and `v2` waits to be promoted.
fn held() -> World {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("v2", held_policy()).unwrap();
    world.go_well();
    assert_eq!((world.open().stage, world.open().status), (Stage::AwaitingPromotion, Status::Validating));
    world
}

fn promote(world: &mut World, deployment: Option<&str>) -> Result<Happened, Refusal> {
    let deployment = deployment.map(|id| id.parse().unwrap());
    world.happens(&Event::PromoteRequested { deployment, actor: "carol".to_owned() })
}

#[test]
fn it_waits_in_no_route_until_somebody_promotes_it() {
    let mut world = held();
    assert!(!world.slot(Environment::Green).passed_gates, "the gate of a person is one");
    assert_eq!(world.open().hold_until, Some(world.now + HOLD));
    world.pass(600);
    assert_eq!(world.live_version(), Some("v1"));
    promote(&mut world, None).unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v2"));
    let step = world.open().steps.iter().find(|step| step.name == "promote").unwrap().clone();
    assert_eq!(step.detail, "by carol");
    assert_eq!(world.open().hold_until, None);
}

#[test]
fn what_nobody_promotes_in_time_is_taken_back_and_says_so() {
    let mut world = World::settled(&["v1"]);
    let policy = RolloutPolicy { auto_rollback: false, ..held_policy() };
    world.deploy_with("v2", policy).unwrap();
    world.go_well();
    world.wait();
    world.go_well();
    let closed = world.last_closed();
    assert_eq!((closed.status, world.live_version()), (Status::RolledBack, Some("v1")));
    assert_eq!(closed.reason.as_deref(), Some("nobody promoted it within 15m"));
    assert!(world.outside.running.len() == 1, "its instances are stopped");
}

#[test]
fn what_loses_its_health_while_it_waits_is_taken_back() {
    let mut world = held();
    world.health(Environment::Green, unhealthy());
    let refused = promote(&mut world, None).unwrap_err();
    assert!(refused.to_string().contains("is being taken back: lost health while it waited"), "{refused}");
    world.go_well();
    assert_eq!((world.last_closed().status, world.live_version()), (Status::RolledBack, Some("v1")));
}

#[test]
fn what_loses_its_health_while_it_waits_and_is_not_taken_back_by_itself_is_kept_and_not_promoted() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("v2", RolloutPolicy { auto_rollback: false, ..held_policy() }).unwrap();
    world.go_well();
    world.health(Environment::Green, unhealthy());
    world.go_well();
    assert_eq!((world.last_closed().status, world.live_version()), (Status::Failed, Some("v1")));
    let reason = world.last_closed().reason.clone().unwrap();
    assert!(reason.contains("lost health while it waited"), "{reason}");
    assert_eq!(world.outside.running.len(), 2, "it is kept for inspection");
    let refused = promote(&mut world, None).unwrap_err().to_string();
    assert_eq!(refused, "there is nothing to promote: no deployment is open");
}

#[test]
fn a_promote_that_names_what_was_superseded_promotes_nothing_else() {
    let mut world = held();
    let former = world.open().id.to_string();
    let policy = held_policy();
    world.happens(&deploy_event(9, "v3", policy, WhenOpen::Supersede)).unwrap();
    world.go_well();
    assert_eq!((world.open().id.as_str(), world.open().stage), ("d9", Stage::AwaitingPromotion));
    let refused = promote(&mut world, Some(&former)).unwrap_err().to_string();
    assert!(refused.contains(&format!("deployment `{former}` is not open, `d9` of `v3` is")), "{refused}");
    assert_eq!((world.open().stage, world.live_version()), (Stage::AwaitingPromotion, Some("v1")));
    promote(&mut world, Some("d9")).unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn a_restart_of_the_controller_resumes_the_wait_with_the_end_it_had() {
    let mut world = held();
    let until = world.open().hold_until;
    world.pass(300);
    world.restart();
    assert_eq!((world.open().stage, world.open().hold_until), (Stage::AwaitingPromotion, until));
    promote(&mut world, None).unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v2"));
}

#[test]
fn what_died_with_the_controller_is_not_promoted() {
    let mut world = held();
    world.outside.running.retain(|id| !id.as_str().contains("green"));
    world.restart();
    world.go_well();
    let reason = world.last_closed().reason.clone().unwrap();
    assert!(reason.contains("was gone after a restart"), "{reason}");
}

#[test]
fn abort_rollback_queue_and_supersede_work_while_it_waits() {
    for rescue in [World::abort, World::rollback] {
        let mut world = held();
        rescue(&mut world).unwrap();
        world.go_well();
        assert_eq!((world.last_closed().status, world.live_version()), (Status::RolledBack, Some("v1")));
    }
    let mut world = held();
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.deploy_when_open("v4", WhenOpen::Supersede).unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v4"));
}

#[test]
fn a_promote_is_only_for_what_waits_and_told_twice_is_told_once() {
    let mut world = World::settled(&["v1"]);
    let why = |world: &mut World, id| promote(world, id).unwrap_err().to_string();
    assert_eq!(why(&mut world, None), "there is nothing to promote: no deployment is open");
    world.happens(&deploy_event(7, "v2", held_policy(), WhenOpen::Refuse)).unwrap();
    assert!(why(&mut world, None).contains("has not passed its other gates yet"));
    world.go_well();
    assert!(why(&mut world, Some("d9")).contains("deployment `d9` is not open, `d7` of `v2` is"));
    promote(&mut world, Some("d7")).unwrap();
    assert!(promote(&mut world, Some("d7")).unwrap().noop);
    world.go_well();
    assert!(promote(&mut world, Some("d7")).unwrap().noop, "also in its bake");
    assert!(why(&mut world, None).contains("waits for nobody: it is `live`"));
}

#[test]
fn a_first_release_waits_too() {
    let mut world = World::new();
    world.deploy_with("v1", held_policy()).unwrap();
    world.go_well();
    assert_eq!(world.outside.in_traffic(), Vec::new());
    promote(&mut world, None).unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
}
