//! The way of a deployment forward, and what becomes of the environment it leaves.

#![cfg(not(loom))]

mod service_world;

use std::time::Duration;

use cutover_core::release::RolloutPolicy;
use cutover_core::service::{Answer, Effect, Health, Outcome, Purpose, Refusal, Stage, Status};
use cutover_core::{Environment, Weights};
use service_world::{World, failed, label, unhealthy};

#[test]
fn the_first_release_goes_to_blue_and_is_live_after_its_gates() {
    let mut world = World::new();
    world.deploy("v1").unwrap();
    assert_eq!(world.open().environment, Environment::Blue);
    world.goes_well("provision");
    assert_eq!(world.open().status, Status::Validating);
    world.goes_well("healthy");
    assert_eq!(world.open().status, Status::Shifting);
    assert_eq!(world.outside.route, None, "nobody reaches it before its shift");
    world.goes_well("shift");
    assert_eq!(world.state.live, Environment::Blue);
    assert_eq!(world.outside.route.as_ref().unwrap().weights, Weights::all_to(Environment::Blue));
    assert_eq!(world.last_closed().status, Status::Live);
    assert_eq!(world.state.deployment, None, "with nothing to go back to there is no bake");
}

#[test]
fn a_deployment_tells_each_step_with_its_figures() {
    let mut world = World::with(&["v1", "v2"]);
    world.end_bake();
    let told: Vec<_> =
        world.last_closed().steps.iter().map(|s| (s.name.as_str(), s.detail.as_str())).collect();
    let expected = [
        ("provision", "1 instance"),
        ("healthy", "1 of 1"),
        ("switch", "100 % to green within 312 µs, 3 in flight on blue"),
        ("bake", ""),
        ("drain", ""),
    ];
    assert_eq!(told, expected);
    assert!(world.last_closed().steps.iter().all(|step| step.outcome == Some(Outcome::Passed)));
    assert_eq!(world.last_closed().receipts.len(), 1);
}

#[test]
fn the_route_that_is_published_holds_both_environments_and_their_releases() {
    let world = World::with(&["v1", "v2"]);
    let route = world.outside.route.as_ref().unwrap();
    assert_eq!(route.hosts, ["shop.example.com"]);
    assert_eq!((route.blue.len(), route.green.len()), (1, 1));
    assert_eq!(route.tags.blue, world.slot(Environment::Blue).release.as_ref().unwrap().id.to_string());
    assert_eq!(route.epoch, Some(world.state.epoch));
}

#[test]
fn a_second_deployment_is_refused_and_told_which_one_is_open() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let before = world.state.clone();
    let refusal = world.deploy("v3").unwrap_err();
    assert_eq!(world.state, before);
    assert_eq!(refusal.to_string(), "deployment `d2` of `v2` by alice is open: it is `deploying`");
    assert!(refusal.hint().unwrap().contains("cutover abort"));
}

#[test]
fn a_deployment_during_a_bake_is_refused_and_told_what_ending_the_bake_costs() {
    let mut world = World::with(&["v1", "v2"]);
    let refusal = world.deploy("v3").unwrap_err();
    assert!(refusal.to_string().contains("`--end-bake`"), "{refusal}");
    assert!(refusal.hint().unwrap().contains("stops `v1`"));
    let transition = world.deploy_ending_the_bake("v3").unwrap();
    assert_eq!(transition.closed.last().map(|closed| closed.status), Some(Status::Live));
    assert_eq!(world.open().stage, Stage::Vacating);
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn the_identical_release_is_not_deployed_again_while_it_is_live() {
    let mut world = World::with(&["v1"]);
    assert!(matches!(world.deploy("v1"), Err(Refusal::AlreadyLive { .. })), "in its bake");
    world.end_bake();
    assert!(matches!(world.deploy("v1"), Err(Refusal::AlreadyLive { .. })), "after it");
}

#[test]
fn without_a_bake_and_a_standby_the_old_environment_is_emptied_at_once() {
    let mut world = World::settled(&["v1"]);
    let policy = RolloutPolicy {
        bake: Duration::ZERO,
        standby: Duration::ZERO,
        auto_rollback: true,
        hold: None,
        hold_requests: None,
    };
    world.deploy_with("v2", policy).unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    let transition = world.goes_well("shift");
    assert_eq!(transition.closed.last().map(|closed| closed.status), Some(Status::Live));
    assert_eq!(world.labels(), ["prioritise", "drain"]);
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
    assert_eq!(world.version_on(Environment::Blue), Some("v1"));
}

#[test]
fn when_the_standby_ends_the_old_environment_is_emptied_and_its_release_stays_as_a_cold_way_back() {
    let mut world = World::settled(&["v1", "v2"]);
    assert_eq!(world.outside.running.len(), 2);
    world.wait();
    assert_eq!(world.labels(), ["drain"]);
    world.go_well();
    assert_eq!(world.outside.running.len(), 1);
    assert!(world.outside.route.as_ref().unwrap().blue.is_empty());
    assert_eq!(world.state.next_deadline(), None);
    assert!(!world.state.rollback_readiness(world.now).warm);
    assert!(world.state.rollback_readiness(world.now).ready);
}

#[test]
fn what_is_answered_twice_late_or_by_nobody_known_changes_nothing() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    let provision = world.pending("provision");
    let answer = world.outside.perform(&provision);
    assert!(world.answer(&provision, Answer::Retired).noop, "not an answer to that");
    assert!(!world.answer(&provision, answer.clone()).noop);
    assert!(world.answer(&provision, answer).noop);
    assert!(world.answer(&provision, failed("too late")).noop);
}

#[test]
fn what_is_watched_has_passed_its_gates_and_is_not_being_stopped() {
    let watched = |world: &World| world.state.watched().iter().map(|w| w.environment).collect::<Vec<_>>();
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.goes_well("provision");
    assert_eq!(watched(&world), [Environment::Blue]);
    world.go_well();
    assert_eq!(watched(&world), [Environment::Blue, Environment::Green]);
    world.end_bake();
    world.wait();
    assert_eq!(watched(&world), [Environment::Green], "blue is being emptied");
}

#[test]
fn news_about_instances_that_are_gone_is_ignored() {
    let mut world = World::settled(&["v1"]);
    let event = cutover_core::service::Event::HealthChanged {
        environment: Environment::Blue,
        instances: vec!["somebody-else".parse().unwrap()],
        health: unhealthy(),
    };
    assert!(world.happens(&event).unwrap().noop);
    assert!(!world.health(Environment::Blue, unhealthy()).noop);
    assert_eq!(world.slot(Environment::Blue).health, unhealthy());
    assert!(world.health(Environment::Blue, Health::Healthy).closed.is_empty());
}

#[test]
fn no_deployment_ever_starts_or_stops_anything_in_the_live_environment() {
    let mut world = World::settled(&["v1", "v2"]);
    world.deploy("v3").unwrap();
    while let Some(pending) = world.state.pending.first().cloned() {
        if let Effect::Provision { environment, .. } | Effect::Retire { environment, .. } = &pending.effect {
            assert_eq!(*environment, world.state.idle(), "{}", label(&pending.effect));
            assert!(pending.purpose != Purpose::Upkeep);
        }
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
    }
}
