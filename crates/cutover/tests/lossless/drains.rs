//! Those that last leave the old environment in waves, whatever they speak, and nobody waits for them.

use std::time::Duration;

use cutover_load::{Client, Load, Plan, Report};

use crate::over_tls::Site;
use crate::support::data_plane::admin;
use crate::support::{Host, PATIENCE, wait_until};
use crate::{deploy, every_kind};

/// What is left on blue, as `status` tells it.
fn draining(host: &Host) -> serde_json::Value {
    host.status()["environments"]["blue"]["draining"].clone()
}

/// How many sessions are open, of these kinds together.
fn open(report: &Report, kinds: &[&str]) -> u64 {
    kinds.iter().map(|kind| report.of(kind).open).sum()
}

fn asked(report: &Report, kinds: &[&str]) -> u64 {
    kinds.iter().map(|kind| report.of(kind).asked_to_leave).sum()
}

/// Switches under this load, and waits until all sessions of these kinds were asked and have come back.
async fn leave(host: &Host, plan: Plan, kinds: &[&str], sessions: u64) -> Report {
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| open(report, kinds) == sessions).await.unwrap();
    load.expect_nothing();
    deploy(host, "v2");
    load.expect("green");
    wait_until("status tells what is left", || draining(host)["until"].is_string());
    let text = host.run(&["status"]).exits(0).out;
    assert!(
        text.contains("still has ") && text.contains(" asked to leave, the rest is cut off in "),
        "{text}"
    );
    load.wait_for(PATIENCE, |report| asked(report, kinds) >= sessions && open(report, kinds) == sessions)
        .await
        .unwrap();
    wait_until("nobody is left", || draining(host).is_null());
    let stats = admin(host, "GET", "/v1/stats", "");
    let all = stats["instances"].as_array().unwrap();
    let old = all.iter().filter(|one| one["id"].as_str().unwrap().contains("-blue-"));
    assert!(old.clone().count() > 0 && old.into_iter().all(|one| one["in_flight"] == 0), "{stats}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(asked(&report, kinds), sessions, "{report}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_and_events_leave_in_waves_and_come_back_to_the_new_environment() {
    let host = Host::start();
    every_kind(&host, "drain = { requests = \"1s\", connections = \"20s\", rate = \"10/s\" }", "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(2, Client::keep_alive("/"))
        .with(1, Client::post("/", 20_000))
        .with(10, Client::web_socket("/ws"))
        .with(5, Client::event_stream());
    let report = leave(&host, plan, &["web_socket", "event_stream"], 15).await;
    // The clients see each a little later or earlier than it was asked.
    assert!(report.most_asked_within(Duration::from_secs(1)) <= 13, "{:?}", report.waves);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_get_goaway_and_then_a_status_and_are_made_again() {
    let host = Host::start();
    let top = "upstream = \"h2c\"\ndrain = { requests = \"1s\", connections = \"20s\", rate = \"5/s\", clients = \"stay\" }";
    every_kind(&host, top, "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(1, Client::keep_alive("/"))
        .with(1, Client::http2("/", 4))
        .with(6, Client::grpc_stream());
    let report = leave(&host, plan, &["grpc_stream"], 6).await;
    assert_eq!(report.of("grpc_stream").goaways, 6, "each after its connection was told: {report}");
    assert_eq!(report.of("http2").asked_to_leave, 0, "who only asks is not sent away: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_blocks_no_other_action() {
    let host = Host::start();
    let drain = "drain = { requests = \"1s\", connections = \"1h\", rate = \"1/s\" }";
    every_kind(&host, drain, "[rollout]\nbake = \"0s\"\n");
    deploy(&host, "v1");
    let load = Load::start(
        Plan::new(host.address).with(30, Client::web_socket("/ws")).with(2, Client::keep_alive("/")),
    );
    load.wait_for(PATIENCE, |report| report.of("web_socket").open == 30).await.unwrap();
    deploy(&host, "v2");
    wait_until("it goes on", || draining(&host)["connections"]["web_socket"].as_u64() > Some(0));
    // Back, while nearly all of them are still there: they stay where they are.
    host.run(&["rollback"]).exits(0);
    let after_rollback = load.report().of("web_socket").asked_to_leave;
    // And the next release takes the slot of v1, with clients on it.
    deploy(&host, "v3");
    deploy(&host, "v4");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(after_rollback < 30, "only as many were asked as the rate allows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_empty_keeps_the_old_environment_until_the_last_one_has_left() {
    let host = Host::start();
    every_kind(&host, "drain = \"until-empty\"", "[rollout]\nbake = \"0s\"\nstandby = \"0s\"\n");
    deploy(&host, "v1");
    let load = Load::start(Plan::new(host.address).with(2, Client::web_socket("/ws")));
    load.wait_for(PATIENCE, |report| report.of("web_socket").open == 2).await.unwrap();
    deploy(&host, "v2");
    wait_until("status tells of them", || draining(&host)["connections"]["web_socket"] == 2);
    assert!(draining(&host)["until"].is_null(), "nobody is asked");
    let text = host.run(&["status"]).exits(0).out;
    assert!(text.contains("still has 2 WebSockets") && !text.contains("cut off"), "{text}");
    let report = load.stop().await;
    assert_eq!((report.failed, report.of("web_socket").asked_to_leave), (0, 0), "{report}");
    host.eventually("then it is stopped", |status| {
        status["environments"]["blue"]["instances"] == serde_json::json!([])
    });
}

/// The same with TLS on the client's side.
async fn leave_over_tls(upstream: &str, clients: impl Fn(Plan) -> Plan, kinds: &[&str], sessions: u64) {
    let site = Site::start();
    let top = format!(
        "hosts = [\"shop.test\"]\nupstream = \"{upstream}\"\n\
         drain = {{ requests = \"500ms\", connections = \"20s\", rate = \"3/s\" }}"
    );
    every_kind(&site.host, &top, &site.tls);
    deploy(&site.host, "v1");
    site.wait_for_certificate();
    let plan = clients(site.plan().with(2, Client::keep_alive("/")));
    leave(&site.host, plan, kinds, sessions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_and_events_leave_over_tls_too() {
    let clients = |plan: Plan| plan.with(6, Client::web_socket("/ws")).with(3, Client::event_stream());
    leave_over_tls("h1", clients, &["web_socket", "event_stream"], 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_leave_over_tls_too() {
    let clients = |plan: Plan| plan.with(6, Client::grpc_stream()).with(1, Client::http2("/", 4));
    leave_over_tls("h2c", clients, &["grpc_stream"], 6).await;
}
