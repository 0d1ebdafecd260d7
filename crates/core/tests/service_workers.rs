//! Workers run for what is live, for one release at a time, and a release that cannot keep them up is taken back.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use cutover_core::Environment::{Blue, Green};
use cutover_core::service::{Event, Health, Outcome, Status, StopScope};
use service_world::World;

impl World {
    /// Does whatever is pending, oldest first; what of it was about workers, in order, with who works then.
    fn watch_workers(&mut self) -> Vec<(&'static str, Vec<String>)> {
        let mut seen = Vec::new();
        while let Some(pending) = self.state.pending.first().cloned() {
            let answer = self.outside.perform(&pending);
            self.answer(&pending, answer);
            let kind = service_world::label(&pending.effect);
            if kind.ends_with("workers") {
                seen.push((kind, self.outside.working().into_iter().map(str::to_owned).collect()));
            }
        }
        seen
    }

    fn workers_end(&mut self) {
        let watched = self.state.watched_workers().unwrap();
        let (environment, workers) = (watched.environment, watched.workers);
        let health = Health::Unhealthy {
            reason: "worker `mail` ended".to_owned(),
            last_lines: vec!["no queue".to_owned()],
        };
        self.happens(&Event::WorkersChanged { environment, workers, health }).unwrap();
    }
}

fn check(versions: [&str; 2], expected: &[(&str, &[&str])]) {
    let mut world = World::settled(&versions[..1]);
    world.deploy(versions[1]).unwrap();
    let seen = world.watch_workers();
    let seen: Vec<(&str, Vec<&str>)> =
        seen.iter().map(|(kind, who)| (*kind, who.iter().map(String::as_str).collect())).collect();
    let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|(kind, who)| (*kind, who.to_vec())).collect();
    assert_eq!(seen, expected, "{versions:?}");
}

#[test]
fn old_workers_stop_before_new_ones_start_unless_both_say_that_they_may_overlap() {
    let (stop, start) = ("stop workers", "start workers");
    check(["exclusive", "exclusive-2"], &[(stop, &[]), (start, &["green-d2-mail-1"])]);
    check(["exclusive", "overlapping"], &[(stop, &[]), (start, &["green-d2-mail-1"])]);
    check(["overlapping", "exclusive"], &[(stop, &[]), (start, &["green-d2-mail-1"])]);
    let both: &[&str] = &["blue-d1-mail-1", "green-d2-mail-1"];
    check(["overlapping", "overlapping-2"], &[(start, both), (stop, &["green-d2-mail-1"])]);
    check(["exclusive", "v2"], &[(stop, &[])]);
    check(["v1", "exclusive"], &[(start, &["green-d2-mail-1"])]);
    check(
        ["mixed", "mixed-2"],
        &[
            (stop, &["blue-d1-mail-1"]),
            (start, &["blue-d1-mail-1", "green-d2-mail-1"]),
            (stop, &["green-d2-mail-1"]),
            (start, &["green-d2-mail-1", "green-d2-report-1"]),
        ],
    );
}

#[test]
fn workers_of_the_first_release_start_with_its_cutover_and_not_before() {
    let mut world = World::new();
    world.deploy("exclusive").unwrap();
    world.goes_well("provision");
    world.goes_well("healthy");
    assert_eq!(world.labels(), ["shift"]);
    world.goes_well("shift");
    assert!(world.labels().contains(&"start workers"));
    world.go_well();
    assert_eq!(world.outside.working(), ["blue-d1-mail-1"]);
}

#[test]
fn a_release_that_fails_its_gates_never_gets_workers() {
    let mut world = World::settled(&["exclusive"]);
    world.deploy("exclusive-2").unwrap();
    world.goes_well("provision");
    world.fails("healthy");
    assert_eq!(world.watch_workers(), []);
    assert_eq!(world.outside.working(), ["blue-d1-mail-1"]);
}

#[test]
fn a_rollback_brings_the_former_workers_back() {
    let mut world = World::with(&["exclusive", "exclusive-2"]);
    world.rollback().unwrap();
    let seen = world.watch_workers();
    let expected = [("stop workers", vec![]), ("start workers", vec!["blue-d1-mail-1".to_owned()])];
    assert_eq!((seen.as_slice(), world.live_version()), (expected.as_slice(), Some("exclusive")));
}

#[test]
fn workers_that_cannot_be_started_in_the_bake_take_the_release_back_with_their_last_lines() {
    let mut world = World::settled(&["exclusive"]);
    world.deploy("exclusive-2").unwrap();
    for kind in ["provision", "healthy", "shift", "stop workers"] {
        world.goes_well(kind);
    }
    world.fails("start workers");
    assert_eq!(world.open().status, Status::RollingBack);
    world.go_well();
    let ended = world.last_closed();
    assert_eq!((ended.status, world.live_version()), (Status::RolledBack, Some("exclusive")));
    assert_eq!(ended.reason.as_deref(), Some("a worker failed in the bake: it broke"));
    assert_eq!(world.outside.working(), ["blue-d1-mail-1"]);
}

#[test]
fn workers_that_keep_ending_take_the_release_back_in_the_bake_and_are_told_of_after_it() {
    let mut world = World::with(&["exclusive", "exclusive-2"]);
    world.workers_end();
    world.go_well();
    let ended = world.last_closed();
    assert_eq!(
        (ended.status, ended.last_lines.as_slice()),
        (Status::RolledBack, ["no queue".to_owned()].as_slice())
    );
    assert_eq!(world.live_version(), Some("exclusive"));

    let mut world = World::settled(&["exclusive", "exclusive-2"]);
    world.workers_end();
    assert_eq!(world.live_version(), Some("exclusive-2"));
    assert!(matches!(world.state.workers[Green].health, Health::Unhealthy { .. }));
}

#[test]
fn a_rollback_while_old_workers_still_stop_waits_for_them_and_starts_them_again() {
    let mut world = World::settled(&["exclusive"]);
    world.deploy("exclusive-2").unwrap();
    for kind in ["provision", "healthy", "shift"] {
        world.goes_well(kind);
    }
    world.rollback().unwrap();
    world.goes_well("shift");
    assert_eq!(world.state.live, Blue);
    assert!(world.labels().contains(&"stop workers") && !world.labels().contains(&"start workers"));
    world.goes_well("stop workers");
    world.goes_well("start workers");
    assert_eq!(world.outside.working(), ["blue-d1-mail-1"]);
}

#[test]
fn workers_that_cannot_be_stopped_are_told_of_and_nobody_works_beside_them() {
    let mut world = World::settled(&["exclusive"]);
    world.deploy("exclusive-2").unwrap();
    for kind in ["provision", "healthy", "shift"] {
        world.goes_well(kind);
    }
    world.fails("stop workers");
    assert!(world.state.workers[Blue].trouble.as_ref().unwrap().contains("could not be stopped: it broke"));
    assert!(!world.labels().contains(&"start workers"));
    while world.outside.working() != ["green-d2-mail-1"] {
        world.go_well();
        world.wait();
    }
    assert_eq!(world.state.workers[Blue].trouble, None);
}

#[test]
fn after_a_reboot_the_workers_of_live_come_back_and_no_others() {
    let mut world = World::with(&["exclusive", "exclusive-2"]);
    world.outside.running.clear();
    world.restart_in_term(2, None);
    world.go_well();
    assert_eq!(world.outside.working(), ["green-d2-mail-1"]);
    assert!(world.state.recovery.as_ref().unwrap().decision.contains("1 worker of green had ended"));
}

#[test]
fn workers_follow_traffic_that_a_hand_has_moved() {
    let mut world = World::with(&["exclusive", "exclusive-2"]);
    assert!(world.outside.move_by_hand());
    world.restart_in_term(2, None);
    world.go_well();
    assert_eq!((world.live_version(), world.outside.working()), (Some("exclusive"), vec!["blue-d1-mail-1"]));
}

#[test]
fn a_worker_that_nobody_knows_is_stopped() {
    let mut world = World::settled(&["exclusive"]);
    let stray = "shop-green-d9-mail-1".parse().unwrap();
    world.outside.running.insert(stray);
    world.restart_in_term(2, None);
    world.go_well();
    assert_eq!(world.outside.running.len(), 2, "{:?}", world.outside.running);
}

#[test]
fn a_stopped_service_has_no_workers_and_a_restart_gives_it_fresh_ones() {
    let mut world = World::settled(&["exclusive"]);
    world.stop(StopScope::Service).unwrap();
    world.go_well();
    assert_eq!(world.outside.working(), Vec::<&str>::new());
    let restart = |id: &str| Event::RestartRequested {
        deployment: id.parse().unwrap(),
        actor: "bob".to_owned(),
        end_bake: false,
    };
    world.happens(&restart("r1")).unwrap();
    assert_eq!(world.watch_workers(), [("start workers", vec!["blue-d1-mail-1".to_owned()])]);
    world.happens(&restart("r2")).unwrap();
    let seen = world.watch_workers();
    assert_eq!(seen, [("stop workers", vec![]), ("start workers", vec!["blue-d1-mail-1".to_owned()])]);
}

#[test]
fn a_standby_that_ends_leaves_the_workers_of_live_alone() {
    let mut world = World::settled(&["exclusive", "exclusive-2"]);
    world.pass(3_601);
    world.go_well();
    assert!(world.slot(Blue).instances.is_empty());
    assert_eq!(world.outside.working(), ["green-d2-mail-1"]);
}

#[test]
fn a_restart_renews_workers_that_would_not_stop_at_first_and_their_trouble_ends_with_it() {
    let mut world = World::settled(&["exclusive"]);
    world.restart_instances().unwrap();
    while !world.labels().contains(&"stop workers") {
        let pending = world.state.pending[0].clone();
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
    }
    world.fails("stop workers");
    assert!(!world.labels().contains(&"start workers"), "the old ones are not taken for new ones");
    assert!(world.state.workers[Blue].trouble.is_some());
    world.wait();
    let seen = world.watch_workers();
    assert_eq!(seen, [("stop workers", vec![]), ("start workers", vec!["blue-d1-mail-1".to_owned()])]);
    assert_eq!(world.state.workers[Blue].trouble, None);
}

#[test]
fn a_restart_renews_workers_that_are_just_being_started_once_they_are() {
    let mut world = World::settled(&["exclusive"]);
    world.outside.running.remove("shop-blue-d1-mail-1");
    world.restart_in_term(2, None);
    let start = world.pending("start workers");
    world.restart_instances().unwrap();
    while let Some(pending) = world.state.pending.iter().find(|pending| pending.id != start.id).cloned() {
        let answer = world.outside.perform(&pending);
        world.answer(&pending, answer);
    }
    let seen: Vec<_> = world.watch_workers().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(seen, ["start workers", "stop workers", "start workers"]);
    assert!(world.state.workers_are_settled());
}

#[test]
fn workers_that_stop_and_shall_run_again_have_no_trouble_any_more() {
    let mut world = World::settled(&["exclusive"]);
    world.deploy("exclusive-2").unwrap();
    for kind in ["provision", "healthy", "shift"] {
        world.goes_well(kind);
    }
    world.fails("stop workers");
    assert!(world.state.workers[Blue].trouble.is_some());
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.outside.working(), ["blue-d1-mail-1"]);
    assert_eq!(world.state.workers[Blue].trouble, None);
}

#[test]
fn old_workers_that_do_not_stop_stand_in_the_bake_and_their_line_is_not_passed() {
    let mut world = World::settled(&["exclusive"]);
    world.deploy("exclusive-2").unwrap();
    for kind in ["provision", "healthy", "shift"] {
        world.goes_well(kind);
    }
    let said = "blue: its workers could not be stopped: it broke";
    let until = world.open().bake_until.unwrap();
    while world.now < until {
        if world.labels().contains(&"stop workers") {
            world.fails("stop workers");
            assert_eq!(world.open().reason.as_deref(), Some(said));
        }
        world.wait();
    }
    let ended = world.last_closed();
    assert_eq!((ended.status, ended.reason.as_deref()), (Status::Live, Some(said)));
    let outcome = |name: &str| {
        let step = ended.steps.iter().find(|step| step.name == name).unwrap();
        (step.outcome, step.detail.as_str())
    };
    assert_eq!(outcome("workers"), (Some(Outcome::Failed), said));
    assert_eq!(outcome("bake"), (Some(Outcome::Passed), said));
}
