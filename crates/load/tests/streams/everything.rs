//! All kinds of clients at once, through a restart of all sessions.

use std::time::Duration;

use cutover_load::{Goodbye, Load, Plan};

use crate::support::{backend, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_clean_while_its_server_asks_it_to_leave() {
    let backend = backend();
    let plan = Plan::every_kind(backend.address());
    let kinds: Vec<_> = plan.clients.iter().map(|client| client.kind).collect();
    let load = Load::start(plan);
    load.expect("blue");
    let all_sessions = |report: &cutover_load::Report| {
        kinds.iter().filter(|kind| kind.is_session()).all(|kind| report.of(kind.label()).messages >= 4)
    };
    until(&load, all_sessions).await;
    backend.end_sessions(Goodbye::Asked);
    until(&load, |report| {
        kinds.iter().all(|kind| {
            let count = report.of(kind.label());
            if kind.is_session() { count.reconnects >= 2 } else { count.requests >= 2 }
        })
    })
    .await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.answered_by("blue"), report.requests);
    assert_eq!((backend.requests(), backend.connections()), (report.requests, report.connections_opened));
    // Two clients of each of the three sessions, and the two with HTTP/2.
    assert_eq!(report.waves.len(), 8);
    assert_eq!(report.waves_by_100_ms().values().sum::<u64>(), 8);
    assert!(report.most_asked_within(Duration::from_secs(60)) == 8);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["by_client"]["web_socket"]["asked_to_leave"], 2);
    assert!(json["waves"][0]["at_ms"].is_u64());
}

#[tokio::test]
async fn a_bound_of_time_ends_sessions_too() {
    let backend = backend();
    let mut plan = Plan::every_kind(backend.address());
    plan.max_time = Some(Duration::from_millis(200));
    let report = Load::start(plan).finish().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_bound_of_requests_ends_sessions_once_another_client_has_found_it_reached() {
    let backend = backend();
    let mut plan = Plan::every_kind(backend.address());
    plan.max_requests = Some(100);
    let report = Load::start(plan).finish().await;
    assert_eq!((report.requests, report.failed), (100, 0), "{report}");
}
