//! The backend does wrong exactly as it is told, which is what tests of retries stand on.

use cutover_load::{Client, FailureClass, Load, Misdeed, Moment, Plan, Report, Way};

use crate::support::{DEADLINE, backend, check, load, until};

async fn run(plan: Plan, requests: u64) -> Report {
    let plan = Plan { max_requests: Some(requests), ..plan };
    tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap()
}

#[tokio::test]
async fn the_next_requests_are_met_with_a_misdeed_and_those_after_them_are_not() {
    for (at, processed) in [(Moment::OnAccept, 0), (Moment::AfterHead, 0), (Moment::BeforeAnswer, 2)] {
        for (by, expected) in
            [(Way::Close, FailureClass::ClosedBeforeByte), (Way::Reset, FailureClass::ResetBeforeByte)]
        {
            let backend = backend();
            backend.misbehave(Misdeed { at, by }, Some(2));
            let client = Client::post_keyed("/", 100, "idempotency-key");
            let report = run(Plan::new(backend.address()).with(1, client), 6).await;
            let failures = (report.failed, report.failed_as(expected));
            assert_eq!((failures, backend.misdeeds()), ((2, 2), 2), "{at:?} {by:?}: {report}");
            assert_eq!(backend.processed_and_keys().0, 4 + processed, "{at:?} {by:?}");
        }
    }
}

#[tokio::test]
async fn misdeeds_go_on_until_told_otherwise() {
    let backend = backend();
    let load = load(backend.address(), Client::keep_alive("/"));
    backend.misbehave(Misdeed { at: Moment::BeforeAnswer, by: Way::Reset }, None);
    until(&load, |report| report.failed_as(FailureClass::ResetBeforeByte) >= 3).await;
    backend.behave();
    let before = load.report();
    until(&load, |report| report.requests >= before.requests + 5).await;
    let report = load.stop().await;
    assert!(report.failed <= before.failed + 1, "{report}");
}

#[tokio::test]
async fn a_misdeed_ends_a_connection_with_http2() {
    let backend = backend();
    backend.misbehave(Misdeed { at: Moment::BeforeAnswer, by: Way::Reset }, Some(1));
    let report = run(Plan::new(backend.address()).with(1, Client::http2("/", 1)), 4).await;
    assert_eq!((report.failed, report.failed_as(FailureClass::ResetBeforeByte)), (1, 1), "{report}");
}

#[tokio::test]
async fn a_key_that_comes_again_is_told_by_the_answer() {
    let backend = backend();
    let client = Client::keep_alive("/pay").header("Idempotency-Key", "k");
    let mut plan = Plan::new(backend.address()).with(1, client);
    plan.counted_headers.push("x-processed".to_owned());
    let report = run(plan, 3).await;
    assert_eq!(report.by_header["x-processed"].keys().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!((backend.processed("k"), backend.processed_and_keys()), (3, (3, 1)));
}

#[tokio::test]
async fn a_backend_that_refuses_keeps_its_connections_and_its_port() {
    let backend = backend();
    let kept = load(backend.address(), Client::keep_alive("/"));
    until(&kept, |report| report.requests > 0).await;
    backend.refuse().unwrap();
    check(backend.address(), Client::fresh("/"), FailureClass::Refused).await;
    let before = kept.report().requests;
    until(&kept, |report| report.requests > before).await;
    backend.listen_again().unwrap();
    let report = run(Plan::new(backend.address()).with(1, Client::fresh("/")), 3).await;
    assert!(report.is_clean(), "{report}");
    let report = kept.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections_opened, 1);
}
