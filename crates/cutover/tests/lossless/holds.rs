//! Holds, maintenance and the switch inside a hold.

use std::time::Duration;

use cutover_load::{Client, Load, Plan};

use crate::support::{Host, PATIENCE, wait_until};
use crate::{deploy, every_kind, figures};

fn waiting(host: &Host) -> u64 {
    host.status()["pause"]["waiting"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_every_protocol_wait_and_go_on_without_a_failure() {
    let host = Host::start();
    every_kind(&host, "upstream = \"auto\"", "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(3, Client::keep_alive("/"))
        .with(2, Client::fresh("/"))
        .with(1, Client::post("/", 20_000))
        .with(1, Client::http2("/", 4));
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| report.requests > 50).await.unwrap();
    let said = host.run(&["hold", "--for", "1m"]).exits(0).out;
    assert!(
        said.contains("new requests for shop wait for 1m at most, until ")
            && said.contains("`cutover unhold shop`"),
        "{said}"
    );
    wait_until("they wait", || waiting(&host) >= 7);
    let said = host.run(&["hold", "--for", "2m"]).exits(0).out;
    assert!(said.contains(", instead of until ") && said.contains(" had said;"), "{said}");
    let told = figures(&host);
    let is_told = |line: &str| told.lines().any(|told| told == line);
    assert!(is_told("cutover_service_paused{service=\"shop\",kind=\"hold\"} 1.0"), "{told}");
    assert!(is_told("cutover_service_paused{service=\"shop\",kind=\"maintenance\"} 0.0"), "{told}");
    assert!(!told.contains("cutover_service_waiting_requests{service=\"shop\"} 0.0"), "{told}");
    let text = host.run(&["status"]).exits(0).out;
    assert!(text.contains("new requests wait until ") && text.contains(" wait now"), "{text}");
    let before = load.report().requests;
    assert!(host.get("/health").starts_with("HTTP/1.1 200"), "who asks for health is answered");
    assert_eq!(load.report().requests, before, "and nobody else");
    host.run(&["unhold"]).exits(0);
    load.wait_for(PATIENCE, |report| report.requests > before + 50).await.unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    host.run(&["unhold"]).exits(4);
    assert!(host.status()["pause"].is_null());
}

/// Those that want to last wait to begin, and those that have begun go on meanwhile.
async fn sessions_wait(upstream: &str, client: &Client) {
    let host = Host::start();
    every_kind(&host, &format!("upstream = \"{upstream}\""), "");
    deploy(&host, "v1");
    let kind = client.kind.label();
    let before = Load::start(Plan::new(host.address).with(2, client.clone()));
    before.wait_for(PATIENCE, |report| report.of(kind).open == 2).await.unwrap();
    host.run(&["hold", "--for", "1m"]).exits(0);
    let during = Load::start(Plan::new(host.address).with(3, client.clone()));
    wait_until("they wait", || waiting(&host) == 3);
    assert_eq!(during.report().of(kind).open, 0, "{kind}");
    let said = before.report().of(kind).messages;
    before.wait_for(PATIENCE, |report| report.of(kind).messages > said + 5).await.unwrap();
    host.run(&["unhold"]).exits(0);
    during.wait_for(PATIENCE, |report| report.of(kind).open == 3).await.unwrap();
    for load in [before, during] {
        let report = load.stop().await;
        assert!(report.is_clean() && report.of(kind).asked_to_leave == 0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_wait_to_be_opened() {
    sessions_wait("h1", &Client::web_socket("/ws")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_wait_to_be_opened() {
    sessions_wait("h1", &Client::event_stream()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_to_be_begun() {
    sessions_wait("h2c", &Client::grpc_stream()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_ends_by_itself_with_its_controller_dead() {
    let mut host = Host::start();
    every_kind(&host, "", "");
    deploy(&host, "v1");
    let load = Load::start(Plan::new(host.address).with(3, Client::keep_alive("/")));
    load.wait_for(PATIENCE, |report| report.requests > 50).await.unwrap();
    host.run(&["hold", "--for", "2s"]).exits(0);
    wait_until("they wait", || waiting(&host) == 3);
    host.kill_controller();
    let before = load.report().requests;
    load.wait_for(PATIENCE, |report| report.requests > before + 50).await.unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    host.serve();
    host.eventually("the controller knows that it is over", |status| status["pause"].is_null());
}

#[test]
fn maintenance_has_a_page_and_ends_when_somebody_says_so() {
    let mut host = Host::start();
    every_kind(&host, "", "");
    deploy(&host, "v1");
    std::fs::write(host.path("away.html"), "<h1>We are back soon</h1>").unwrap();
    let page = host.path("away.html");
    host.run(&["maintenance", "on", "--page", page.to_str().unwrap(), "--retry-after", "10m"]).exits(0);
    for words in [&["hold", "--for", "5s"][..], &["unhold"]] {
        let said = host.run(words).exits(4).err;
        assert!(said.contains("in maintenance") && said.contains("`cutover maintenance off`"), "{said}");
    }
    let address = host.address;
    let ask = |accept: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "-i", "-H", &format!("Accept: {accept}"), &format!("http://{address}/")]);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let answer = ask("text/html");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 600"), "{answer}");
    assert!(answer.ends_with("<h1>We are back soon</h1>"), "{answer}");
    assert!(!ask("application/json").contains("back soon"));
    assert!(host.run(&["status"]).exits(0).out.contains("in maintenance (by "));
    host.run(&["unhold"]).exits(4);
    // A release can be brought meanwhile, and its gates are asked by the private way.
    every_kind(&host, "", "[[smoke]]\nname = \"home\"\npath = \"/\"\nstatus = 200\n");
    deploy(&host, "v2");
    host.kill_controller();
    host.serve();
    assert!(ask("text/html").ends_with("<h1>We are back soon</h1>"));
    host.run(&["maintenance", "off"]).exits(0);
    let answer = ask("text/html");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.to_lowercase().contains("x-version: v2"),
        "{answer}"
    );
    let large = host.path("large.html");
    std::fs::write(&large, vec![b'x'; 300 * 1024]).unwrap();
    let said = host.run(&["maintenance", "on", "--page", large.to_str().unwrap()]).exits(2).err;
    assert!(said.contains("more than 32 KiB"), "{said}");
}

/// The two releases are never at work at once: what the hook does then bears no overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_with_a_hold_switches_while_nobody_is_at_work() {
    let host = Host::start();
    every_kind(&host, "", "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(3, Client::keep_alive("/"))
        .with(2, Client::slow(Duration::from_millis(100)))
        .with(1, Client::post("/", 20_000));
    let load = Load::start(plan);
    load.expect("blue");
    load.wait_for(PATIENCE, |report| report.requests > 50).await.unwrap();
    let stats = host.path("in-flight");
    let script = format!(
        "#!/bin/sh\ncurl -sS --unix-socket {}/proxy/admin.sock http://a/v1/stats > {}\n",
        host.state().display(),
        stats.display()
    );
    host.write("look", &script);
    every_kind(&host, "", "[hooks]\nbefore_shift = [\"sh\", \"./look\"]\n");
    load.expect_nothing();
    host.run(&["deploy", "v2", "--hold", "20s", "--wait", "live"]).exits(0);
    load.expect("green");
    let before = load.report().requests;
    load.wait_for(PATIENCE, |report| report.requests > before + 50).await.unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let seen: serde_json::Value = serde_json::from_slice(&std::fs::read(&stats).unwrap()).unwrap();
    let instances = seen["instances"].as_array().unwrap();
    assert!(instances.iter().all(|instance| instance["in_flight"] == 0), "{instances:?}");
    assert!(seen["services"][0]["waiting"].as_u64() > Some(0), "{seen}");
    let steps: Vec<String> = crate::shown(&host)["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].as_str().unwrap().to_owned())
        .collect();
    let order: Vec<&str> = steps
        .iter()
        .map(String::as_str)
        .filter(|step| ["hold", "quiet", "before_shift", "switch"].contains(step))
        .collect();
    assert_eq!(order, ["hold", "quiet", "before_shift", "switch"]);
    assert!(host.status()["pause"].is_null());
}

#[test]
fn a_deploy_with_a_hold_that_fails_lets_requests_go_on_to_the_old_release() {
    let host = Host::start();
    every_kind(&host, "", "");
    deploy(&host, "v1");
    every_kind(&host, "", "[hooks]\nbefore_shift = [\"false\"]\n");
    host.run(&["deploy", "v2", "--hold", "20s"]).exits(1);
    let answer = host.get("/");
    assert!(answer.to_lowercase().contains("x-version: v1"), "{answer}");
    host.eventually("nothing is held", |status| status["pause"].is_null());
}
