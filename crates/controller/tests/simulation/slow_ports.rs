//! Ports that hang, answer late, or answer to nobody.

use cutover_core::service::Status;

use crate::fault::{Fault, Port};
use crate::lives::Lives;

const SHOP: &str = "shop";

#[test]
fn a_provision_that_hangs_is_given_up_by_its_deadline_and_undone() {
    for fault in [Fault::Hang, Fault::LoseAnswer] {
        let mut lives = Lives::new(1);
        lives.live_on(async |life| {
            life.outside.world().faults.force(Port::Provision, fault);
            let began = life.outside.now();
            life.opened(SHOP, "v1-good", 0).await;
            let ended = life.ended(SHOP).await;
            assert_eq!(ended.status, Status::RolledBack, "{fault:?}: {:?}", ended.reason);
            assert!(ended.reason.unwrap().contains("no answer within 60 s"));
            assert!(life.outside.now() - began < 65_000, "the undo does not wait for it too");
            assert_eq!(life.outside.world().alive().len(), 0);
        });
        lives.assert_kept();
    }
}

#[test]
fn an_abort_is_carried_out_although_the_start_that_it_undoes_hangs() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.force(Port::Provision, Fault::LoseAnswer);
        life.opened(SHOP, "v1-good", 0).await;
        life.pass(2.0).await;
        assert_eq!(life.outside.world().alive().len(), 1);
        life.manager.abort(&SHOP.parse().unwrap(), "bob", false, None).await.unwrap();
        let began = life.outside.now();
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
        assert!(life.outside.now() - began < 30_000);
        assert_eq!(life.outside.world().alive().len(), 0);
    });
    lives.assert_kept();
}

#[test]
fn a_stop_that_hangs_leaves_the_deployment_stuck_and_a_person_gets_it_out() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.force(Port::Stop, Fault::Hang);
        life.opened(SHOP, "v2-never", 0).await;
        let stuck = life.ended(SHOP).await;
        assert_eq!(stuck.status, Status::Stuck);
        assert!(stuck.reason.unwrap().contains("its instances could not be stopped"));
        life.manager.abort(&SHOP.parse().unwrap(), "bob", false, None).await.unwrap();
        assert!(life.rests(120).await);
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
        assert_eq!(life.outside.world().alive().len(), 0);
    });
    lives.assert_kept();
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        // The shift to v3 arrives when its deployment was taken back long ago.
        life.outside.world().faults.force(Port::Apply, Fault::Stray);
        life.opened(SHOP, "v3-good", 0).await;
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
        assert!(life.rests(60).await);
        let before = life.snapshot(SHOP).await.unwrap();
        life.pass(90.0).await;
        let trace = life.outside.world().trace.join("\n");
        assert!(trace.contains("a stray route arrived, accepted: false"), "{trace}");
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
        assert_eq!(life.snapshot(SHOP).await.unwrap(), before);
    });
    lives.assert_kept();
}

#[test]
fn a_shift_whose_answer_is_lost_is_taken_back_with_a_newer_epoch() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        life.outside.world().faults.force(Port::Apply, Fault::LoseAnswer);
        life.opened(SHOP, "v3-good", 0).await;
        let ended = life.ended(SHOP).await;
        assert_eq!(ended.status, Status::RolledBack);
        assert!(ended.reason.unwrap().contains("no answer within 10 s"));
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
    });
    lives.assert_kept();
}

#[test]
fn a_health_check_that_hangs_has_not_passed_and_the_next_one_may() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.force(Port::Check, Fault::Hang);
        life.opened(SHOP, "v1-good", 0).await;
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
    });
    lives.assert_kept();
}

#[test]
fn two_services_step_independently_while_a_port_hangs_for_one_of_them() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.force(Port::Provision, Fault::Hang);
        life.opened("cart", "v1-good", 0).await;
        life.pass(0.1).await;
        let began = life.outside.now();
        life.opened(SHOP, "v3-good", 0).await;
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
        assert!(life.outside.now() - began < 10_000);
        let cart = life.snapshot("cart").await.unwrap();
        assert_eq!(cart.state.deployment.as_ref().unwrap().status, Status::Deploying);
    });
    lives.assert_kept();
}

#[test]
fn an_instance_that_ends_between_two_passing_checks_has_not_become_healthy() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.pass(0.7).await;
        let now = life.outside.now();
        life.outside.world().kill(0, false, now);
        let ended = life.ended(SHOP).await;
        assert_eq!(ended.status, Status::RolledBack);
        assert!(ended.reason.unwrap().contains("killed by SIGKILL"));
    });
    lives.assert_kept();
}

#[test]
fn an_instance_that_is_gone_is_started_again_and_watched_anew_when_somebody_looks() {
    // Of these worlds some start it on the same port, some on another.
    for seed in 0..4 {
        let mut lives = Lives::new(seed);
        lives.live_on(async |life| {
            life.opened(SHOP, "v1-good", 0).await;
            life.ended(SHOP).await;
            assert!(life.rests(60).await);
            let now = life.outside.now();
            life.outside.world().kill(0, true, now);
            // The survey fails at first: looking goes on until it has succeeded.
            life.outside.world().faults.force(Port::ObserveInstances, Fault::FailBefore);
            life.manager.look_again().await;
            life.pass(10.0).await;
            let state = &life.snapshot(SHOP).await.unwrap().state;
            assert_eq!(state.environments.blue.health, cutover_core::service::Health::Healthy, "seed {seed}");
            assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
        });
        lives.assert_kept();
    }
}

#[test]
fn a_look_that_was_overtaken_by_the_service_is_taken_again() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.late_by = Some(2_000);
        life.outside.world().faults.force(Port::Provision, Fault::Late);
        let opened = life.opened(SHOP, "v1-good", 0).await;
        life.pass(0.1).await;
        // The survey answers when the instance runs, of which it has seen nothing.
        life.outside.world().faults.late_by = Some(3_000);
        life.outside.world().faults.force(Port::ObserveInstances, Fault::AnswerLate);
        life.manager.look_again().await;
        let ended = life.ended(SHOP).await;
        assert_eq!((ended.id, ended.status), (opened, Status::Live), "{:?}", ended.reason);
    });
    lives.assert_kept();
}

#[test]
fn a_stop_waits_for_a_slow_start_that_it_undoes() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.late_by = Some(10_000);
        life.outside.world().faults.force(Port::Provision, Fault::Late);
        life.opened(SHOP, "v1-good", 0).await;
        life.pass(1.0).await;
        life.manager.abort(&SHOP.parse().unwrap(), "bob", false, None).await.unwrap();
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
        life.pass(60.0).await;
        assert_eq!(life.outside.world().starts, 1);
        assert_eq!(life.outside.world().alive().len(), 0);
    });
    lives.assert_kept();
}

#[test]
fn a_start_that_comes_about_after_it_was_given_up_is_stopped_as_a_stray_by_the_next_look() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.outside.world().faults.late_by = Some(90_000);
        life.outside.world().faults.force(Port::Provision, Fault::Late);
        life.opened(SHOP, "v1-good", 0).await;
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
        life.pass(60.0).await;
        let alive = life.outside.world().alive().len();
        assert_eq!(alive, 1, "{:#?}", life.outside.world().trace);
        life.manager.look_again().await;
        assert!(life.rests(60).await);
        assert_eq!(life.outside.world().alive().len(), 0);
    });
    lives.assert_kept();
}
