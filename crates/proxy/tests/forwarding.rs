//! What becomes of one request.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use cutover_core::statistics::Failure;
use support::{Proxy, eventually, instance, read_head, refusing};

fn shop(blue: &[std::net::SocketAddr], more: &str) -> String {
    let blue: Vec<String> = blue.iter().map(|address| format!("{address:?}")).collect();
    let blue = blue.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    format!("[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [{blue}]\n{more}\n")
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\nkeep-alive: timeout=9\r\nx-app: 1\r\n\r\nok";

/// Plays an application that says `ok` to everything without a body.
fn ok_instance() -> std::net::SocketAddr {
    instance(|mut stream, _| {
        while read_head(&mut stream).is_some() {
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    })
}

fn first_line(body: &str) -> &str {
    body.lines().next().unwrap_or_default()
}

fn failures(proxy: &Proxy, failure: Failure) -> u64 {
    let statistics = proxy.statistics();
    statistics.services[0].tags[0].counts.failures.get(&failure).copied().unwrap_or_default()
}

#[test]
fn the_head_that_an_instance_gets_is_the_clients_without_what_ends_at_a_hop() {
    let (heads, head) = mpsc::channel();
    let address = instance(move |mut stream, _| {
        if let Some(head) = read_head(&mut stream) {
            heads.send(head).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = Proxy::start(&shop(&[address], ""));
    let answer = proxy.raw(
        "GET /a%2Fb/../c?x=%20&y=/ HTTP/1.1\r\nHost: shop.example:81\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n\
         TE: trailers\r\nUpgrade: h2c\r\nX-Forwarded-For: 6.6.6.6\r\nExpect: 100-continue\r\n\r\n",
    );
    assert!(answer.ends_with("\r\n\r\nok") && answer.contains("x-app: 1"), "{answer}");
    assert!(!answer.contains("keep-alive"), "{answer}");
    let mut lines: Vec<String> = head.recv().unwrap().trim_end().lines().map(str::to_owned).collect();
    lines[1..].sort();
    let id = lines.pop().unwrap();
    assert!(id.strip_prefix("X-Request-Id: ").is_some_and(|id| id.len() == 32), "{id}");
    assert_eq!(
        lines,
        [
            "GET /a%2Fb/../c?x=%20&y=/ HTTP/1.1",
            "Connection: te",
            "Forwarded: for=127.0.0.1;host=\"shop.example:81\";proto=http",
            "Host: shop.example:81",
            "TE: trailers",
            "X-End: 2",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Host: shop.example:81",
            "X-Forwarded-Proto: http",
        ]
    );
}

#[test]
fn an_absolute_target_names_the_host_and_http_1_0_needs_none() {
    let (heads, head) = mpsc::channel();
    let address = instance(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            heads.send(head).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = Proxy::start(&shop(&[address], "hosts = [\"a.example\"]"));
    let (status, _) =
        proxy.ask("GET http://a.example/x HTTP/1.1\r\nHost: A.example:80\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 200);
    let sent = head.recv().unwrap();
    assert!(sent.starts_with("GET /x HTTP/1.1\r\n") && sent.contains("Host: A.example:80\r\n"), "{sent}");
    assert_eq!(proxy.ask("GET / HTTP/1.0\r\n\r\n").0, 404, "no host is not a.example");
    assert_eq!(proxy.ask("GET / HTTP/1.0\r\nhost: a.example\r\n\r\n").0, 200);
}

#[test]
fn what_cannot_be_routed_is_answered_with_a_short_reason() {
    let proxy = Proxy::start(&shop(&[ok_instance()], "hosts = [\"shop.example\"]\npath = \"/app\""));
    let check = |request: &str, status: u16, reason: &str| {
        let answer = proxy.ask(request);
        assert_eq!(answer.0, status, "{request}");
        assert!(answer.1.contains(reason), "{}", answer.1);
    };
    check("GET / HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n", 404, "no service");
    check("GET /apple HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n", 404, "no service");
    check("GET /app/ HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n", 200, "ok");
    check("GET /app HTTP/1.1\r\nconnection: close\r\n\r\n", 400, "Host");
    check("GET /app HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", 400, "Host");
    check(
        "CONNECT shop.example:80 HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n",
        501,
        "not for a reverse proxy",
    );
}

#[test]
fn an_instance_that_refuses_is_passed_over_and_alone_it_makes_a_502() {
    let proxy = Proxy::start(&shop(&[refusing(), ok_instance(), refusing()], ""));
    for _ in 0..12 {
        assert_eq!(
            proxy.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").0,
            200
        );
    }
    assert!(proxy.statistics().services[0].tags[0].counts.retries > 0);
    let alone = Proxy::start(&shop(&[refusing()], ""));
    let (status, body) = alone.get("/");
    assert_eq!((status, first_line(&body)), (502, "502 Bad Gateway: the instance could not be reached"));
    assert_eq!(failures(&alone, Failure::Connect), 1);
}

#[test]
fn a_connection_that_ends_while_idle_costs_no_request() {
    // Ends each connection right after its answer without having said so: the next request may cross the FIN.
    let address = instance(|mut stream, _| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(OK);
        }
    });
    let proxy = Proxy::start(&shop(&[address], ""));
    for _ in 0..200 {
        assert_eq!(proxy.get("/").0, 200);
        assert_eq!(
            proxy.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").0,
            200
        );
    }
}

#[test]
fn a_post_that_may_have_been_processed_is_never_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let address = instance(move |mut stream, _| {
        // Takes the request and ends the connection without an answer.
        if read_head(&mut stream).is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let proxy = Proxy::start(&shop(&[address], ""));
    let (status, body) =
        proxy.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(status, 502, "{body}");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(failures(&proxy, Failure::Reset), 1);
}

#[test]
fn an_instance_that_does_not_answer_makes_a_504_and_one_that_stops_in_the_middle_a_cut_answer() {
    let address = instance(|mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("GET /half") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").unwrap();
        }
        // Held open until the proxy gives up.
        let _ = stream.read(&mut [0; 1]);
    });
    let proxy = Proxy::start(&shop(&[address], "timeouts = { first_byte = \"100ms\", idle = \"100ms\" }"));
    let (status, body) = proxy.get("/silent");
    assert_eq!(
        (status, first_line(&body)),
        (504, "504 Gateway Timeout: the instance did not answer in time")
    );
    assert!(proxy.raw("GET /half HTTP/1.1\r\nhost: a\r\n\r\n").ends_with("\r\n\r\nhalf"));
    assert_eq!(failures(&proxy, Failure::FirstByteTimeout), 1);
    assert_eq!(failures(&proxy, Failure::Truncated), 1);
    eventually("every lease ends", || {
        proxy.statistics().instances.iter().all(|instance| instance.in_flight == 0)
    });
}

#[test]
fn a_client_that_stands_still_in_its_body_is_told_so_and_the_instance_is_not_blamed() {
    let address = instance(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Proxy::start(&shop(&[address], "timeouts = { idle = \"100ms\" }"));
    let (status, body) = proxy.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!((status, first_line(&body)), (408, "408 Request Timeout: the request did not arrive in time"));
    assert_eq!((failures(&proxy, Failure::ClientGone), failures(&proxy, Failure::Reset)), (1, 0));
}

#[test]
fn an_answer_that_is_not_http_makes_a_502() {
    let address = instance(|mut stream, _| {
        if read_head(&mut stream).is_some() {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap();
        }
    });
    let proxy = Proxy::start(&shop(&[address], ""));
    let (status, body) = proxy.get("/");
    assert_eq!(status, 502, "{body}");
    assert!(body.contains("could not be understood"), "{body}");
    assert_eq!(failures(&proxy, Failure::Malformed), 1);
}

#[test]
fn bodies_stream_in_both_directions_before_they_are_complete() {
    let address = instance(|mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        // Answers while the request is still coming, piece by piece.
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let mut byte = [0];
        let mut request = Vec::new();
        while stream.read(&mut byte).is_ok_and(|read| read == 1) {
            request.push(byte[0]);
            if request.ends_with(b"0\r\n\r\n") {
                break;
            }
            if byte[0] == b'!' {
                stream.write_all(b"4\r\nping\r\n").unwrap();
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let proxy = Proxy::start(&shop(&[address], ""));
    let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(support::PATIENCE)).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    read_head_of(&mut client);
    for _ in 0..3 {
        client.write_all(b"1\r\n!\r\n").unwrap();
        let mut piece = [0; 9];
        client.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"4\r\nping\r\n");
    }
    assert_eq!(proxy.statistics().instances[0].in_flight, 1, "held until the last byte in both directions");
    client.write_all(b"0\r\n\r\n").unwrap();
    let mut end = [0; 5];
    client.read_exact(&mut end).unwrap();
    eventually("the lease ends", || proxy.statistics().instances[0].in_flight == 0);
}

fn read_head_of(client: &mut std::net::TcpStream) {
    let head = read_head(client).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn an_unhealthy_instance_leaves_the_rotation_and_comes_back_and_the_last_one_stays() {
    let healthy = Arc::new(AtomicUsize::new(1));
    let state = Arc::clone(&healthy);
    let moody = instance(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let sick = head.starts_with("GET /up") && state.load(Ordering::SeqCst) == 0;
            let answer: &[u8] = if sick { b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" } else { OK };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    let health = "health = { path = \"/up\", interval = \"10ms\", timeout = \"1s\", rise = 2, fall = 2 }";
    let proxy = Proxy::start(&shop(&[moody, ok_instance()], health));
    let in_rotation = || {
        let statistics = proxy.statistics();
        statistics.instances.iter().find(|instance| instance.address == moody).unwrap().in_rotation
    };
    healthy.store(0, Ordering::SeqCst);
    eventually("out of rotation", || !in_rotation());
    healthy.store(1, Ordering::SeqCst);
    eventually("in rotation again", in_rotation);

    let alone = Proxy::start(&shop(&[moody], health));
    healthy.store(0, Ordering::SeqCst);
    eventually("out of rotation", || !alone.statistics().instances[0].in_rotation);
    assert_eq!(alone.get("/").0, 200, "the last instance gets requests whatever its probes say");
}
