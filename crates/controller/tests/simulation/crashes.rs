//! The controller is killed at each append, before and after it is recorded.

use cutover_core::service::Status;

use crate::behaviour::{Behaviour, version};
use crate::fault::{Fault, Port};
use crate::lives::Lives;

const SHOP: &str = "shop";

/// A world in which `v1` is live on blue, its bake over.
fn with_v1_live() -> Lives {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
        assert!(life.rests(60).await);
    });
    lives
}

/// Deploys a version and kills the controller at the append with that number; answers whether there was one, and
/// the status in which the deployment ended in the lives after it.
fn crash_at(append: usize, fault: Fault, wanted: &str) -> (bool, Status) {
    let mut lives = with_v1_live();
    {
        let mut world = lives.world.lock().unwrap();
        world.faults.appended = 0;
        world.faults.crash_at = Some((append, fault));
    }
    let mut submitted = false;
    let ended = lives.live_on(async |life| {
        // The person whose request was lost with the controller says it again.
        if !submitted || life.deployments(SHOP).await == 1 {
            submitted = true;
            life.opened(SHOP, wanted, 10).await;
        }
        life.ended(SHOP).await
    });
    let crashed = lives.world.lock().unwrap().faults.happened.contains_key(&fault);
    lives.live_on(async |life| {
        assert!(life.rests(60).await);
        let with_traffic = life.version_with_traffic(SHOP).unwrap();
        assert_eq!(with_traffic == wanted, ended.status == Status::Live, "append {append}, {fault:?}");
        let state = &life.snapshot(SHOP).await.unwrap().state;
        let slots = state.environments.iter().map(|(_, slot)| slot.instances.len()).sum::<usize>();
        assert_eq!(life.outside.world().alive().len(), slots, "append {append}, {fault:?}");
    });
    lives.assert_kept();
    (crashed, ended.status)
}

fn at_each_append(wanted: &str, expected: Status) -> usize {
    for append in 1..60 {
        let mut crashed = false;
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let (did, status) = crash_at(append, fault, wanted);
            assert_eq!(status, expected, "append {append}, {fault:?}");
            crashed |= did;
        }
        if !crashed {
            return append - 1;
        }
    }
    panic!("a deployment without an end");
}

#[test]
fn a_crash_at_each_append_of_a_good_deployment_resumes_and_goes_live() {
    let appends = at_each_append(&version(2, Behaviour::Good), Status::Live);
    assert!(appends >= 6, "only {appends} appends");
}

#[test]
fn a_crash_at_each_append_of_a_bad_deployment_ends_with_it_taken_back() {
    for behaviour in [Behaviour::Never, Behaviour::Dies] {
        let appends = at_each_append(&version(2, behaviour), Status::RolledBack);
        assert!(appends >= 5, "only {appends} appends");
    }
}

#[test]
fn a_crash_at_each_append_of_a_rollback_ends_with_the_former_release_live() {
    for append in 1..10 {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let mut lives = with_v1_live();
            lives.live_on(async |life| {
                life.opened(SHOP, "v3-good", 0).await;
                life.ended(SHOP).await;
                assert!(life.rests(60).await);
            });
            lives.world.lock().unwrap().faults.appended = 0;
            lives.world.lock().unwrap().faults.crash_at = Some((append, fault));
            lives.live_on(async |life| {
                if life.deployments(SHOP).await == 2 {
                    life.manager.rollback(&SHOP.parse().unwrap(), "bob").await.unwrap();
                }
                assert_eq!(life.ended(SHOP).await.status, Status::Live, "append {append}, {fault:?}");
                assert!(life.rests(60).await);
                assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
            });
            lives.assert_kept();
        }
    }
}

#[test]
fn an_instance_that_runs_through_a_crash_is_adopted_and_not_started_again() {
    let mut lives = with_v1_live();
    let before = lives.world.lock().unwrap().starts;
    for _ in 0..3 {
        lives.live_on(async |life| assert!(life.rests(60).await));
    }
    assert_eq!(lives.world.lock().unwrap().starts, before);
    lives.assert_kept();
}

#[test]
fn a_router_that_forgot_everything_while_the_controller_was_dead_is_put_right_at_the_start() {
    for older in [false, true] {
        let mut lives = with_v1_live();
        lives.live_on(async |life| {
            life.opened(SHOP, "v3-good", 0).await;
            life.ended(SHOP).await;
        });
        lives.world.lock().unwrap().restart_router(older, 0);
        lives.live_on(async |life| {
            assert_ne!(life.version_with_traffic(SHOP).as_deref(), Some("v3-good"));
            assert!(life.rests(60).await);
            assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v3-good"));
        });
        lives.assert_kept();
    }
}

#[test]
fn a_controller_that_cannot_see_what_runs_does_not_start_and_changes_nothing() {
    let mut lives = with_v1_live();
    let records = lives.memory.records(&SHOP.parse().unwrap()).len();
    lives.world.lock().unwrap().faults.force(Port::ObserveInstances, Fault::FailBefore);
    assert!(lives.live(async |_| ()).is_none());
    assert_eq!(lives.memory.records(&SHOP.parse().unwrap()).len(), records);
    lives.assert_kept();
}

#[test]
fn a_crash_at_each_append_of_a_deployment_with_gates_ends_as_its_gates_say() {
    let gates = at_each_append(&format!("g2-{}", Behaviour::Good.word()), Status::Live);
    // Twelve gates and hooks, and the checks of a bake of ten seconds.
    assert!(gates >= 20, "only {gates} appends");
    let stopped = at_each_append(&format!("g2-{}", Behaviour::Rejected.word()), Status::RolledBack);
    assert!(stopped >= 12, "only {stopped} appends");
}
