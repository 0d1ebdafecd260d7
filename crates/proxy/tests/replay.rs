//! Requests that an instance has lost before their answer began: which go on, where to, and which do not.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cutover_core::statistics::TagReport;
use support::{Proxy, h2_instance, instance, read_head};

/// An instance that answers with its name and the body that it got, and counts what it was asked.
fn good(name: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = instance(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            counted.fetch_add(1, Ordering::SeqCst);
            let body = read_body(&mut stream, &head);
            let text = format!("{name} {}", String::from_utf8_lossy(&body));
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, asked)
}

fn read_body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).unwrap();
    body
}

/// An instance that reads whole requests and closes without a word.
fn bad() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = instance(move |mut stream, _| {
        if let Some(head) = read_head(&mut stream) {
            counted.fetch_add(1, Ordering::SeqCst);
            read_body(&mut stream, &head);
        }
    });
    (address, asked)
}

/// An instance over HTTP/2 that answers with its name.
fn good_over_h2(name: &'static str) -> SocketAddr {
    h2_instance(move |mut connection, _| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = http::Response::builder().header("content-length", name.len()).body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(bytes::Bytes::from_static(name.as_bytes()), true).unwrap();
        }
    })
}

/// An instance over HTTP/2 that says of each request that it has not begun with it and never will.
fn declining() -> SocketAddr {
    h2_instance(|mut connection, _| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    })
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Green is live, blue is warm.
fn shop(blue: &[SocketAddr], green: &[SocketAddr], more: &str) -> Proxy {
    let list = |all: &[SocketAddr]| {
        all.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ")
    };
    Proxy::start(&format!(
        "[[service]]\nname = \"shop\"\nweights = {{ blue = 0, green = 100 }}\nblue = [{}]\ngreen = [{}]\n{more}\n",
        list(blue),
        list(green)
    ))
}

fn request(method: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
}

fn counts(proxy: &Proxy, environment: &str) -> TagReport {
    let tags = &proxy.statistics().services[0].tags;
    tags.iter().find(|tag| tag.environment.label() == environment).unwrap().clone()
}

const TO_IDLE: &str = "replay = { to = \"blue\" }";

#[test]
fn what_the_live_environment_loses_goes_to_the_warm_one_and_is_counted() {
    for (lost, method) in [(bad().0, "GET"), (bad().0, "PUT"), (nobody(), "GET"), (nobody(), "POST")] {
        let (warm, asked) = good("blue");
        let proxy = shop(&[warm], &[lost], TO_IDLE);
        let (status, body) = proxy.ask(&request(method, "", "a body"));
        assert_eq!((status, body.as_str()), (200, "blue a body"), "{method}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let (green, blue) = (counts(&proxy, "green").counts, counts(&proxy, "blue").counts);
        assert_eq!((green.replays, green.retries, green.requests), (1, 0, 0), "{method}");
        assert!(green.failures.is_empty(), "it has not failed: {:?}", green.failures);
        assert_eq!((blue.requests, blue.replays), (1, 0));
    }
}

#[test]
fn another_instance_of_the_same_environment_comes_first() {
    let ((lost, tried), (other, asked), (warm, warm_asked)) = (bad(), good("green"), good("blue"));
    let proxy = shop(&[warm], &[lost, other], TO_IDLE);
    for _ in 0..4 {
        assert_eq!(proxy.ask(&request("GET", "", "")), (200, "green ".to_owned()));
    }
    assert_eq!(warm_asked.load(Ordering::SeqCst), 0);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert_eq!(counts(&proxy, "green").counts.retries as usize, tried.load(Ordering::SeqCst));
}

#[test]
fn a_post_that_may_have_been_done_is_never_repeated() {
    let ((lost, tried), (other, asked), (warm, warm_asked)) = (bad(), good("green"), good("blue"));
    let proxy = shop(&[warm], &[lost, other], TO_IDLE);
    let answers: Vec<u16> =
        (0..4).map(|_| proxy.ask(&request("POST", "Idempotency-Key: 1\r\n", "order")).0).collect();
    assert_eq!(answers.iter().filter(|status| **status == 502).count(), tried.load(Ordering::SeqCst));
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), asked.load(Ordering::SeqCst));
    assert_eq!(asked.load(Ordering::SeqCst) + tried.load(Ordering::SeqCst), 4, "each was done once");
    assert_eq!(warm_asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_post_with_the_key_that_the_application_knows_goes_on() {
    let ((lost, tried), (warm, asked)) = (bad(), good("blue"));
    let more = "replay = { to = \"blue\", idempotency_key = \"idempotency-key\" }";
    let proxy = shop(&[warm], &[lost], more);
    let (status, body) = proxy.ask(&request("POST", "Idempotency-Key: 7\r\n", "order"));
    assert_eq!((status, body.as_str()), (200, "blue order"));
    // An empty one is none.
    assert_eq!(proxy.ask(&request("POST", "Idempotency-Key:\r\n", "order")).0, 502);
    assert_eq!((tried.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn a_body_beyond_the_bound_passes_and_is_not_sent_again() {
    let ((lost, _), (warm, asked)) = (bad(), good("blue"));
    let proxy = shop(&[warm], &[lost], "replay = { to = \"blue\", body_bytes = 10 }");
    assert_eq!(proxy.ask(&request("PUT", "", "ten bytes.")), (200, "blue ten bytes.".to_owned()));
    assert_eq!(proxy.ask(&request("PUT", "", "eleven byte")).0, 502);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn without_a_warm_environment_that_may_take_it_a_request_fails_as_before() {
    let ((lost, _), (warm, asked)) = (bad(), good("blue"));
    let proxy = shop(&[warm], &[lost], "");
    assert_eq!(proxy.ask(&request("GET", "", "")).0, 502);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_request_that_ends_what_it_is_given_to_meets_two_instances_at_most() {
    let all: Vec<_> = (0..4).map(|_| bad()).collect();
    let addresses: Vec<SocketAddr> = all.iter().map(|(address, _)| *address).collect();
    let proxy = shop(&addresses[..1], &addresses[1..], TO_IDLE);
    assert_eq!(proxy.ask(&request("GET", "", "")).0, 502);
    let met: usize = all.iter().map(|(_, asked)| asked.load(Ordering::SeqCst)).sum();
    assert_eq!(met, 2);
}

#[test]
fn what_fails_with_a_share_goes_to_the_live_one_and_never_the_other_way() {
    let ((canary, _), (live, asked)) = (bad(), good("blue"));
    let shared = |live: &str| {
        format!(
            "[[service]]\nname = \"shop\"\nweights = {{ blue = 50, green = 50 }}\nlive = \"{live}\"\n\
             blue = [\"{{blue}}\"]\ngreen = [\"{{green}}\"]\n{TO_IDLE}\n"
        )
    };
    let filled = |text: String, blue: SocketAddr, green: SocketAddr| {
        text.replace("{blue}", &blue.to_string()).replace("{green}", &green.to_string())
    };
    let proxy = Proxy::start(&filled(shared("blue"), live, canary));
    for _ in 0..4 {
        assert_eq!(proxy.ask(&request("GET", "", "")).0, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    // The live one is bad: its share of requests fails, and the canary gets no more than its own.
    let ((live, _), (canary, asked)) = (bad(), good("green"));
    let proxy = Proxy::start(&filled(shared("blue"), live, canary));
    let answers: Vec<u16> = (0..4).map(|_| proxy.ask(&request("GET", "", "")).0).collect();
    assert_eq!(answers.iter().filter(|status| **status == 502).count(), 2, "{answers:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// Each connection that carries a second request is ended, with both. Of three requests at once two have the same worker, and
/// so the same connection.
#[test]
fn what_others_end_on_a_shared_connection_is_done_on_one_of_its_own() {
    let instance = h2_instance(|mut connection, _| async move {
        let Some(Ok((_, mut respond))) = connection.accept().await else { return };
        let second = tokio::time::timeout(std::time::Duration::from_millis(300), connection.accept());
        if second.await.is_ok() {
            return;
        }
        let head = http::Response::builder().header("content-length", "2").body(()).unwrap();
        respond.send_response(head, false).unwrap().send_data("ok".into(), true).unwrap();
        while connection.accept().await.is_some() {}
    });
    let proxy = shop(&[], &[instance], "upstream = \"h2c\"");
    // On a busy machine they may come too far apart.
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(proxy.ask(&request("GET", "", "")), (200, "ok".to_owned())));
            }
        });
        if counts(&proxy, "green").counts.retries >= 2 {
            return;
        }
    }
    panic!("no two were ever lost with each other");
}

#[test]
fn what_an_instance_always_declines_goes_to_another_in_the_end_also_if_it_may_not_be_repeated() {
    let h2c = "upstream = \"h2c\"";
    let proxy = shop(&[], &[declining(), good_over_h2("green")], h2c);
    for _ in 0..10 {
        assert_eq!(proxy.ask(&request("POST", "", "a body")), (200, "green".to_owned()));
    }
    let proxy = shop(&[good_over_h2("blue")], &[declining()], &format!("{h2c}\n{TO_IDLE}"));
    assert_eq!(proxy.ask(&request("POST", "", "a body")), (200, "blue".to_owned()));
    let proxy = shop(&[good_over_h2("blue")], &[declining()], h2c);
    assert_eq!(proxy.ask(&request("POST", "", "a body")).0, 502);
}
