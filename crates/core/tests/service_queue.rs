//! One at a time, on the terms of whoever asks: refuse, queue, supersede, end the bake.

#![cfg(not(loom))]

mod service_world;

use cutover_core::service::{Stage, Status, Way, WhenOpen};
use service_world::World;

fn queued(world: &World) -> Vec<&str> {
    world.state.queue.iter().map(|queued| queued.version.as_str()).collect()
}

#[test]
fn what_is_queued_begins_when_the_open_deployment_has_ended() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.deploy_when_open("v4", WhenOpen::Queue).unwrap();
    assert_eq!((world.open().version.as_str(), queued(&world)), ("v2", vec!["v3", "v4"]));
    assert_eq!(world.state.ahead_of(&"d4".parse().unwrap()), Some(2));
    world.go_well();
    assert_eq!((world.live_version(), queued(&world).len()), (Some("v2"), 2), "the bake counts as open");
    world.end_bake();
    assert_eq!((world.live_version(), queued(&world)), (Some("v3"), vec!["v4"]));
    let open = world.open();
    assert_eq!(open.from.as_ref().unwrap().as_str(), "v2", "it knows what it really follows");
    assert_eq!(open.steps[0].name, "queue");
    world.end_bake();
    assert_eq!((world.live_version(), queued(&world)), (Some("v4"), vec![]));
}

#[test]
fn what_fails_by_itself_does_not_hold_up_what_waits_behind_it() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.fails("provision");
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn what_a_person_takes_back_takes_the_queue_with_it() {
    for ask in [World::abort, World::rollback] {
        let mut world = World::settled(&["v1"]);
        world.deploy("v2").unwrap();
        world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
        ask(&mut world).unwrap();
        world.go_well();
        assert_eq!((world.live_version(), world.state.deployment.is_some()), (Some("v1"), false));
        let dropped = world.closed.iter().find(|closed| closed.version.as_str() == "v3").unwrap();
        assert_eq!(dropped.status, Status::RolledBack);
        let reason = dropped.reason.as_ref().unwrap();
        assert!(reason.starts_with("dropped from the queue: deployment `d2` was "), "{reason}");
        assert!(reason.ends_with("by hand by bob"), "{reason}");
    }
}

#[test]
fn the_queue_alone_can_be_dropped() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let only_queue = cutover_core::service::Event::AbortRequested {
        actor: "bob".to_owned(),
        only_queue: true,
        deployment: None,
    };
    assert_eq!(world.happens(&only_queue).unwrap_err().to_string(), "nothing waits in the queue");
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.happens(&only_queue).unwrap();
    world.go_well();
    world.end_bake();
    assert_eq!((world.live_version(), queued(&world).len()), (Some("v2"), 0));
}

#[test]
fn whoever_names_a_deployment_ends_no_other() {
    let abort = |one: &str| cutover_core::service::Event::AbortRequested {
        actor: "bob".to_owned(),
        only_queue: false,
        deployment: Some(one.parse().unwrap()),
    };
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.deploy_when_open("v4", WhenOpen::Queue).unwrap();
    world.happens(&abort("d3")).unwrap();
    assert_eq!((world.open().version.as_str(), queued(&world)), ("v2", vec!["v4"]));
    let dropped = world.closed.last().unwrap();
    assert_eq!(
        (dropped.version.as_str(), dropped.reason.as_deref()),
        ("v3", Some("dropped from the queue by bob"))
    );
    let refused = world.happens(&abort("d3")).unwrap_err();
    assert_eq!(refused.to_string(), "deployment `d3` is neither open nor waiting");
    world.happens(&abort("d2")).unwrap();
    assert_eq!(queued(&world), ["v4"], "what else waits is somebody else's");
    world.go_well();
    assert_eq!(world.live_version(), Some("v4"));
}

#[test]
fn a_deployment_that_supersedes_takes_the_open_one_back_and_drops_what_waits() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.deploy_when_open("v4", WhenOpen::Supersede).unwrap();
    assert_eq!((world.open().stage, queued(&world)), (Stage::Retiring, vec!["v4"]));
    world.go_well();
    assert_eq!(world.live_version(), Some("v4"));
    let superseded: Vec<_> = world.closed.iter().filter(|closed| closed.reason.is_some()).collect();
    for closed in &superseded {
        assert_eq!(closed.status, Status::RolledBack);
        assert_eq!(closed.reason.as_deref(), Some("superseded by `v4` (deployment `d4`)"));
    }
    assert_eq!(superseded.len(), 2);
}

#[test]
fn superseding_what_is_live_ends_its_bake_and_moves_no_traffic_back() {
    let mut world = World::with(&["v1", "v2"]);
    world.deploy_when_open("v3", WhenOpen::Supersede).unwrap();
    assert_eq!((world.live_version(), world.last_closed().status), (Some("v2"), Status::Live));
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn whoever_ends_the_bake_goes_before_what_waits() {
    let mut world = World::with(&["v1", "v2"]);
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.deploy_when_open("v4", WhenOpen::EndBake).unwrap();
    assert_eq!((world.open().version.as_str(), queued(&world)), ("v4", vec!["v3"]));
}

#[test]
fn nobody_replaces_a_rescue_but_one_may_wait_behind_it() {
    let mut world = World::settled(&["v1", "v2"]);
    world.rollback().unwrap();
    let refusal = world.deploy_when_open("v3", WhenOpen::Supersede).unwrap_err();
    assert!(refusal.to_string().starts_with("deployment `d3` of `v1` by bob is open"), "{refusal}");
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.goes_well("shift");
    assert_eq!(world.live_version(), Some("v1"));
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn nothing_waits_behind_what_is_stuck_and_what_waits_goes_on_once_it_is_settled() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.fails("provision");
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.fails("retire");
    assert_eq!(world.open().status, Status::Stuck);
    for when_open in [WhenOpen::Queue, WhenOpen::Supersede, WhenOpen::EndBake] {
        let refusal = world.deploy_when_open("v4", when_open).unwrap_err();
        assert!(refusal.hint().unwrap().contains("cutover resolve"));
    }
    world.resolve(Way::Abandon).unwrap();
    world.go_well();
    world.wait();
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn what_became_live_while_it_waited_has_nothing_to_do() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.deploy_when_open("v2", WhenOpen::Queue).unwrap();
    world.go_well();
    world.end_bake();
    let closed = world.last_closed();
    assert_eq!((closed.id.as_str(), closed.status), ("d3", Status::Live));
    assert_eq!(closed.reason.as_deref(), Some("the identical release was live already"));
}

#[test]
fn the_queue_is_short() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    for n in 0..8 {
        world.deploy_when_open(&format!("q{n}"), WhenOpen::Queue).unwrap();
    }
    let refusal = world.deploy_when_open("one-more", WhenOpen::Queue).unwrap_err();
    assert_eq!(refusal.to_string(), "8 deployments wait already");
}

#[test]
fn the_flag_of_the_first_format_is_still_read() {
    for (written, read) in [("true", WhenOpen::EndBake), ("false", WhenOpen::Refuse)] {
        assert_eq!(serde_json::from_str::<WhenOpen>(written).unwrap(), read);
    }
    for word in [WhenOpen::Refuse, WhenOpen::Queue, WhenOpen::Supersede, WhenOpen::EndBake] {
        assert_eq!(serde_json::from_str::<WhenOpen>(&serde_json::to_string(&word).unwrap()).unwrap(), word);
    }
}
