//! What people ask for: what is granted, what is refused, and what is said when it cannot be recorded.

use cutover_controller::{RequestError, Submitted};
use cutover_core::Environment;
use cutover_core::service::{DeploymentKind, Event, Refusal, Status};

use crate::fault::{Fault, Port};
use crate::lives::Lives;

const SHOP: &str = "shop";

#[test]
fn a_second_deployment_while_one_is_open_is_refused_and_names_the_first() {
    Lives::new(1).live_on(async |life| {
        let first = life.opened(SHOP, "v1-good", 0).await;
        let refused = life.submit(SHOP, "v3-good", 0).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, RequestError::Refused(Refusal::DeploymentOpen { id, .. }) if id == first));
        assert!(text.contains(first.as_str()) && text.contains("`v1-good` by alice"), "{text}");
    });
}

#[test]
fn a_second_deployment_in_the_bake_of_the_first_is_refused_unless_it_ends_the_bake() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        life.opened(SHOP, "v3-good", 600).await;
        life.pass(60.0).await;
        let refused = life.submit(SHOP, "v5-good", 0).await.unwrap_err();
        assert!(matches!(refused, RequestError::Refused(Refusal::DeploymentOpen { baking: true, .. })));
        let spec = crate::behaviour::spec(&SHOP.parse().unwrap(), "v5-good", 0, true);
        let options = cutover_controller::SubmitOptions {
            when_open: cutover_core::service::WhenOpen::EndBake,
            force: false,
            ..Default::default()
        };
        life.manager.submit(&spec, "alice", options).await.unwrap();
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v5-good"));
    });
    lives.assert_kept();
}

#[test]
fn the_same_release_submitted_while_its_deployment_is_open_follows_it() {
    Lives::new(1).live_on(async |life| {
        let first = life.opened(SHOP, "v1-good", 0).await;
        let again = life.submit(SHOP, "v1-good", 0).await.unwrap();
        assert_eq!(again, Submitted::Following { deployment: first });
    });
}

#[test]
fn identical_content_that_is_live_is_already_live() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        let again = life.submit(SHOP, "v1-good", 0).await.unwrap();
        assert_eq!(again, Submitted::AlreadyLive { version: "v1-good".parse().unwrap(), baking: None });
    });
    lives.assert_kept();
}

#[test]
fn a_decision_that_cannot_be_recorded_is_not_taken() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        assert!(life.rests(60).await);
        let (before, starts) = (life.snapshot(SHOP).await.unwrap(), life.outside.world().starts);
        life.outside.world().faults.force(Port::Append, Fault::FailBefore);
        let error = life.submit(SHOP, "v3-good", 0).await.unwrap_err();
        assert!(matches!(&error, RequestError::Journal(_)), "{error}");
        assert!(error.to_string().contains("no space left on device"), "{error}");
        life.pass(30.0).await;
        let after = life.snapshot(SHOP).await.unwrap();
        assert_eq!((&after.state, after.sequence), (&before.state, before.sequence));
        assert_eq!(life.outside.world().starts, starts, "nothing is started");
        // The disk has room again.
        life.opened(SHOP, "v3-good", 0).await;
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
    });
    lives.assert_kept();
}

#[test]
fn an_append_that_failed_after_recording_is_found_again_and_not_decided_twice() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        assert!(life.rests(60).await);
        life.outside.world().faults.force(Port::Append, Fault::FailAfter);
        assert!(matches!(life.submit(SHOP, "v3-good", 0).await, Err(RequestError::Journal(_))));
        life.pass(1.0).await;
        // Without another word of anybody it is under way; saying it again follows it.
        let open = life.snapshot(SHOP).await.unwrap().state.deployment.clone().unwrap();
        let again = life.submit(SHOP, "v3-good", 0).await.unwrap();
        assert_eq!(again, Submitted::Following { deployment: open.id.clone() });
        let ended = life.ended(SHOP).await;
        assert_eq!((ended.id, ended.status), (open.id, Status::Live));
        assert_eq!(life.outside.world().starts, 2, "each release was started once");
    });
    lives.assert_kept();
}

#[test]
fn a_deployment_whose_end_failed_after_recording_is_told_to_who_watches_it() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        let id = life.opened(SHOP, "v3-good", 10).await;
        life.pass(12.0).await;
        assert!(life.snapshot(SHOP).await.unwrap().state.deployment.is_some());
        life.outside.world().faults.force(Port::Append, Fault::FailAfter);
        life.pass(10.0).await;
        let snapshot = life.snapshot(SHOP).await.unwrap();
        let closed = snapshot.last_closed.as_ref().expect("an ended deployment");
        assert_eq!((&closed.id, closed.status), (&id, Status::Live));
        assert_eq!(snapshot.state.deployment, None);
    });
    lives.assert_kept();
}

#[test]
fn answers_wait_for_a_journal_that_is_full_and_are_recorded_in_their_order_when_it_is_not() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        for _ in 0..60 {
            life.outside.world().faults.force(Port::Append, Fault::FailBefore);
        }
        life.pass(20.0).await;
        let snapshot = life.snapshot(SHOP).await.unwrap();
        assert!(snapshot.journal_trouble.as_ref().unwrap().contains("no space left"));
        assert_eq!(snapshot.state.live, Environment::Green, "nothing was decided meanwhile");
        life.outside.world().faults.heal();
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
        assert!(life.rests(60).await);
        assert_eq!(life.snapshot(SHOP).await.unwrap().journal_trouble, None);
    });
    lives.assert_kept();
}

#[test]
fn nothing_is_decided_ahead_of_what_a_starting_controller_saw() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v2-never", 0).await;
        life.pass(1.0).await;
    });
    let records = lives.memory.records(&SHOP.parse().unwrap()).len();
    lives.world.lock().unwrap().faults.force(Port::Append, Fault::FailBefore);
    lives.live_on(async |life| {
        life.pass(0.1).await;
        assert!(life.snapshot(SHOP).await.unwrap().journal_trouble.is_some());
        life.manager.abort(&SHOP.parse().unwrap(), "bob", false, None).await.unwrap();
        let events: Vec<_> =
            life.memory.records(&SHOP.parse().unwrap()).into_iter().map(|r| r.event).collect();
        assert!(matches!(events[records], Event::ControllerStarted { .. }), "{:?}", events[records]);
        assert!(matches!(events[records + 1], Event::AbortRequested { .. }), "{:?}", events[records + 1]);
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
    });
    lives.assert_kept();
}

#[test]
fn an_abort_before_the_cutover_leaves_traffic_and_the_live_instances_alone() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        let open = life.opened(SHOP, "v2-never", 0).await;
        life.pass(5.0).await;
        assert_eq!(life.manager.abort(&SHOP.parse().unwrap(), "bob", false, None).await.unwrap(), open);
        let ended = life.ended(SHOP).await;
        assert_eq!((ended.id, ended.status), (open, Status::RolledBack));
        assert!(life.rests(60).await);
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
        assert_eq!(life.outside.world().alive().len(), 1);
    });
    lives.assert_kept();
}

#[test]
fn a_release_that_falls_sick_in_its_bake_is_taken_back_by_itself() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        life.opened(SHOP, "v3-sick", 60).await;
        let ended = life.ended(SHOP).await;
        assert_eq!(ended.status, Status::RolledBack);
        assert!(ended.reason.as_ref().unwrap().contains("lost health in the bake"), "{:?}", ended.reason);
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
    });
    lives.assert_kept();
}

#[test]
fn a_rollback_after_the_bake_is_a_deployment_of_its_own_that_says_what_it_undoes() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        let undone = life.opened(SHOP, "v3-good", 0).await;
        life.ended(SHOP).await;
        life.manager.rollback(&SHOP.parse().unwrap(), "bob").await.unwrap();
        let ended = life.ended(SHOP).await;
        assert_eq!((ended.kind, ended.status), (DeploymentKind::Rollback, Status::Live));
        assert_eq!(ended.undoes, Some(undone));
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
    });
    lives.assert_kept();
}

#[test]
fn a_rollback_to_a_kept_release_is_refused_neither_for_a_bake_nor_for_want_of_room() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        let shop = SHOP.parse().unwrap();
        for version in ["v1-good", "v2-good"] {
            life.opened(SHOP, version, 0).await;
            life.ended(SHOP).await;
        }
        let baked = life.opened(SHOP, "v3-good", 600).await;
        life.pass(60.0).await;
        let open = life.snapshot(SHOP).await.unwrap().state.deployment.clone();
        assert!(open.is_some_and(|open| open.is_baking()));
        let former = life.manager.former_releases(&shop).await.unwrap();
        let oldest = former.iter().find(|former| former.version.as_str() == "v1-good").unwrap();
        assert!(!oldest.warm);
        life.outside.world().faults.force(Port::Preflight, Fault::FailBefore);
        let id = life.manager.rollback_to(&shop, "bob", &oldest.release).await.unwrap();
        assert_ne!(id, baked);
        assert_eq!(life.ended(SHOP).await.id, id);
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v1-good"));
        life.outside.world().faults.heal();
    });
    lives.assert_kept();
}

#[test]
fn what_was_taken_back_is_not_offered_again_whichever_deployment_had_brought_it() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        let shop = SHOP.parse().unwrap();
        for version in ["v0-good", "v1-good"] {
            life.opened(SHOP, version, 0).await;
            life.ended(SHOP).await;
        }
        life.opened(SHOP, "v2-good", 0).await;
        life.ended(SHOP).await;
        // A warm way back to v1, then on to v0.
        life.manager.rollback(&shop, "bob").await.unwrap();
        life.ended(SHOP).await;
        let offered = async || {
            let former = life.manager.former_releases(&shop).await.unwrap();
            former.into_iter().map(|former| (former.version.to_string(), former.release)).collect::<Vec<_>>()
        };
        let [(version, release)] = offered().await.try_into().unwrap();
        assert_eq!(version, "v0-good");
        life.manager.rollback_to(&shop, "bob", &release).await.unwrap();
        life.ended(SHOP).await;
        assert_eq!(life.version_with_traffic(SHOP).as_deref(), Some("v0-good"));
        assert_eq!(offered().await, []);
    });
    lives.assert_kept();
}

#[test]
fn nothing_can_be_asked_of_a_service_that_was_never_deployed() {
    Lives::new(1).live_on(async |life| {
        let error = life.manager.rollback(&SHOP.parse().unwrap(), "bob").await.unwrap_err();
        assert_eq!(error.to_string(), "there is no service `shop`");
    });
}

/// The answer was lost, and what was asked for has failed before it is asked for again.
#[test]
fn what_is_asked_for_again_by_its_id_is_not_begun_again() {
    let mut lives = Lives::new(1);
    lives.live_on(async |life| {
        life.opened(SHOP, "v1-good", 0).await;
        life.ended(SHOP).await;
        let mut spec = crate::behaviour::spec(&SHOP.parse().unwrap(), "v2-never", 0, true);
        let id = cutover_controller::DeploymentManager::new_deployment_id();
        let options =
            cutover_controller::SubmitOptions { deployment: Some(id.clone()), ..Default::default() };
        let opened = life.manager.submit(&spec, "alice", options.clone()).await.unwrap();
        assert!(matches!(opened, Submitted::Opened { deployment, .. } if deployment == id));
        assert_eq!(life.ended(SHOP).await.status, Status::RolledBack);
        let again = life.manager.submit(&spec, "alice", options.clone()).await.unwrap();
        assert_eq!(again, Submitted::Following { deployment: id.clone() });
        assert_eq!(life.manager.history(&SHOP.parse().unwrap(), 10).await.unwrap().len(), 2);
        // The same id for another release is a coincidence.
        spec = crate::behaviour::spec(&SHOP.parse().unwrap(), "v3-good", 0, true);
        let other = life.manager.submit(&spec, "alice", options).await.unwrap();
        assert!(matches!(other, Submitted::Opened { deployment, .. } if deployment != id));
        assert_eq!(life.ended(SHOP).await.status, Status::Live);
    });
    lives.assert_kept();
}
