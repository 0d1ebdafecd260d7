//! After a switch clients connect anew, one after the other, told in the words of their protocol; nobody is cut.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use cutover_load::{Client, Load, Plan, Report};
use serde_json::Value;

use crate::over_tls::Site;
use crate::support::data_plane::admin;
use crate::support::{Host, PATIENCE, wait_until};
use crate::{deploy, every_kind, figures};

/// A client that keeps its connection and asks seldom.
struct Idler(TcpStream);

impl Idler {
    fn new(host: &Host) -> Self {
        let stream = TcpStream::connect(host.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// The head of the answer.
    fn ask(&mut self) -> String {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let head = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        self.0.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        head
    }
}

/// So many, each answered by blue once.
fn idlers(host: &Host, count: usize) -> Vec<Idler> {
    let mut idle: Vec<Idler> = (0..count).map(|_| Idler::new(host)).collect();
    for one in &mut idle {
        let head = one.ask();
        assert!(head.contains("\nx-environment: blue\r") && !head.contains("\nconnection:"), "{head}");
    }
    idle
}

/// Whether the proxy has heard how clients leave blue.
fn is_drained(host: &Host) -> bool {
    let stats = admin(host, "GET", "/v1/stats", "");
    let all = stats["instances"].as_array().unwrap();
    all.iter().any(|one| one["id"].as_str().unwrap().contains("-blue-") && one["draining"].is_object())
}

#[test]
fn idle_connections_are_told_with_their_next_answer_and_not_cut() {
    let host = Host::start();
    every_kind(&host, "drain = { connections = \"1h\", rate = \"1000000/s\" }", "");
    deploy(&host, "v1");
    let mut idle = idlers(&host, 50);
    deploy(&host, "v2");
    wait_until("the proxy has heard of it", || is_drained(&host));
    let mut young = Idler::new(&host);
    for one in &mut idle {
        let head = one.ask();
        assert!(
            head.contains("\nx-environment: green\r") && head.contains("\nconnection: close\r"),
            "{head}"
        );
        assert_eq!(one.0.read(&mut [0]).unwrap(), 0, "it ends as it was said");
    }
    assert!(!young.ask().contains("\nconnection:"), "it is younger than the switch");
    assert!(figures(&host).contains("cutover_renewed_connections_total{service=\"shop\"} 50\n"));
}

#[test]
fn the_rate_holds_for_them_and_whoever_had_no_turn_stays() {
    let host = Host::start();
    every_kind(&host, "drain = { connections = \"1h\", rate = \"5/s\" }", "[rollout]\nbake = \"0s\"\n");
    deploy(&host, "v1");
    let mut idle = idlers(&host, 30);
    deploy(&host, "v2");
    wait_until("the proxy has heard of it", || is_drained(&host));
    let began = Instant::now();
    let mut told = 0;
    while told < 4 {
        assert!(began.elapsed() < PATIENCE, "{told}");
        idle.retain_mut(|one| {
            let goes = one.ask().contains("\nconnection: close\r");
            told += usize::from(goes);
            !goes
        });
        // A turn that nobody used is not saved up, but the first is there.
        let most = began.elapsed().as_secs_f64() * 5.0 + 1.0;
        assert!(f64::from(u32::try_from(told).unwrap()) <= most, "{told} of at most {most}");
    }
    // Nobody is cut by the next one either.
    deploy(&host, "v3");
    idle.iter_mut().for_each(|one| assert!(one.ask().contains("\nx-environment: blue\r")));
}

/// How often clients of a kind were told.
fn told(report: &Report, kind: &str) -> u64 {
    let count = report.of(kind);
    count.closes + count.goaways
}

/// Switches under this load; ends once all its clients were told.
async fn renew(host: &Host, plan: Plan, clients: &[(&str, u64)]) {
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| clients.iter().all(|(kind, _)| report.of(kind).requests > 20))
        .await
        .unwrap();
    load.expect_nothing();
    deploy(host, "v2");
    load.expect("green");
    load.wait_for(PATIENCE, |report| clients.iter().all(|(kind, all)| told(report, kind) >= *all))
        .await
        .unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    for (kind, all) in clients {
        assert_eq!(told(&report, kind), *all, "each once: {report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_each_client_is_told_once_over_either_protocol_and_nothing_is_lost() {
    let host = Host::start();
    every_kind(&host, "drain = { requests = \"1s\", connections = \"1h\", rate = \"20/s\" }", "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(10, Client::keep_alive("/"))
        .with(5, Client::post("/", 20_000))
        .with(4, Client::http2("/", 4));
    renew(&host, plan, &[("keep_alive", 10), ("post", 5), ("http2", 4)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_tls() {
    let site = Site::start();
    let drain = "drain = { requests = \"1s\", connections = \"1h\", rate = \"20/s\" }";
    every_kind(&site.host, &format!("hosts = [\"shop.test\"]\n{drain}"), &site.tls);
    deploy(&site.host, "v1");
    site.wait_for_certificate();
    let plan = site.plan().with(6, Client::keep_alive("/")).with(3, Client::http2("/", 4));
    renew(&site.host, plan, &[("keep_alive", 6), ("http2", 3)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_keep_connections_keeps_them() {
    let host = Host::start();
    let drain = "drain = { connections = \"1h\", rate = \"1000000/s\", clients = \"stay\" }";
    every_kind(&host, drain, "");
    deploy(&host, "v1");
    let plan = Plan::new(host.address).with(4, Client::keep_alive("/")).with(2, Client::http2("/", 4));
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| report.requests > 100).await.unwrap();
    load.expect_nothing();
    deploy(&host, "v2");
    load.expect("green");
    wait_until("the proxy has heard of it", || is_drained(&host));
    let so_far = load.report().requests;
    load.wait_for(PATIENCE, |report| report.requests > so_far + 500).await.unwrap();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((told(&report, "keep_alive"), told(&report, "http2")), (0, 0), "{report}");
    let renewed = |stats: &Value| stats["services"][0]["renewed"].clone();
    assert_eq!(renewed(&admin(&host, "GET", "/v1/stats", "")), 0);
}
