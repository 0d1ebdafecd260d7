//! Holds and maintenance: who waits, who is sent away, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use support::{PATIENCE, Proxy, eventually, instance, read_head};

fn good() -> SocketAddr {
    instance(|mut stream, _| {
        while read_head(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    })
}

struct Shop {
    proxy: Proxy,
    blue: SocketAddr,
}

impl Shop {
    fn start() -> Self {
        let blue = good();
        let proxy = Proxy::start(&format!(
            "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{blue}\"]\n\
             health = {{ path = \"/health\" }}\n"
        ));
        Self { proxy, blue }
    }

    fn pause(&self, pause: &serde_json::Value) {
        let route = json!([{
            "name": "shop",
            "weights": { "blue": 100, "green": 0 },
            "blue": [self.blue.to_string()],
            "health": { "path": "/health" },
            "pause": pause,
        }]);
        let (status, body) = self.proxy.admin("PUT", "/v1/services", &route.to_string());
        assert_eq!(status, 200, "{body}");
    }

    fn hold(&self, time: Duration, requests: u32) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let until = (now + time).as_millis() as u64;
        self.pause(&json!({ "hold": { "until": until, "requests": requests } }));
    }

    fn begin(&self, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.proxy.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client
    }

    fn waiting(&self) -> Option<u64> {
        self.proxy.statistics().services[0].waiting
    }
}

fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn requests_wait_for_the_end_of_a_hold_and_none_is_lost() {
    let shop = Shop::start();
    shop.hold(HOUR, 100);
    let clients: Vec<TcpStream> = (0..20).map(|_| shop.begin("/")).collect();
    eventually("they wait", || shop.waiting() == Some(20));
    assert!(shop.proxy.get("/health").1 == "ok", "who asks for health is answered");
    shop.pause(&serde_json::Value::Null);
    for client in clients {
        assert!(answer(client).starts_with("HTTP/1.1 200"));
    }
    let service = &shop.proxy.statistics().services[0];
    assert_eq!((service.waiting, service.tags[0].counts.requests), (None, 21));
}

#[test]
fn a_hold_ends_by_itself() {
    let shop = Shop::start();
    let began = Instant::now();
    shop.hold(Duration::from_millis(300), 100);
    assert!(answer(shop.begin("/")).starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() >= Duration::from_millis(290), "it has not waited");
    // And one whose time is over when a proxy starts holds nobody.
    let mut shop = shop;
    shop.proxy.restart().unwrap();
    assert!(answer(shop.begin("/")).starts_with("HTTP/1.1 200"));
}

#[test]
fn whoever_finds_no_room_is_sent_away_and_told_when_to_come_again() {
    let shop = Shop::start();
    shop.hold(Duration::from_secs(100), 2);
    let clients: Vec<TcpStream> = (0..2).map(|_| shop.begin("/")).collect();
    eventually("they wait", || shop.waiting() == Some(2));
    let refused = answer(shop.begin("/"));
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let after = refused.lines().find_map(|line| line.strip_prefix("Retry-After: ")).unwrap();
    assert!((90..=101).contains(&after.parse::<u32>().unwrap()), "{after}");
    // A client that breaks off makes room for another.
    for client in clients {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    eventually("they are gone", || shop.waiting() == Some(0));
    let client = shop.begin("/");
    eventually("it waits", || shop.waiting() == Some(1));
    shop.pause(&serde_json::Value::Null);
    assert!(answer(client).starts_with("HTTP/1.1 200"));
    assert_eq!(shop.proxy.statistics().services[0].shift.as_ref().unwrap().turned_away, 1);
}

#[test]
fn those_who_wait_when_the_proxy_ends_are_told_to_come_again() {
    let mut shop = Shop::start();
    shop.hold(HOUR, 100);
    let clients: Vec<TcpStream> = (0..20).map(|_| shop.begin("/")).collect();
    eventually("they wait", || shop.waiting() == Some(20));
    shop.proxy.stop();
    for client in clients {
        let told = answer(client);
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After: "), "{told}");
    }
}

/// Programs that give up close their connections, and their requests are not done behind their backs.
#[test]
fn whoever_ends_its_side_makes_room_and_its_request_is_not_done() {
    let shop = Shop::start();
    shop.hold(HOUR, 100);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| shop.begin("/")).collect();
    // What nobody has read of a body hides no end that lies behind it.
    let mut post = TcpStream::connect(shop.proxy.address()).unwrap();
    post.set_read_timeout(Some(PATIENCE)).unwrap();
    post.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n").unwrap();
    eventually("they wait", || shop.waiting() == Some(4));
    post.write_all(b"three ").unwrap();
    let stays = clients.pop().unwrap();
    drop(clients.pop());
    for client in [clients.pop().unwrap(), post] {
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let told = answer(client);
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After: "), "{told}");
    }
    eventually("one still waits", || shop.waiting() == Some(1));
    shop.pause(&serde_json::Value::Null);
    assert!(answer(stays).starts_with("HTTP/1.1 200"));
    let service = &shop.proxy.statistics().services[0];
    assert_eq!(service.tags[0].counts.requests, 1, "and nothing else was done");
    assert_eq!(service.shift.as_ref().unwrap().turned_away, 0, "nobody was turned away for want of room");
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let shop = Shop::start();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let until = (now + HOUR).as_millis() as u64;
    shop.pause(&json!({ "hold": { "until": until, "requests": 100, "bytes": 30_000 } }));
    let post = |length: usize| {
        let mut client = TcpStream::connect(shop.proxy.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        client
    };
    let _waits = post(20_000);
    eventually("it waits", || shop.waiting() == Some(1));
    assert!(answer(post(20_000)).starts_with("HTTP/1.1 503"));
    let _waits_too = shop.begin("/");
    eventually("a small one has room", || shop.waiting() == Some(2));
}

#[test]
fn in_maintenance_browsers_get_the_page_and_programs_a_sentence() {
    let shop = Shop::start();
    shop.pause(&json!({ "maintenance": { "page": "<h1>Back at {request_id}</h1>", "retry_after": 600 } }));
    let ask = |accept: &str| {
        shop.proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: {accept}\r\n\r\n"))
    };
    let page = ask("text/html");
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("Retry-After: 600\r\n"), "{page}");
    assert!(page.contains("<h1>Back at ") && !page.contains("{request_id}"), "{page}");
    let sentence = ask("application/json");
    assert!(sentence.contains("Retry-After: 600\r\n") && sentence.contains("being worked on"), "{sentence}");
    assert_eq!(shop.proxy.get("/health").1, "ok");
    assert_eq!(shop.proxy.get("/healthy").0, 503);
    // It outlives the proxy, and ends when somebody says so.
    let mut shop = shop;
    shop.proxy.restart().unwrap();
    assert_eq!(shop.proxy.get("/").0, 503);
    shop.pause(&serde_json::Value::Null);
    assert_eq!(shop.proxy.get("/").1, "ok");
}
