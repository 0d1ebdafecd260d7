//! Gates: what a release has to earn before it gets traffic, and what is run on its way.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use std::time::Duration;

use cutover_core::Environment;
use cutover_core::gates::{Finding, Verdict};
use cutover_core::release::RolloutPolicy;
use cutover_core::service::{
    Effect, Event, Outcome, PendingEffect, Refusal, Stage, Status, StopScope, WhenOpen,
};
use service_world::{World, deploy_event, failed, judged, rollout, stop_event};

/// The gates in the order in which a deploy of a release with all of them asks.
const BEFORE_THE_SHIFT: [&str; 8] = [
    "before_deploy",
    "expand",
    "after_provision",
    "after_healthy",
    "smoke",
    "after_smoke",
    "still works",
    "before_shift",
];

fn pending_gate(world: &World) -> Option<PendingEffect> {
    let gates = world.state.pending.iter().rev();
    gates.into_iter().find(|pending| matches!(pending.effect, Effect::RunGate { .. })).cloned()
}

fn label(pending: &PendingEffect) -> String {
    match &pending.effect {
        Effect::RunGate { gate, .. } => gate.label().to_owned(),
        other => panic!("{other:?} is no gate"),
    }
}

/// Goes on until that gate is asked.
fn until(world: &mut World, gate: &str) -> PendingEffect {
    for _ in 0..100 {
        if let Some(pending) = world.state.pending.iter().find(
            |pending| matches!(&pending.effect, Effect::RunGate { gate: asked, .. } if asked.label() == gate),
        ) {
            return pending.clone();
        }
        let first = world.state.pending.first().unwrap_or_else(|| panic!("`{gate}` is never asked")).clone();
        let answer = world.outside.perform(&first);
        world.happens(&Event::Answered { effect: first.id, answer }).unwrap();
    }
    panic!("`{gate}` is never asked");
}

fn answer(world: &mut World, pending: &PendingEffect, finding: Finding) {
    let answer = judged(finding);
    world.happens(&Event::Answered { effect: pending.id.clone(), answer }).unwrap();
}

/// Everything else that is asked for goes well.
fn goes_well_but(world: &mut World, but: &PendingEffect) {
    for _ in 0..100 {
        let other = world.state.pending.iter().find(|pending| pending.id != but.id).cloned();
        let Some(other) = other else { return };
        let answer = world.outside.perform(&other);
        world.happens(&Event::Answered { effect: other.id, answer }).unwrap();
    }
}

fn contract_for(version: &str) -> Event {
    Event::ContractRequested { actor: "alice".to_owned(), release: service_world::release(version).id }
}

fn stage(world: &World) -> Option<Stage> {
    world.state.deployment.as_ref().map(|open| open.stage)
}

fn steps(world: &World) -> Vec<(String, Option<Outcome>)> {
    let last = world.state.deployment.as_ref().or(world.closed.last()).unwrap();
    last.steps.iter().map(|step| (step.name.clone(), step.outcome)).collect()
}

/// The last that was told of a deployment.
fn told(world: &World, id: &str) -> cutover_core::service::Deployment {
    world.closed.iter().rev().find(|closed| closed.id.as_str() == id).unwrap().clone()
}

#[test]
fn every_gate_is_asked_in_its_place_and_a_good_release_goes_live() {
    // The former release has suites: they are asked again on the new schema.
    let mut world = World::settled(&["all-0"]);
    world.deploy("all").unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("all"));
    let names: Vec<String> = steps(&world).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "before_deploy",
        "expand",
        "provision",
        "after_provision",
        "healthy",
        "preview",
        "after_healthy",
        "smoke",
        "after_smoke",
        "still works",
        "before_shift",
        "switch",
        "after_each_step",
        "after_cutover",
        "bake",
        "checks",
        "drain",
    ];
    assert_eq!(names, expected);
    world.end_bake();
    let ended = told(&world, "d2");
    assert!(ended.steps.iter().all(|step| step.outcome == Some(Outcome::Passed)), "{:?}", ended.steps);
    assert_eq!(ended.steps.last().unwrap().name, "after_bake");
    assert!(world.state.trailing.is_empty());
}

#[test]
fn whatever_gate_does_not_pass_no_user_has_seen_the_release() {
    for gate in BEFORE_THE_SHIFT {
        for finding in [Finding::fail("500 instead of 200"), Finding::not_yet("nobody knows")] {
            let mut world = World::settled(&["all-0"]);
            world.deploy("all").unwrap();
            let asked = until(&mut world, gate);
            let idle: Vec<_> =
                world.slot(Environment::Green).instances.iter().map(|i| i.id.clone()).collect();
            answer(&mut world, &asked, finding.clone());
            world.go_well();
            assert_eq!(world.live_version(), Some("all-0"), "{gate}");
            let ended = told(&world, "d2");
            let early = matches!(gate, "before_deploy" | "expand");
            assert_eq!(ended.status, if early { Status::Failed } else { Status::RolledBack }, "{gate}");
            let said = if finding.verdict == Verdict::Fail { "failed" } else { "gave no verdict" };
            let live = "; that is `all-0`, which is live: the expanded schema may be what it cannot bear";
            let live = if gate == "still works" { live } else { "" };
            assert_eq!(ended.reason, Some(format!("`{gate}` {said}: {}{live}", finding.reason)));
            let failed = ended.steps.iter().find(|step| step.name == gate).unwrap();
            assert_eq!(failed.finding.as_deref(), Some(&finding));
            assert!(
                idle.iter().all(|id| !world.outside.running.contains(id)),
                "{gate}: what was started is stopped"
            );
            let after: Vec<_> = ended.steps.iter().filter(|step| step.name.starts_with("on_")).collect();
            assert_eq!(after.len(), if early { 1 } else { 2 }, "{gate}: {:?}", ended.steps);
            assert!(after.iter().all(|step| step.outcome == Some(Outcome::Passed)));
        }
    }
}

#[test]
fn a_gate_that_nobody_could_ask_or_that_has_no_answer_in_time_has_not_passed() {
    for late in [false, true] {
        let mut world = World::settled(&["v1"]);
        world.deploy("all").unwrap();
        let asked = until(&mut world, "smoke");
        if late {
            world.now = asked.deadline;
            world.happens(&Event::TimePassed).unwrap();
        } else {
            world.happens(&Event::Answered { effect: asked.id, answer: failed("the runner broke") }).unwrap();
        }
        world.go_well();
        assert_eq!(world.live_version(), Some("v1"));
        let reason = told(&world, "d2").reason.unwrap();
        assert!(reason.starts_with("`smoke` gave no verdict: "), "{reason}");
    }
}

#[test]
fn what_expands_runs_before_anything_is_started_and_its_failure_leaves_everything_as_it_was() {
    let mut world = World::settled(&["v1"]);
    let before = (world.state.environments.clone(), world.outside.running.clone());
    world.deploy("all").unwrap();
    let asked = until(&mut world, "expand");
    assert_eq!(world.state.deployment.as_ref().map(|open| open.status), Some(Status::Migrating));
    answer(&mut world, &asked, Finding::fail("exit status 1"));
    world.go_well();
    assert_eq!((world.state.environments.clone(), world.outside.running.clone()), before);
}

#[test]
fn while_gates_are_asked_it_has_to_stay_healthy() {
    let mut world = World::settled(&["v1"]);
    world.deploy("all").unwrap();
    let asked = until(&mut world, "smoke");
    world.health(Environment::Green, service_world::unhealthy());
    world.go_well();
    assert!(told(&world, "d2").reason.unwrap().contains("lost health before it had passed its gates"));
    // Its answer comes too late to mean anything.
    answer(&mut world, &asked, Finding::pass("4 of 4"));
    assert_eq!(world.live_version(), Some("v1"));
}

#[test]
fn a_controller_that_starts_amid_a_gate_asks_it_again() {
    for gate in BEFORE_THE_SHIFT {
        let mut world = World::settled(&["all-0"]);
        world.deploy("all").unwrap();
        let asked = until(&mut world, gate);
        world.restart();
        let again = pending_gate(&world).unwrap();
        assert_eq!((again.id.clone(), label(&again)), (asked.id, gate.to_owned()));
        world.go_well();
        assert_eq!(world.live_version(), Some("all"), "{gate}");
    }
}

#[test]
fn aborted_amid_a_gate_it_is_taken_back_and_the_gate_is_asked_no_longer() {
    for gate in BEFORE_THE_SHIFT {
        let mut world = World::settled(&["all-0"]);
        world.deploy("all").unwrap();
        until(&mut world, gate);
        let abort = Event::AbortRequested { actor: "bob".to_owned(), only_queue: false, deployment: None };
        world.happens(&abort).unwrap();
        assert!(world.state.pending.iter().all(|pending| {
            !matches!(&pending.effect, Effect::RunGate { gate: asked, .. } if asked.label() == gate)
        }));
        world.go_well();
        assert_eq!(world.live_version(), Some("all-0"), "{gate}");
        assert_eq!(told(&world, "d2").status, Status::RolledBack);
    }
}

#[test]
fn a_check_in_the_bake_that_fails_takes_the_release_back() {
    let mut world = World::settled(&["v1"]);
    world.deploy("all").unwrap();
    world.go_well();
    let due = world.state.deployment.as_ref().unwrap().checks[0].at.unwrap();
    world.now = due;
    world.happens(&Event::TimePassed).unwrap();
    let asked = until(&mut world, "checks");
    answer(&mut world, &asked, Finding::pass("1 of 1"));
    world.now = world.now + Duration::from_secs(3);
    world.happens(&Event::TimePassed).unwrap();
    let asked = until(&mut world, "checks");
    answer(&mut world, &asked, Finding::fail("500 instead of 200"));
    world.go_well();
    assert_eq!(world.live_version(), Some("v1"));
    let ended = told(&world, "d2");
    assert_eq!(ended.reason.as_deref(), Some("in the bake `home` failed: 500 instead of 200"));
    assert_eq!(ended.status, Status::RolledBack);
}

#[test]
fn a_bake_does_not_end_before_the_check_that_is_under_way() {
    let mut world = World::settled(&["v1"]);
    world.deploy("all").unwrap();
    world.go_well();
    let until_bake = world.state.deployment.as_ref().unwrap().bake_until.unwrap();
    world.now = world.now + Duration::from_secs(599);
    world.happens(&Event::TimePassed).unwrap();
    let asked = until(&mut world, "checks");
    world.now = until_bake + Duration::from_secs(1);
    world.happens(&Event::TimePassed).unwrap();
    assert_eq!(stage(&world), Some(Stage::Baking));
    assert_eq!(world.state.next_deadline(), Some(asked.deadline), "nothing rings in vain");
    answer(&mut world, &asked, Finding::pass("1 of 1"));
    assert_eq!(stage(&world), None);
    assert_eq!(world.live_version(), Some("all"));
}

/// A person who ends the bake does not wait for it.
#[test]
fn a_move_that_ends_the_bake_ends_it_amid_a_check_too() {
    let restart = Event::RestartRequested {
        deployment: "d9".parse().unwrap(),
        actor: "bob".to_owned(),
        end_bake: true,
    };
    for event in [stop_event("bob".to_owned(), StopScope::Service, true), restart] {
        let mut world = World::settled(&["v1"]);
        world.deploy("gated").unwrap();
        world.go_well();
        world.now = world.now + Duration::from_secs(3);
        world.happens(&Event::TimePassed).unwrap();
        until(&mut world, "checks");
        world.happens(&event).unwrap();
        let ended = told(&world, "d2");
        assert_eq!(ended.status, Status::Live);
        assert_eq!(world.state.contraction, None, "nobody knows what the check would have said");
        let note = ended.steps.iter().find(|step| step.name == "contract").unwrap();
        assert!(note.detail.contains("while a check was under way"), "{}", note.detail);
        world.go_well();
    }
}

#[test]
fn without_auto_rollback_a_failed_check_is_told_and_the_next_one_asked() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("all", RolloutPolicy { auto_rollback: false, ..rollout() }).unwrap();
    world.go_well();
    world.now = world.now + Duration::from_secs(3);
    world.happens(&Event::TimePassed).unwrap();
    let asked = until(&mut world, "checks");
    answer(&mut world, &asked, Finding::fail("500 instead of 200"));
    let open = world.state.deployment.as_ref().unwrap();
    assert_eq!(open.stage, Stage::Baking);
    assert!(open.reason.as_deref().unwrap().ends_with("not taken back, because auto_rollback is off"));
    assert!(open.checks[0].at.is_some());
}

#[test]
fn hooks_that_trail_come_in_order_and_change_nothing_whatever_they_say() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("all", RolloutPolicy { bake: Duration::ZERO, ..rollout() }).unwrap();
    for hook in ["after_each_step", "after_cutover", "after_bake"] {
        let asked = until(&mut world, hook);
        assert_eq!(
            world.state.pending.iter().filter(|p| matches!(p.effect, Effect::RunGate { .. })).count(),
            1
        );
        answer(&mut world, &asked, Finding::fail("exit status 1"));
    }
    world.go_well();
    assert_eq!(world.live_version(), Some("all"));
    let ended = told(&world, "d2");
    assert_eq!(ended.status, Status::Live);
    let failed = ended.steps.iter().filter(|step| step.outcome == Some(Outcome::Failed)).count();
    assert_eq!(failed, 3, "{:?}", ended.steps);
}

#[test]
fn what_trails_does_not_keep_the_next_deployment_waiting() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("all", RolloutPolicy { bake: Duration::ZERO, ..rollout() }).unwrap();
    let asked = until(&mut world, "after_cutover");
    assert!(world.state.deployment.is_none());
    world.deploy("v3").unwrap();
    goes_well_but(&mut world, &asked);
    assert_eq!(world.live_version(), Some("v3"));
    answer(&mut world, &asked, Finding::pass("1 of 1"));
    world.go_well();
    assert!(world.state.trailing.is_empty() && world.state.to_trail.is_empty());
    let told = told(&world, "d2");
    assert!(told.steps.iter().all(|step| step.outcome.is_some()), "{:?}", told.steps);
}

#[test]
fn contracted_there_is_no_way_back_to_what_came_before() {
    let mut world = World::settled(&["v1", "all"]);
    let contract = contract_for("all");
    assert!(world.state.rollback_readiness(world.now).ready);
    world.happens(&contract).unwrap();
    // From the moment it is asked for: half of it is as good as all.
    let why = world.state.rollback_readiness(world.now).why_not.unwrap();
    assert_eq!(why, "the schema is to be contracted for `all` (alice), and `v1` is older");
    assert!(matches!(world.rollback(), Err(Refusal::NothingToRollBackTo { .. })));
    assert!(matches!(world.deploy("v3"), Err(Refusal::Contracting { .. })));
    assert!(matches!(world.happens(&contract), Err(Refusal::Contracting { .. })));
    let asked = until(&mut world, "contract");
    answer(&mut world, &asked, Finding::fail("exit status 1"));
    assert!(!world.state.rollback_readiness(world.now).ready);
    // What failed can be tried again, what was done is done.
    world.happens(&contract).unwrap();
    world.go_well();
    assert!(matches!(world.happens(&contract), Err(Refusal::NothingToContract { .. })));
    // What comes after it has a way back to it.
    world.deploy("v3").unwrap();
    world.go_well();
    assert_eq!(world.state.rollback_readiness(world.now).to.unwrap().as_str(), "all");
    world.rollback().unwrap();
    world.go_well();
    assert_eq!(world.live_version(), Some("all"));
}

/// What the live release fails would else go on to one that the schema is not fit for any more.
#[test]
fn the_schema_changes_only_once_the_router_sends_nothing_to_the_former_release() {
    let mut world = World::settled(&["v1", "all"]);
    let routed = |world: &World| {
        world.state.pending.iter().find_map(|pending| match &pending.effect {
            Effect::Shift { route } => Some(route.replay.to),
            _ => None,
        })
    };
    world.happens(&contract_for("all")).unwrap();
    assert!(pending_gate(&world).is_none() && routed(&world) == Some(None), "{:?}", world.state.pending);
    world.fails("shift");
    assert!(pending_gate(&world).is_none() && world.state.republish_at.is_some());
    world.wait();
    assert!(pending_gate(&world).is_none() && routed(&world) == Some(None), "{:?}", world.state.pending);
    let asked = until(&mut world, "contract");
    answer(&mut world, &asked, Finding::pass("exit status 0"));
    assert_eq!(world.state.contraction.as_ref().unwrap().finding.as_ref().unwrap().verdict, Verdict::Pass);
}

#[test]
fn a_policy_contracts_once_the_bake_has_ended_well_and_what_is_queued_waits_for_it() {
    let mut world = World::settled(&["v1"]);
    world.deploy("gated").unwrap();
    world.go_well();
    assert_eq!(world.state.contraction, None);
    world.happens(&deploy_event(9, "v3", rollout(), WhenOpen::Queue)).unwrap();
    let bake_until = world.state.deployment.as_ref().unwrap().bake_until.unwrap();
    world.now = bake_until;
    world.happens(&Event::TimePassed).unwrap();
    // A check that is due in the same moment is asked first.
    if let Some(check) = pending_gate(&world).filter(|pending| label(pending) == "checks") {
        answer(&mut world, &check, Finding::pass("1 of 1"));
    }
    let asked = until(&mut world, "contract");
    assert!(world.state.deployment.is_none() && world.state.queue.len() == 1);
    answer(&mut world, &asked, Finding::pass("exit status 0"));
    assert!(world.state.queue.is_empty());
    world.go_well();
    assert_eq!(world.live_version(), Some("v3"));
}

#[test]
fn only_what_can_be_contracted_is() {
    let contract = contract_for("v1");
    assert_eq!(World::new().happens(&contract), Err(Refusal::NothingIsLive));
    let why = World::settled(&["v1"]).happens(&contract).unwrap_err().to_string();
    assert_eq!(why, "there is nothing to contract: `v1` has no `contract` in `[migrate]`");
    let contract = contract_for("all");
    let refused = World::with(&["v1", "all"]).happens(&contract).unwrap_err().to_string();
    assert!(refused.ends_with("is open and in its bake, which keeps the way back"), "{refused}");
}

#[test]
fn a_rollback_asks_no_gates_and_runs_the_hook_of_what_it_leaves() {
    let mut world = World::settled(&["all-0", "all"]);
    world.rollback().unwrap();
    let asked = until(&mut world, "on_rollback");
    assert_eq!(world.live_version(), Some("all-0"));
    answer(&mut world, &asked, Finding::pass("1 of 1"));
    world.go_well();
    assert!(steps(&world).iter().all(|(name, _)| !BEFORE_THE_SHIFT.contains(&name.as_str())));
}

#[test]
fn who_is_in_the_way_is_told_with_what_it_waits_for() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("v2", RolloutPolicy { hold: Some(Duration::from_secs(3600)), ..rollout() }).unwrap();
    world.go_well();
    let refused = world.deploy("v3").unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("by alice is open: it is `validating` and waits for somebody's promote since "),
        "{said}"
    );
    assert!(
        refused.hint().unwrap().starts_with("`cutover promote` lets it go on, `cutover abort` takes it back")
    );
}

#[test]
fn while_gates_are_asked_there_is_a_private_way_and_none_once_it_is_taken_back() {
    let mut world = World::settled(&["v1"]);
    world.deploy("all").unwrap();
    until(&mut world, "after_provision");
    let private = |world: &World| world.outside.route.as_ref().unwrap().preview.clone();
    assert_eq!(private(&world), None);
    let asked = until(&mut world, "smoke");
    let preview = private(&world).unwrap();
    let slot = world.slot(Environment::Green);
    assert_eq!(preview.tag, slot.release.as_ref().unwrap().id.to_string());
    assert_eq!((preview.environment, preview.instances.len()), (Environment::Green, 1));
    assert!(world.outside.route.as_ref().unwrap().green.is_empty(), "users have no way to it");
    answer(&mut world, &asked, Finding::fail("500 instead of 200"));
    world.go_well();
    assert_eq!(private(&world), None);
}

#[test]
fn what_is_live_needs_no_private_way() {
    let world = World::with(&["v1", "all"]);
    assert_eq!(world.outside.route.as_ref().unwrap().preview, None);
}

#[test]
fn a_bake_that_went_badly_contracts_nothing_by_itself() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("gated", RolloutPolicy { auto_rollback: false, ..rollout() }).unwrap();
    world.go_well();
    world.now = world.now + Duration::from_secs(3);
    world.happens(&Event::TimePassed).unwrap();
    let asked = until(&mut world, "checks");
    answer(&mut world, &asked, Finding::fail("500 instead of 200"));
    // What was well afterwards does not make it good.
    world.health(Environment::Green, cutover_core::service::Health::Healthy);
    world.end_bake();
    let ended = told(&world, "d2");
    assert_eq!(ended.status, Status::Live);
    assert_eq!(world.state.contraction, None);
    let note = ended.steps.iter().find(|step| step.name == "contract").unwrap();
    assert!(note.detail.contains("500 instead of 200"), "{}", note.detail);
    assert!(world.state.rollback_readiness(world.now).ready);
}

#[test]
fn checks_that_overlap_do_not_keep_a_bake_open_and_failures_do_not_make_the_record_grow() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("gated", RolloutPolicy { auto_rollback: false, ..rollout() }).unwrap();
    world.go_well();
    let mut asked = 0;
    while stage(&world) == Some(Stage::Baking) {
        asked += 1;
        assert!(asked < 1000, "the bake never ends");
        let Some(next) = world.state.next_deadline() else { panic!("it waits for nothing") };
        world.now = world.now.max(next);
        world.happens(&Event::TimePassed).unwrap();
        while let Some(check) = pending_gate(&world).filter(|pending| label(pending) == "checks") {
            world.now = world.now + Duration::from_secs(2);
            answer(&mut world, &check, Finding::fail("500 instead of 200"));
        }
    }
    let ended = told(&world, "d2");
    assert!(ended.steps.len() < 20, "{} steps", ended.steps.len());
    let checks = ended.steps.iter().find(|step| step.name == "checks").unwrap();
    assert_eq!(checks.outcome, Some(Outcome::Failed));
    assert!(
        checks.detail.starts_with("0 passed, ") && checks.detail.ends_with(" did not"),
        "{}",
        checks.detail
    );
    assert_eq!(checks.finding.as_ref().unwrap().verdict, Verdict::Fail);
}

#[test]
fn what_cannot_run_on_the_schema_gets_no_share_and_nothing_is_contracted_while_it_has_one() {
    let mut world = World::settled(&["v1", "all"]);
    world.share(20).unwrap();
    world.go_well();
    assert!(matches!(world.happens(&contract_for("all")), Err(Refusal::Split { .. })));
    world.share(0).unwrap();
    world.go_well();
    world.happens(&contract_for("all")).unwrap();
    world.go_well();
    assert!(matches!(world.share(20), Err(Refusal::MayNotShare { .. })));
}

#[test]
fn a_contraction_under_way_is_ended_by_an_abort_and_can_be_asked_for_again() {
    let mut world = World::settled(&["v1", "all"]);
    world.happens(&contract_for("all")).unwrap();
    world.abort().unwrap();
    world.go_well();
    assert_eq!(world.state.contraction, None, "nothing was changed before the router had answered");
    assert!(world.state.rollback_readiness(world.now).ready);
    assert!(world.outside.route.as_ref().unwrap().replay.to.is_some());
    world.happens(&contract_for("all")).unwrap();
    until(&mut world, "contract");
    world.abort().unwrap();
    assert!(pending_gate(&world).is_none());
    let finding = world.state.contraction.as_ref().unwrap().finding.clone().unwrap();
    assert_eq!((finding.verdict, finding.reason.starts_with("aborted by ")), (Verdict::NotYet, true));
    assert!(!world.state.rollback_readiness(world.now).ready, "nobody knows how far it went");
    world.happens(&contract_for("all")).unwrap();
    world.go_well();
    assert_eq!(world.state.contraction.as_ref().unwrap().finding.as_ref().unwrap().verdict, Verdict::Pass);
}

#[test]
fn what_was_seen_live_is_contracted_or_nothing() {
    let mut world = World::settled(&["v1", "all"]);
    let why = world.happens(&contract_for("v1")).unwrap_err().to_string();
    assert_eq!(why, "there is nothing to contract: `all` has become live in the meantime");
}

#[test]
fn an_expansion_that_fails_leaves_the_former_release_warm() {
    let mut world = World::settled(&["v1", "v2"]);
    let before = (world.state.environments.clone(), world.outside.running.clone());
    assert!(world.state.rollback_readiness(world.now).warm);
    world.deploy("all").unwrap();
    let asked = until(&mut world, "expand");
    answer(&mut world, &asked, Finding::fail("exit status 1"));
    world.go_well();
    assert_eq!((world.state.environments.clone(), world.outside.running.clone()), before);
    assert!(world.state.rollback_readiness(world.now).warm);
}

#[test]
fn what_nobody_promoted_was_no_failure() {
    let mut world = World::settled(&["v1"]);
    world.deploy_with("all", RolloutPolicy { hold: Some(Duration::from_secs(60)), ..rollout() }).unwrap();
    world.go_well();
    world.now = world.state.deployment.as_ref().unwrap().hold_until.unwrap();
    world.happens(&Event::TimePassed).unwrap();
    world.go_well();
    let ended = told(&world, "d2");
    assert!(ended.steps.iter().any(|step| step.name == "on_rollback"));
    assert!(ended.steps.iter().all(|step| step.name != "on_failure"), "{:?}", ended.steps);
}

#[test]
fn a_first_release_has_no_hosts_before_it_has_passed() {
    let mut world = World::new();
    world.deploy("all").unwrap();
    let asked = until(&mut world, "smoke");
    assert!(world.outside.route.as_ref().unwrap().unlisted);
    answer(&mut world, &asked, Finding::pass("1 of 1"));
    world.go_well();
    assert!(!world.outside.route.as_ref().unwrap().unlisted);
    assert_eq!(world.live_version(), Some("all"));
}

#[test]
fn a_hook_before_the_shift_that_would_run_before_the_hold_is_refused() {
    let mut world = World::settled(&["v1"]);
    let time = Some(Duration::from_secs(60));
    let both = RolloutPolicy { hold: time, hold_requests: time, ..rollout() };
    assert!(matches!(world.deploy_with("all", both.clone()), Err(Refusal::HookBeforeTheHold)));
    world.deploy_with("all", RolloutPolicy { hold: None, ..both }).unwrap();
    until(&mut world, "before_shift");
    let waits = world.state.pause.as_ref().is_some_and(|paused| paused.deployment.is_some());
    assert!(waits, "while nobody is at work");
}
