//! The load against the crate's own backend: what is right counts as right, and what is stale is noticed.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helpers")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cutover_load::{Backend, Client, FailureClass, Load, Plan};

const DEADLINE: Duration = Duration::from_secs(10);

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn mixed_load_is_clean() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    let load = Load::start(Plan::mixed(backend.address()));
    load.expect("blue");
    let kinds = ["keep_alive", "fresh", "post", "post_chunked", "slow"];
    load.wait_for(DEADLINE, |report| {
        kinds.iter().all(|kind| report.by_client.get(kind).is_some_and(|count| count.requests > 0))
    })
    .await
    .unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.answered_by("blue"), report.requests);
    assert_eq!(report.by_header["x-version"]["v1"], report.requests);
    assert_eq!(backend.requests(), report.requests);
    assert_eq!(backend.connections(), report.connections_opened);
    assert!(report.latency.p50_us > 0 && report.latency.max_us >= report.latency.p99_us);
}

#[tokio::test]
async fn mixed_load_on_a_one_threaded_runtime_is_clean() {
    mixed_load_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_load_on_a_runtime_with_threads_is_clean() {
    mixed_load_is_clean().await;
}

#[tokio::test]
async fn the_last_request_began_when_its_head_was_read_and_not_when_it_was_answered() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    assert_eq!(backend.last_request_at(), None);
    for client in [Client::slow(Duration::from_millis(200)), Client::http2("/slow?ms=200", 1)] {
        let mut plan = Plan::new(backend.address()).with(1, client);
        plan.max_requests = Some(1);
        let before = Instant::now();
        let report = Load::start(plan).finish().await;
        assert!(report.is_clean(), "{report}");
        let began = backend.last_request_at().unwrap();
        assert!(began >= before && began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn every_byte_of_every_post_arrives() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    for (client, bytes) in [
        (Client::post("/", 0), 0),
        (Client::post("/", 1), 1),
        (Client::post("/", 64 * 1024), 64 * 1024),
        (Client::post("/", 3_000_000), 3_000_000),
        (Client::post_chunked("/", 100_000), 100_000),
        (Client::post_chunked("/", 0), 0),
    ] {
        let before = backend.received_bytes();
        let mut plan = Plan::new(backend.address()).with(2, client);
        plan.max_requests = Some(6);
        let report = Load::start(plan).finish().await;
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.requests, backend.received_bytes() - before), (6, 6 * bytes));
    }
}

#[tokio::test]
async fn an_answer_by_the_old_environment_is_stale_only_while_the_other_is_expected() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    let load = Load::start(Plan::new(backend.address()).with(2, Client::keep_alive("/")));
    load.expect("blue");
    let right = load.wait_for(DEADLINE, |report| report.judged >= 10).await.unwrap();
    assert!(right.is_clean(), "{right}");

    load.expect("green");
    let stale = load.wait_for(DEADLINE, |report| report.failed_as(FailureClass::Stale) >= 10).await.unwrap();
    assert!(stale.failures[&FailureClass::Stale].examples[0].text.contains("answered by blue"));

    load.expect_nothing();
    let before = load.report();
    let after = load.wait_for(DEADLINE, |report| report.requests >= before.requests + 10).await.unwrap();
    // A client may have judged its answer and not yet counted it when the expectation was lifted.
    assert!(after.failed <= before.failed + 2, "{after}");
}

#[tokio::test]
async fn a_request_in_flight_while_the_expectation_changes_is_not_judged() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    let mut plan = Plan::new(backend.address()).with(1, Client::slow(Duration::from_millis(100)));
    plan.max_requests = Some(1);
    let load = Load::start(plan);
    load.expect("green");
    tokio::time::timeout(DEADLINE, async {
        while backend.requests() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    load.expect("green");
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.judged), (1, 0));
}

#[tokio::test]
async fn stopping_lets_the_request_in_flight_finish() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    let load = Load::start(Plan::new(backend.address()).with(1, Client::slow(Duration::from_millis(100))));
    tokio::time::timeout(DEADLINE, async {
        while backend.requests() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, backend.requests()), (1, 1));
}

#[tokio::test]
async fn a_load_ends_by_itself_at_its_bound_of_time() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    let client = Client::keep_alive("/").pausing(Duration::from_secs(3600));
    let mut plan = Plan::new(backend.address()).with(3, client);
    plan.max_time = Some(Duration::from_millis(30));
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert_eq!((report.requests, report.failed), (3, 0), "{report}");
}

#[tokio::test]
async fn a_release_that_went_bad_is_seen_as_such() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    backend.set_status(500);
    let mut plan =
        Plan::new(backend.address()).with(1, Client::keep_alive("/")).with(1, Client::post("/", 10));
    plan.max_requests = Some(8);
    let report = Load::start(plan).finish().await;
    assert_eq!((report.failed, report.failed_as(FailureClass::Status5xx)), (8, 8), "{report}");
    assert_eq!(report.answered_by("blue"), 8);
}

#[tokio::test]
async fn a_report_as_json_names_classes_by_their_label() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    backend.set_status(503);
    let mut plan = Plan::new(backend.address()).with(1, Client::keep_alive("/"));
    plan.max_requests = Some(1);
    let json = serde_json::to_value(Load::start(plan).finish().await).unwrap();
    assert_eq!(json["failures"]["status_5xx"]["count"], 1);
    assert_eq!(json["failures"]["status_5xx"]["examples"][0]["client"], "keep_alive");
    assert_eq!(json["by_environment"]["blue"], 1);
    assert_eq!(json["by_client"]["keep_alive"]["requests"], 1);
}

#[tokio::test]
async fn a_dropped_backend_gives_its_port_free_and_ends_its_connections() {
    let backend = Backend::start(anywhere(), "blue", "v1").unwrap();
    let address = backend.address();
    let load = Load::start(Plan::new(address).with(1, Client::keep_alive("/")));
    load.wait_for(DEADLINE, |report| report.requests > 0).await.unwrap();
    drop(backend);
    load.wait_for(DEADLINE, |report| report.failed_as(FailureClass::Refused) > 0).await.unwrap();
    let green = Backend::start(address, "green", "v2").unwrap();
    load.wait_for(DEADLINE, |report| report.answered_by("green") > 0).await.unwrap();
    load.stop().await;
    assert!(green.requests() > 0);
}
