//! A freeze and closed windows: what they refuse, what they leave alone, what becomes of what waits.

#![cfg(not(loom))]

mod service_world;

use std::time::Duration;

use cutover_core::service::{Circumstances, Event, Freeze, Refusal, Status, WhenOpen, WindowVerdict, step};
use service_world::{World, deploy_event, rollout};

fn freeze(world: &mut World, time: Duration) {
    let freeze = Freeze {
        by: "carol".to_owned(),
        at: world.now,
        until: world.now + time,
        reason: "the sale".to_owned(),
        all: false,
    };
    let said = world.happens(&Event::FreezeRequested { freeze });
    assert!(said.is_ok(), "{said:?}");
}

fn ask(world: &World, circumstances: Circumstances) -> Result<cutover_core::service::Transition, Refusal> {
    let Event::DeployRequested { deployment, actor, release, rollout, when_open, .. } =
        deploy_event(9, "v9", rollout(), WhenOpen::Refuse)
    else {
        unreachable!()
    };
    let circumstances = Box::new(circumstances);
    let event = Event::DeployRequested { deployment, actor, release, rollout, when_open, circumstances };
    step(&world.state, &event, world.now)
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_freeze_refuses_until_its_moment_and_needs_no_event_to_end() {
    let mut world = World::settled(&["v1"]);
    freeze(&mut world, HOUR);
    let refusal = ask(&world, Circumstances::default()).unwrap_err();
    assert!(matches!(&refusal, Refusal::Frozen(freeze) if freeze.by == "carol"));
    let said = refusal.to_string();
    assert!(
        said.starts_with("the service is frozen by carol until ") && said.ends_with(": the sale"),
        "{said}"
    );
    world.now = world.now + HOUR;
    assert!(ask(&world, Circumstances::default()).is_ok());
}

#[test]
fn a_freeze_of_decades_is_refused_and_one_of_years_is_not() {
    let mut world = World::settled(&["v1"]);
    freeze(&mut world, Freeze::LONGEST);
    for until in [
        world.now + Freeze::LONGEST + Duration::from_millis(1),
        cutover_core::Timestamp::from_millis(u64::MAX),
    ] {
        let freeze =
            Freeze { by: "carol".to_owned(), at: world.now, until, reason: String::new(), all: false };
        let refusal = step(&world.state, &Event::FreezeRequested { freeze }, world.now).unwrap_err();
        assert!(matches!(refusal, Refusal::FreezeTooLong { .. }), "{refusal}");
    }
}

#[test]
fn what_was_overridden_is_recorded_and_a_reason_without_need_is_not() {
    let mut world = World::settled(&["v1"]);
    let reason = Some("it burns".to_owned());
    let overriding = Circumstances { override_freeze: reason.clone(), ..Circumstances::default() };
    let opened = ask(&world, overriding.clone()).unwrap();
    assert_eq!(opened.state.deployment.unwrap().overrode, None);
    let why = "outside".to_owned();
    let closed = Circumstances { window: WindowVerdict::Closed { why }, ..Circumstances::default() };
    assert!(matches!(ask(&world, closed.clone()), Err(Refusal::OutsideWindow { .. })));
    let opened = ask(&world, Circumstances { override_freeze: reason.clone(), ..closed }).unwrap();
    assert_eq!(opened.state.deployment.unwrap().overrode, reason);
    freeze(&mut world, HOUR);
    let opened = ask(&world, overriding).unwrap();
    assert_eq!(opened.state.deployment.unwrap().overrode, reason);
}

#[test]
fn a_rescue_is_never_frozen() {
    let mut world = World::settled(&["v1", "v2"]);
    freeze(&mut world, HOUR);
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    freeze(&mut world, HOUR);
    world.abort().unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn what_is_open_goes_on_and_what_waits_ends_unbegun_when_its_turn_comes() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    freeze(&mut world, Duration::from_secs(100 * 3600));
    world.go_well();
    world.end_bake();
    assert_eq!((world.live_version(), world.state.deployment.is_some()), (Some("v2"), false));
    let dropped = world.closed.iter().find(|closed| closed.version.as_str() == "v3").unwrap();
    assert_eq!(dropped.status, Status::RolledBack);
    let reason = dropped.reason.as_deref().unwrap();
    assert!(reason.starts_with("its turn came, and the service is frozen by carol until "), "{reason}");
}

#[test]
fn what_waits_begins_if_the_freeze_is_over_or_taken_back_by_then() {
    for unfreeze in [false, true] {
        let mut world = World::settled(&["v1"]);
        world.deploy("v2").unwrap();
        world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
        freeze(&mut world, if unfreeze { HOUR * 100 } else { Duration::from_secs(1) });
        if unfreeze {
            world.happens(&Event::UnfreezeRequested { actor: "carol".to_owned() }).unwrap();
        }
        world.go_well();
        world.end_bake();
        assert_eq!(world.live_version(), Some("v3"));
    }
}

#[test]
fn what_waits_does_not_begin_after_its_window_has_closed() {
    let mut world = World::settled(&["v1"]);
    world.deploy("v2").unwrap();
    world.deploy_when_open("v3", WhenOpen::Queue).unwrap();
    world.state.queue[0].window_closes = Some(world.now);
    world.go_well();
    world.end_bake();
    assert_eq!(world.live_version(), Some("v2"));
    let dropped = world.closed.iter().find(|closed| closed.version.as_str() == "v3").unwrap();
    assert!(
        dropped.reason.as_deref().unwrap().starts_with("its turn came after its window had closed at 1970")
    );
}

#[test]
fn nothing_is_unfrozen_twice() {
    let mut world = World::settled(&["v1"]);
    let unfreeze = Event::UnfreezeRequested { actor: "carol".to_owned() };
    assert_eq!(step(&world.state, &unfreeze, world.now).unwrap_err(), Refusal::NotFrozen);
    freeze(&mut world, HOUR);
    world.happens(&unfreeze).unwrap();
    assert_eq!(world.state.freeze, None);
    assert_eq!(step(&world.state, &unfreeze, world.now).unwrap_err(), Refusal::NotFrozen);
}

#[test]
fn what_overrode_one_freeze_and_waits_is_held_up_by_another_that_is_said_later() {
    for later in [false, true] {
        let mut world = World::settled(&["v1"]);
        freeze(&mut world, HOUR * 100);
        let overriding =
            Circumstances { override_freeze: Some("it burns".to_owned()), ..Circumstances::default() };
        for (number, version) in [(8, "v2"), (9, "v3")] {
            let Event::DeployRequested { deployment, actor, release, rollout, .. } =
                deploy_event(number, version, rollout(), WhenOpen::Queue)
            else {
                unreachable!()
            };
            let (when_open, circumstances) = (WhenOpen::Queue, Box::new(overriding.clone()));
            let event =
                Event::DeployRequested { deployment, actor, release, rollout, when_open, circumstances };
            world.happens(&event).unwrap();
        }
        world.now = world.now + Duration::from_secs(1);
        if later {
            freeze(&mut world, HOUR * 100);
        }
        world.go_well();
        world.end_bake();
        assert_eq!(world.live_version(), Some(if later { "v2" } else { "v3" }));
    }
}

#[test]
fn a_window_that_closed_while_the_release_was_made_is_closed() {
    let world = World::settled(&["v1"]);
    let open_until = |closes| Circumstances {
        window: WindowVerdict::Open { closes: Some(closes) },
        ..Circumstances::default()
    };
    assert!(ask(&world, open_until(world.now + Duration::from_millis(1))).is_ok());
    let refusal = ask(&world, open_until(world.now)).unwrap_err();
    assert!(matches!(refusal, Refusal::OutsideWindow { .. }));
    assert!(
        refusal.to_string().starts_with("the window in which it was asked for closed at 1970"),
        "{refusal}"
    );
    let overriding = Circumstances { override_freeze: Some("it burns".to_owned()), ..open_until(world.now) };
    assert!(ask(&world, overriding).is_ok());
}
