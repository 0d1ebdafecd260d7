//! The receipt of every shift: in the journal, in `show`, in `--json`.

use cutover_load::{Client, Load, Plan};
use serde_json::Value;

use crate::support::{Host, PATIENCE, signal, wait_until};
use crate::{deploy, every_kind, shown};

/// The last receipt once everything about it is known.
fn whole(host: &Host) -> Value {
    let mut receipt = Value::Null;
    wait_until("the receipt is whole", || {
        receipt = shown(host)["receipts"].as_array().unwrap().last().cloned().unwrap_or_default();
        receipt["trace"]["is_whole"] == true
    });
    receipt
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_under_load_has_a_receipt_that_says_what_happened_on_both_sides() {
    let mut host = Host::start();
    every_kind(&host, "drain = { requests = \"2s\", connections = \"3s\" }", "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(2, Client::keep_alive("/"))
        .with(1, Client::post("/", 20_000))
        .with(2, Client::web_socket("/ws"));
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| report.of("web_socket").open == 2 && report.requests > 50)
        .await
        .unwrap();
    deploy(&host, "v2");
    let receipt = whole(&host);
    assert_eq!(receipt["weights"], serde_json::json!({ "blue": 0, "green": 100 }));
    assert!(receipt["in_flight"]["blue"].as_u64() >= Some(2), "{receipt}");
    assert_eq!(receipt["lasting"]["blue"], 2);
    let report = &receipt["trace"]["report"];
    assert!(report["first_answer_us"]["green"].is_u64(), "{report}");
    assert!(report["emptied_us"]["blue"].is_u64() && report["left"]["blue"] == 0, "{report}");
    assert_eq!(
        (&report["turned_away"], &report["sides"]["green"]["failures"]),
        (&0.into(), &serde_json::json!({}))
    );
    let probes = receipt["trace"]["probes"].as_array().unwrap();
    assert_eq!(probes.len(), 1, "one listener");
    assert_eq!((&probes[0]["answered"], &probes[0]["status"]), (&"green".into(), &200.into()), "{probes:?}");

    let text = host.run(&["show"]).exits(0).out;
    assert!(text.contains("100 % to green, published ") && text.contains("(2 of them last)"), "{text}");
    assert!(text.contains("first answer     from green after "), "{text}");
    assert!(text.contains("the last of those on blue ended after "), "{text}");
    assert!(text.contains("failed           none of "), "{text}");
    assert!(text.contains("the way of users through 127.0.0.1:") && text.contains(": green"), "{text}");

    // A rollback has one of its own, also with its record closed at once; and the journal has both.
    host.run(&["rollback"]).exits(0);
    let back = whole(&host);
    assert_eq!(back["trace"]["probes"][0]["answered"], "blue");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    host.kill_controller();
    host.serve();
    let receipts = shown(&host)["receipts"].as_array().unwrap().len();
    assert_eq!(receipts, 2, "both shifts of the deployment");
    assert_eq!(whole(&host)["trace"]["probes"][0]["answered"], "blue");
    host.run(&["journal", "verify"]).exits(0);
}

#[test]
fn a_controller_that_dies_after_a_switch_leaves_the_receipt_to_the_next() {
    let mut host = Host::start();
    every_kind(&host, "", "[rollout]\nbake = \"0s\"\n");
    deploy(&host, "v1");
    deploy(&host, "v2");
    host.kill_controller();
    host.get("/");
    host.serve();
    let receipt = whole(&host);
    assert_eq!(receipt["weights"]["green"], 100);
    assert!(receipt["trace"]["report"]["first_answer_us"]["green"].is_u64(), "{receipt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_began_long_before_the_switch_is_in_its_receipt() {
    let host = Host::start();
    every_kind(&host, "drain = { requests = \"2s\", connections = \"3s\" }", "[rollout]\nbake = \"0s\"\n");
    deploy(&host, "v1");
    deploy(&host, "v2");
    let load = Load::start(Plan::new(host.address).with(3, Client::web_socket("/ws")));
    load.wait_for(PATIENCE, |report| report.of("web_socket").open == 3).await.unwrap();
    // Emptying the other environment publishes the route before the switch does, and starting the new release after that.
    deploy(&host, "v3");
    let receipt = whole(&host);
    assert_eq!(
        (&receipt["in_flight"]["green"], &receipt["lasting"]["green"]),
        (&3.into(), &3.into()),
        "{receipt}"
    );
    assert_eq!(receipt["trace"]["report"]["left"]["green"], 0, "{receipt}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_took_with_it_is_not_told_as_if_nothing_had_been() {
    let host = Host::start();
    every_kind(&host, "drain = \"until-empty\"", "");
    deploy(&host, "v1");
    let load = Load::start(Plan::new(host.address).with(1, Client::web_socket("/ws")));
    load.wait_for(PATIENCE, |report| report.of("web_socket").open == 1).await.unwrap();
    deploy(&host, "v2");
    wait_until("there is something to tell", || !shown(&host)["receipts"][0]["trace"].is_null());
    signal(host.proxy_pid().unwrap(), "KILL");
    let receipt = whole(&host);
    assert_eq!(receipt["trace"]["is_cut"], true, "{receipt}");
    assert!(host.run(&["show"]).exits(0).out.contains("the proxy ended: it was started anew"));
    load.stop().await;
}

/// The same where instances speak HTTP/2, with calls that last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_under_calls_and_http2_has_a_receipt_too() {
    let host = Host::start();
    let top = "upstream = \"h2c\"\ndrain = { requests = \"2s\", connections = \"3s\" }";
    every_kind(&host, top, "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(1, Client::keep_alive("/"))
        .with(1, Client::post("/", 20_000))
        .with(1, Client::http2("/", 4))
        .with(3, Client::grpc_stream());
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| report.of("grpc_stream").open == 3 && report.requests > 50)
        .await
        .unwrap();
    deploy(&host, "v2");
    let receipt = whole(&host);
    assert!(receipt["in_flight"]["blue"].as_u64() >= Some(3), "{receipt}");
    assert_eq!(receipt["lasting"]["blue"], 3, "{receipt}");
    let report = &receipt["trace"]["report"];
    assert!(report["first_answer_us"]["green"].is_u64(), "{report}");
    assert!(report["emptied_us"]["blue"].is_u64() && report["left"]["blue"] == 0, "{report}");
    assert_eq!(report["sides"]["green"]["failures"], serde_json::json!({}), "{report}");
    assert_eq!(receipt["trace"]["probes"][0]["answered"], "green", "{receipt}");
    let text = host.run(&["show"]).exits(0).out;
    assert!(text.contains("(3 of them last)") && text.contains("failed           none of "), "{text}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}
