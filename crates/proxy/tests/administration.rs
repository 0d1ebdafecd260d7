//! What administrators can do, what they are refused, and what a restart remembers.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::time::Duration;

use cutover_core::receipt::Receipt;
use cutover_load::{Backend, Client, Load, Plan};
use cutover_proxy::ProxyError;
use support::{Proxy, run};

fn service(name: &str, blue: &Backend, green: &Backend, more: &str) -> String {
    let (blue, green) = (blue.address(), green.address());
    format!(
        "[[service]]\nname = \"{name}\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{blue}\"]\ngreen = [\"{green}\"]\n{more}\n"
    )
}

fn backends() -> (Backend, Backend) {
    let backend = |environment| Backend::start("127.0.0.1:0".parse().unwrap(), environment, "v1").unwrap();
    (backend("blue"), backend("green"))
}

fn environment(proxy: &Proxy, host: &str) -> String {
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    let line = answer.lines().find_map(|line| line.strip_prefix("x-environment: "));
    line.unwrap_or(&answer).to_owned()
}

const TO_GREEN: &str = r#"{"blue":0,"green":100}"#;
const TO_BLUE: &str = r#"{"blue":100,"green":0}"#;
const WEIGHTS: &str = "/v1/services/shop/weights";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flips_under_mixed_load_lose_no_request_and_send_none_to_the_old_environment() {
    let (blue, green) = backends();
    let proxy = Proxy::start(&service("shop", &blue, &green, ""));
    let plan = Plan::new(proxy.address())
        .with(4, Client::keep_alive("/"))
        .with(2, Client::fresh("/"))
        .with(2, Client::post("/", 10_000))
        .with(1, Client::post_chunked("/", 200_000))
        .with(2, Client::slow(Duration::from_millis(20)));
    let load = Load::start(plan);
    for flip in 0..30u64 {
        let (weights, name) = if flip % 2 == 0 { (TO_GREEN, "green") } else { (TO_BLUE, "blue") };
        let before = load.report().requests;
        load.expect_nothing();
        let (status, body) = proxy.admin("PATCH", WEIGHTS, weights);
        assert_eq!(status, 200, "{body}");
        load.expect(name);
        let moved = load.wait_for(support::PATIENCE, |report| report.requests > before + 100).await;
        assert!(moved.is_ok(), "the load stands still");
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.judged > 0, "{report}");
    assert!(report.answered_by("blue") > 0 && report.answered_by("green") > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_receipt_says_what_was_in_flight_and_the_same_epoch_gets_the_same_one() {
    let (blue, green) = backends();
    let proxy = Proxy::start(&service("shop", &blue, &green, ""));
    let address = proxy.address();
    let slow = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GET /slow?ms=300 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    });
    support::eventually("the slow request is in flight", || {
        proxy.statistics().instances.iter().any(|instance| instance.in_flight == 1)
    });
    let (status, body) = proxy.admin("PATCH", WEIGHTS, r#"{"blue":0,"green":100,"epoch":40}"#);
    assert_eq!(status, 200);
    let receipt: Receipt = serde_json::from_str(&body).unwrap();
    assert_eq!((receipt.in_flight.blue, receipt.in_flight.green, receipt.epoch.get()), (1, 0, 40));
    assert_eq!(environment(&proxy, "a"), "green");
    assert!(slow.join().unwrap().contains("x-environment: blue"), "what was in flight is finished by blue");
    assert_eq!(proxy.admin("PATCH", WEIGHTS, r#"{"blue":0,"green":100,"epoch":40}"#), (200, body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn older_epochs_conflict_and_wrong_changes_are_refused_with_a_sentence() {
    let (blue, green) = backends();
    let services =
        service("shop", &blue, &green, "hosts = [\"a\"]") + &service("api", &green, &blue, "hosts = [\"b\"]");
    let proxy = Proxy::start(&services);
    let check = |method: &str, path: &str, body: &str, status: u16, sentence: &str| {
        let answer = proxy.admin(method, path, body);
        assert_eq!(answer.0, status, "{method} {path} {body}: {}", answer.1);
        assert!(answer.1.contains(sentence), "{}", answer.1);
    };
    check("PATCH", WEIGHTS, r#"{"blue":100,"green":0,"epoch":10}"#, 200, "\"epoch\":10");
    check("PATCH", WEIGHTS, r#"{"blue":0,"green":100,"epoch":9}"#, 409, "older than 10");
    check("PATCH", WEIGHTS, r#"{"blue":0,"green":100,"epoch":10}"#, 409, "other content");
    check("PATCH", WEIGHTS, r#"{"blue":1,"green":100}"#, 422, "add up to 100");
    check("PATCH", WEIGHTS, r#"{"blue":100}"#, 422, "missing field `green`");
    check("PATCH", WEIGHTS, r#"{"blue":100,"green":0,"gren":1}"#, 422, "unknown field `gren`");
    check("PATCH", WEIGHTS, "{", 400, "JSON");
    check("PATCH", "/v1/services/nobody/weights", TO_GREEN, 404, "no service `nobody`");
    check("GET", "/v2/table", "", 404, "nothing");
    let both = r#"[{"name":"api","weights":{"blue":0,"green":100}},{"name":"shop","epoch":1,"weights":{"blue":0,"green":100}}]"#;
    check("PATCH", "/v1/services", both, 409, "older");
    assert_eq!((environment(&proxy, "a"), environment(&proxy, "b")), ("blue".to_owned(), "green".to_owned()));
    let table = proxy.admin("GET", "/v1/table", "").1;
    let other_port = table.replacen(&proxy.address().port().to_string(), "1", 1);
    check("PUT", "/v1/table", &other_port, 422, "listeners");
    check("PUT", "/v1/table", &table, 200, "");
    check("DELETE", "/v1/services/api?epoch=0", "", 409, "older");
    check("DELETE", "/v1/services/api?epoch=9007199254740990", "", 200, "");
    assert_eq!(proxy.ask("GET / HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restart_goes_on_with_the_last_table_until_the_seed_is_edited() {
    let (blue, green) = backends();
    let services = service("shop", &blue, &green, "");
    let mut proxy = Proxy::start(&services);
    proxy.admin("PATCH", WEIGHTS, TO_GREEN);
    let before = proxy.statistics();
    proxy.restart().unwrap();
    assert_eq!(environment(&proxy, "a"), "green");
    let after = proxy.statistics();
    assert_eq!(after.services[0].epoch, before.services[0].epoch);
    assert_ne!(after.boot_id, before.boot_id);
    proxy.write_seed(&format!("{services}path = \"/\"\ntimeouts = {{ connect = \"1s\" }}\n"));
    proxy.restart().unwrap();
    assert_eq!(environment(&proxy, "a"), "blue");
    assert!(proxy.statistics().services[0].epoch > before.services[0].epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_removed_service_is_not_brought_back_by_an_older_epoch_after_a_restart_either() {
    let (blue, green) = backends();
    let mut proxy = Proxy::start(&service("shop", &blue, &green, ""));
    let put = |proxy: &Proxy, epoch: u64| {
        let route = serde_json::json!([{
            "name": "api", "epoch": epoch, "path": "/api", "weights": { "blue": 0, "green": 100 },
            "green": [green.address()],
        }]);
        proxy.admin("PUT", "/v1/services", &route.to_string())
    };
    assert_eq!(put(&proxy, 40).0, 200);
    assert_eq!(proxy.admin("DELETE", "/v1/services/api", "").0, 200);
    for _ in 0..2 {
        proxy.restart().unwrap();
        let (status, body) = put(&proxy, 39);
        assert_eq!(status, 409, "{body}");
        assert!(body.contains("older than 40"), "{body}");
    }
    assert_eq!(put(&proxy, 41).0, 200);
    proxy.restart().unwrap();
    assert_eq!(put(&proxy, 40).0, 409, "what is routed again has its own epoch");
    assert_eq!(put(&proxy, 42).0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_proxy_is_refused_by_the_socket_and_by_the_port() {
    let (blue, green) = backends();
    let proxy = Proxy::start(&service("shop", &blue, &green, ""));
    let same_socket = run(proxy.settings(), std::future::pending()).unwrap_err();
    assert!(matches!(same_socket, ProxyError::AdminTaken(_)), "{same_socket}");
    let mut same_port = proxy.settings();
    same_port.admin = proxy.directory.path().join("other.sock");
    same_port.table = proxy.directory.path().join("other.toml");
    std::fs::write(&same_port.table, format!("[listen]\nhttp = [\"{}\"]\n", proxy.address())).unwrap();
    let same_port = run(same_port, std::future::pending()).unwrap_err().to_string();
    assert!(same_port.contains("another program has it"), "{same_port}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_end_waits_for_requests_in_flight() {
    let (blue, green) = backends();
    let mut proxy = Proxy::start(&service("shop", &blue, &green, ""));
    let address = proxy.address();
    let slow = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GET /slow?ms=500 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    });
    support::eventually("the slow request is in flight", || {
        proxy.statistics().instances.iter().any(|instance| instance.in_flight == 1)
    });
    proxy.restart().unwrap();
    let answer = slow.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Connection: close"), "{answer}");
}

fn is_refused(proxy: &Proxy) -> bool {
    let connected = std::net::TcpStream::connect(proxy.address());
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn held_listeners_refuse_clients_until_somebody_says_that_they_may_come() {
    let (blue, green) = backends();
    let mut proxy = Proxy::start(&service("shop", &blue, &green, ""));
    assert!(proxy.statistics().listening);
    proxy.hold_listeners = Some(Duration::from_secs(3600));
    proxy.restart().unwrap();
    assert!(is_refused(&proxy) && !proxy.statistics().listening);
    assert_eq!(proxy.admin("PATCH", WEIGHTS, TO_GREEN).0, 200, "it is administered meanwhile");
    for _ in 0..2 {
        assert_eq!(proxy.admin("POST", "/v1/listen", ""), (200, r#"{"listening":true}"#.to_owned()));
        assert!(proxy.statistics().listening);
        assert_eq!(environment(&proxy, "a"), "green");
    }
    // One that ends while it holds has nothing to wait for.
    proxy.restart().unwrap();
    assert!(is_refused(&proxy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn held_listeners_accept_by_themselves_when_the_time_is_over() {
    let (blue, green) = backends();
    let mut proxy = Proxy::start(&service("shop", &blue, &green, ""));
    proxy.hold_listeners = Some(Duration::from_millis(50));
    proxy.restart().unwrap();
    support::eventually("it listens", || proxy.statistics().listening);
    assert_eq!(environment(&proxy, "a"), "blue");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_port_that_is_taken_is_found_at_the_start_also_when_listeners_are_held() {
    let (blue, green) = backends();
    let proxy = Proxy::start(&service("shop", &blue, &green, ""));
    let mut second = proxy.settings();
    second.hold_listeners = Some(Duration::from_secs(3600));
    second.admin = proxy.directory.path().join("other.sock");
    second.table = proxy.directory.path().join("other.toml");
    std::fs::write(&second.table, format!("[listen]\nhttp = [\"{}\"]\n", proxy.address())).unwrap();
    let refused = run(second, std::future::pending()).unwrap_err().to_string();
    assert!(refused.contains("another program has it"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_instance_counts_as_healthy_when_a_probe_has_passed_and_not_before() {
    let (blue, _) = backends();
    let dead = support::refusing();
    let more = format!("green = [\"{dead}\"]\nhealth = {{ path = \"/\", interval = \"10ms\", fall = 1000 }}");
    let probed = service("shop", &blue, &blue, &more);
    let green_twice = format!("green = [\"{}\"]\n", blue.address());
    let proxy = Proxy::start(&probed.replacen(&green_twice, "", 1));
    let health = |address| {
        let seen = proxy.statistics().instances;
        seen.into_iter().find(|instance| instance.address == address).map(|instance| instance.healthy)
    };
    support::eventually("blue is healthy", || health(blue.address()) == Some(Some(true)));
    assert_eq!(health(dead), Some(None), "not one of its probes has passed, and too few have failed");
}
