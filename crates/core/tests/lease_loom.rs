//! Every interleaving of claim, publish and drain, explored by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cutover-core --test lease_loom --release`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::sync::Arc;

use cutover_core::routing::{
    Change, DesiredInstance, Hold, Https, NoTarget, Pause, PreviewRoute, Private, Publication, Replay,
    RequestRoute, RouteTable, ServiceRoute, TableCell, Timeouts, claim,
};
use cutover_core::{Environment, PerEnvironment, Timestamp, Weights};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A cell weaker than the real one: a load may return an old table until something orders it after the store.
struct WeakCell {
    tables: std::sync::Mutex<Vec<Arc<RouteTable>>>,
    present: AtomicUsize,
}

#[derive(Clone)]
struct Shared(Arc<WeakCell>);

impl Shared {
    fn new() -> Self {
        let tables = std::sync::Mutex::new(vec![Arc::new(RouteTable::default())]);
        Self(Arc::new(WeakCell { tables, present: AtomicUsize::new(0) }))
    }
}

impl TableCell for Shared {
    type Held = Arc<RouteTable>;

    fn load(&self) -> Arc<RouteTable> {
        let index = self.0.present.load(Ordering::Acquire);
        Arc::clone(&self.0.tables.lock().unwrap()[index])
    }

    fn store(&self, table: RouteTable) {
        let mut tables = self.0.tables.lock().unwrap();
        tables.push(Arc::new(table));
        let index = tables.len() - 1;
        drop(tables);
        self.0.present.store(index, Ordering::Release);
    }
}

fn route(live: Environment) -> ServiceRoute {
    ServiceRoute {
        name: "shop".parse().unwrap(),
        epoch: None,
        hosts: vec![],
        path: "/".to_owned(),
        weights: Weights::all_to(live),
        live: None,
        blue: vec![DesiredInstance::at("127.0.0.1:1".parse().unwrap())],
        green: vec![DesiredInstance::at("127.0.0.1:2".parse().unwrap())],
        tags: PerEnvironment::default(),
        health: None,
        timeouts: Timeouts::default(),
        upstream: PerEnvironment::default(),
        https: Https::default(),
        canonical_host: None,
        preview: None,
        unlisted: false,
        replay: Replay::default(),
        pause: None,
    }
}

fn request() -> RequestRoute<'static> {
    RequestRoute { host: "", path: "/", avoid: &[], private: None, passes: false }
}

fn publication() -> Publication<Shared> {
    let mut publication = Publication::new(Shared::new(), "boot".to_owned());
    publication.publish(Change::Replace(vec![route(Environment::Blue)]), Timestamp::default()).unwrap();
    publication
}

fn in_flight(publication: &Publication<Shared>, address: &str) -> u64 {
    publication
        .instances()
        .find(|instance| instance.id().as_str() == address)
        .map_or(0, |found| found.in_flight())
}

#[test]
fn a_request_whose_head_is_read_after_the_answer_never_goes_to_the_old_environment() {
    loom::model(|| {
        let mut publication = publication();
        let cell = publication.cell().clone();
        let answered = loom::sync::Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let seen = loom::sync::Arc::clone(&answered);
        let client = thread::spawn(move || {
            // The client learns of the answer by nothing stronger than its own eyes.
            let after = seen.load(Ordering::Relaxed);
            let lease = claim(&cell, request()).unwrap();
            if after {
                assert_eq!(lease.environment(), Environment::Green);
            }
        });
        publication.publish(Change::Replace(vec![route(Environment::Green)]), Timestamp::default()).unwrap();
        answered.store(true, Ordering::Relaxed);
        client.join().unwrap();
    });
}

#[test]
fn once_the_answer_is_out_and_the_instance_is_empty_nobody_comes_back_to_it() {
    loom::model(|| {
        let mut publication = publication();
        let cell = publication.cell().clone();
        let client = thread::spawn(move || {
            let lease = claim(&cell, request()).unwrap();
            (lease.environment(), lease)
        });
        publication.publish(Change::Replace(vec![route(Environment::Green)]), Timestamp::default()).unwrap();
        // Drain: an instance that reads as empty after the answer is stopped by whoever drains.
        let empty = in_flight(&publication, "127.0.0.1:1") == 0;
        let (environment, lease) = client.join().unwrap();
        if empty {
            // Either the claim went to green, or it had ended; it is still held here, so it went to green.
            assert_eq!(environment, Environment::Green);
        }
        drop(lease);
        assert_eq!(in_flight(&publication, "127.0.0.1:1"), 0);
        assert_eq!(in_flight(&publication, "127.0.0.1:2"), 0);
    });
}

#[test]
fn the_receipt_counts_exactly_what_was_claimed_before_the_fence() {
    loom::model(|| {
        let mut publication = publication();
        let cell = publication.cell().clone();
        let client = thread::spawn(move || claim(&cell, request()).unwrap());
        let receipts = publication
            .publish(Change::Replace(vec![route(Environment::Green)]), Timestamp::default())
            .unwrap();
        let lease = client.join().unwrap();
        let expected = u64::from(lease.environment() == Environment::Blue);
        assert_eq!(receipts[0].in_flight.blue, expected);
        assert_eq!(receipts[0].in_flight.green, 0);
    });
}

#[test]
fn two_claims_beside_a_publication_leave_no_claim_behind() {
    // Three threads: exhaustive takes minutes, and two preemptions find what such counters can get wrong.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let mut publication = publication();
        let cell = publication.cell().clone();
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let cell = cell.clone();
                thread::spawn(move || drop(claim(&cell, request()).unwrap()))
            })
            .collect();
        publication.publish(Change::Replace(vec![route(Environment::Green)]), Timestamp::default()).unwrap();
        for client in clients {
            client.join().unwrap();
        }
        assert!(publication.instances().all(|instance| instance.in_flight() == 0));
    });
}

#[test]
fn once_the_end_of_a_preview_is_answered_and_its_instance_is_empty_no_token_leads_there() {
    loom::model(|| {
        let mut previewed = route(Environment::Blue);
        previewed.preview = Some(PreviewRoute {
            tag: "next".to_owned(),
            environment: Environment::Green,
            instances: vec![DesiredInstance::at("127.0.0.1:3".parse().unwrap())],
            hosts: Vec::new(),
            path: "/".to_owned(),
            host: None,
        });
        let mut publication = Publication::new(Shared::new(), "boot".to_owned());
        publication.publish(Change::Replace(vec![previewed]), Timestamp::default()).unwrap();
        let cell = publication.cell().clone();
        let client = thread::spawn(move || {
            let private = Some(Private { service: "shop", tag: "next" });
            claim(&cell, RequestRoute { private, ..request() })
        });
        publication.publish(Change::Replace(vec![route(Environment::Blue)]), Timestamp::default()).unwrap();
        let empty = in_flight(&publication, "127.0.0.1:3") == 0;
        match client.join().unwrap() {
            Ok(lease) => assert!(!empty, "{lease:?}"),
            Err(nowhere) => assert_eq!(nowhere, NoTarget::NoPreview),
        }
        assert_eq!(in_flight(&publication, "127.0.0.1:3"), 0);
    });
}

fn held(live: Environment) -> ServiceRoute {
    ServiceRoute { pause: Some(Pause::Hold(Hold::until(Timestamp::default()))), ..route(live) }
}

#[test]
fn once_a_hold_is_answered_and_the_instance_is_empty_nobody_comes_to_it_before_its_end() {
    loom::model(|| {
        let mut publication = publication();
        let cell = publication.cell().clone();
        let client = thread::spawn(move || claim(&cell, request()));
        publication.publish(Change::Put(vec![held(Environment::Blue)]), Timestamp::default()).unwrap();
        // Whoever switches inside a hold goes on from here.
        let quiet = in_flight(&publication, "127.0.0.1:1") == 0;
        match client.join().unwrap() {
            Ok(lease) => assert!(!quiet, "{lease:?}"),
            Err(nowhere) => assert_eq!(nowhere, NoTarget::Held),
        }
        assert_eq!(in_flight(&publication, "127.0.0.1:1"), 0);
    });
}

#[test]
fn a_request_that_waits_goes_to_the_new_environment_when_the_hold_ends_with_the_switch() {
    loom::model(|| {
        let mut publication = publication();
        publication.publish(Change::Put(vec![held(Environment::Blue)]), Timestamp::default()).unwrap();
        let cell = publication.cell().clone();
        let told = loom::sync::Arc::new((loom::sync::Mutex::new(false), loom::sync::Condvar::new()));
        let tells = loom::sync::Arc::clone(&told);
        let client = thread::spawn(move || {
            loop {
                // As `Worker::wait_for_the_end`: it is armed before it looks.
                let mut changed = tells.0.lock().unwrap();
                match claim(&cell, request()) {
                    Ok(lease) => break lease.environment(),
                    Err(nowhere) => assert_eq!(nowhere, NoTarget::Held),
                }
                while !*changed {
                    changed = tells.1.wait(changed).unwrap();
                }
                drop(changed);
            }
        });
        publication.publish(Change::Put(vec![route(Environment::Green)]), Timestamp::default()).unwrap();
        *told.0.lock().unwrap() = true;
        told.1.notify_all();
        assert_eq!(client.join().unwrap(), Environment::Green);
    });
}

#[test]
fn a_hold_whose_time_is_over_lets_everybody_go_on() {
    loom::model(|| {
        let mut publication = publication();
        publication.publish(Change::Put(vec![held(Environment::Blue)]), Timestamp::default()).unwrap();
        let cell = publication.cell().clone();
        let ends = publication.cell().clone();
        let ender = thread::spawn(move || ends.load().services()[0].end_hold());
        let client = thread::spawn(move || claim(&cell, request()).map(|lease| lease.environment()));
        ender.join().unwrap();
        match client.join().unwrap() {
            Ok(environment) => assert_eq!(environment, Environment::Blue),
            Err(nowhere) => assert_eq!(nowhere, NoTarget::Held),
        }
        // Whoever looks after it was ended finds no hold.
        let last = claim(publication.cell(), request()).unwrap();
        assert_eq!(last.environment(), Environment::Blue);
    });
}

#[test]
fn places_among_those_that_wait_are_never_given_twice() {
    loom::model(|| {
        let mut publication = publication();
        publication.publish(Change::Put(vec![held(Environment::Blue)]), Timestamp::default()).unwrap();
        let observed = Arc::clone(publication.cell().load().services()[0].observed());
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let observed = Arc::clone(&observed);
                thread::spawn(move || observed.begin_waiting(10, 1, 100))
            })
            .collect();
        let got = clients.into_iter().map(|client| client.join().unwrap()).filter(|has| *has).count();
        assert!(got <= 1, "one place was given to {got}");
        assert_eq!(observed.waiting(), got as u64);
    });
}

#[test]
fn a_request_that_goes_on_to_the_former_environment_is_seen_by_whoever_drains_it() {
    loom::model(|| {
        let replay = Replay { to: Some(Environment::Blue), ..Replay::default() };
        let warm = |live| ServiceRoute { replay: replay.clone(), ..route(live) };
        let mut publication = Publication::new(Shared::new(), "boot".to_owned());
        publication.publish(Change::Replace(vec![warm(Environment::Green)]), Timestamp::default()).unwrap();
        let cell = publication.cell().clone();
        let client = thread::spawn(move || {
            let lost = claim(&cell, request()).unwrap();
            let avoid = [Arc::clone(lost.target().instance())];
            drop(lost);
            claim(&cell, RequestRoute { avoid: &avoid, ..request() })
        });
        // The former environment is being stopped: it leaves the table, and is waited for.
        let gone = ServiceRoute { blue: Vec::new(), ..route(Environment::Green) };
        publication.publish(Change::Put(vec![gone]), Timestamp::default()).unwrap();
        let empty = in_flight(&publication, "127.0.0.1:1") == 0;
        match client.join().unwrap() {
            Ok(lease) => {
                assert_eq!(lease.environment(), Environment::Blue);
                assert!(lease.is_replay() && !empty, "it was counted before its instance was called empty");
            }
            Err(nowhere) => assert_eq!(nowhere, NoTarget::NoInstance),
        }
        assert_eq!(in_flight(&publication, "127.0.0.1:1"), 0);
    });
}
