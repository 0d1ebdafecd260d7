//! Who the client is, as instances are told: in fields, and by the PROXY protocol.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use support::{PATIENCE, Proxy, eventually, instance, read_head};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A proxy before an instance that gives each head away that it gets.
fn proxy(clients: &str) -> (Proxy, mpsc::Receiver<String>) {
    let (heads, received) = mpsc::channel();
    let address = instance(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            heads.send(head).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = Proxy::start(&format!(
        "{clients}\n[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{address}\"]\n"
    ));
    (proxy, received)
}

/// The values of a field, in their order.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

const CLAIMS: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.7\r\n\
    X-Forwarded-For: 198.51.100.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
    X-Real-IP: 198.51.100.7\r\nForwarded: for=198.51.100.7\r\nX-Request-Id: edge-1\r\n\r\n";

#[test]
fn what_anybody_says_of_itself_is_replaced() {
    let (proxy, heads) = proxy("");
    assert_eq!(proxy.ask(CLAIMS).0, 200);
    let head = heads.recv().unwrap();
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["a"]);
    assert_eq!(values(&head, "forwarded"), ["for=127.0.0.1;host=a;proto=http"]);
    assert!(values(&head, "x-real-ip").is_empty());
}

#[test]
fn what_a_trusted_proxy_says_is_passed_on_and_grows() {
    let (proxy, heads) = proxy("[clients]\ntrusted_proxies = [\"127.0.0.0/8\"]");
    assert_eq!(proxy.ask(CLAIMS).0, 200);
    let head = heads.recv().unwrap();
    assert_eq!(values(&head, "x-forwarded-for"), ["198.51.100.7, 198.51.100.8, 127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["shop.example"]);
    assert_eq!(values(&head, "x-real-ip"), ["198.51.100.7"]);
    assert_eq!(values(&head, "forwarded"), ["for=198.51.100.7, for=127.0.0.1;host=a;proto=http"]);
}

/// Asks for a resource of `https` by plain HTTP/1.1 and by plain HTTP/2; the statuses.
fn ask_for_https(proxy: &Proxy) -> (u16, u16) {
    let over_h1 = proxy.ask("GET https://a:443/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let over_h2 = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let driven = tokio::spawn(connection);
        let request = http::Request::get("https://a/x").body(()).unwrap();
        let status = client.send_request(request, true).unwrap().0.await.unwrap().status();
        driven.abort();
        status.as_u16()
    });
    (over_h1, over_h2)
}

#[test]
fn https_by_a_connection_without_tls_is_misdirected() {
    let (proxy, heads) = proxy("");
    assert_eq!(ask_for_https(&proxy), (421, 421));
    assert!(heads.try_recv().is_err());
}

#[test]
fn a_trusted_proxy_may_have_ended_tls_in_front() {
    let (proxy, heads) = proxy("[clients]\ntrusted_proxies = [\"127.0.0.0/8\"]");
    assert_eq!(ask_for_https(&proxy), (200, 200));
    assert!(heads.recv().unwrap().starts_with("GET /x HTTP/1.1\r\nHost: a\r\n"));
}

#[test]
fn a_request_has_an_id_and_keeps_a_sound_one() {
    let (proxy, heads) = proxy("");
    let id = |field: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}Connection: close\r\n\r\n");
        assert_eq!(proxy.ask(&request).0, 200);
        let head = heads.recv().unwrap();
        let ids = values(&head, "x-request-id");
        assert_eq!(ids.len(), 1, "{head}");
        ids[0].to_owned()
    };
    assert_eq!(id("X-Request-Id: 4bf92f35-77b3/a=1\r\n"), "4bf92f35-77b3/a=1");
    let made = id("");
    assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    assert_ne!(made, id(""));
    for unsound in
        ["X-Request-Id: <script>\r\n", "X-Request-Id: \r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n"]
    {
        assert_eq!(id(unsound).len(), 32, "{unsound}");
    }
    assert_eq!(id(&format!("X-Request-Id: {}\r\n", "x".repeat(129))).len(), 32);
}

#[test]
fn the_context_of_a_trace_is_passed_whatever_connection_says() {
    let (proxy, heads) = proxy("");
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {context}\r\ntracestate: x=1\r\nConnection: close, traceparent\r\n\r\n"
    );
    assert_eq!(proxy.ask(&request).0, 200);
    let head = heads.recv().unwrap();
    assert_eq!((values(&head, "traceparent"), values(&head, "tracestate")), (vec![context], vec!["x=1"]));
}

fn exchange(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = String::new();
    // A connection that is refused may end with a reset.
    let _ = socket.read_to_string(&mut answer);
    answer
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_proxy_protocol_header_tells_who_the_client_is() {
    let (proxy, heads) = proxy("[clients]\nproxy_protocol = true");
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 9, 127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    let v1 = b"PROXY TCP4 192.0.2.1 127.0.0.1 12345 80\r\n".to_vec();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for (header, expected) in [(v1, "192.0.2.1"), (v2, "192.0.2.9"), (local, "127.0.0.1")] {
        let answer = exchange(&proxy, &[&header, REQUEST].concat());
        assert!(answer.ends_with("ok"), "{answer}");
        assert_eq!(values(&heads.recv().unwrap(), "x-forwarded-for"), [expected]);
    }
    // Without one nobody is served: it could be anybody.
    for wrong in [REQUEST.to_vec(), [b"PROXY TCP4 x y 1 2\r\n", REQUEST].concat()] {
        assert_eq!(exchange(&proxy, &wrong), "");
    }
    assert!(heads.try_recv().is_err());
}

/// Plays an instance that wants a header of 16 bytes and more, or a line, and gives both away.
fn introduced_instance(v2: bool) -> (SocketAddr, mpsc::Receiver<(usize, Vec<u8>, String)>) {
    let (told, received) = mpsc::channel();
    let address = instance(move |mut stream, number| {
        let mut header = vec![0; if v2 { 16 } else { 1 }];
        if stream.read_exact(&mut header).is_err() {
            return;
        }
        if v2 {
            let mut more = vec![0; usize::from(header[15])];
            stream.read_exact(&mut more).unwrap();
            header.extend(more);
        } else {
            let mut byte = [0];
            while !header.ends_with(b"\r\n") && stream.read(&mut byte).unwrap() == 1 {
                header.push(byte[0]);
            }
        }
        while let Some(head) = read_head(&mut stream) {
            let start = head.lines().next().unwrap_or_default().to_owned();
            told.send((number, header.clone(), start)).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    (address, received)
}

#[test]
fn an_instance_is_told_of_the_client_before_its_first_request() {
    for (version, v2) in [("v1", false), ("v2", true)] {
        let (address, told) = introduced_instance(v2);
        let proxy = Proxy::start(&format!(
            "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{address}\"]\n\
             upstream = {{ proxy_protocol = \"{version}\" }}\nhealth = {{ path = \"/up\", interval = \"1s\" }}\n"
        ));
        // Two requests of one client may share a connection, those of two must not.
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let own = client.local_addr().unwrap();
        for _ in 0..2 {
            client.write_all(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200"));
            client.read_exact(&mut [0; 2]).unwrap();
        }
        assert_eq!(proxy.get("/two").0, 200);
        let (mut one, mut two, mut probes) = (Vec::new(), Vec::new(), Vec::new());
        eventually("requests and a probe have come", || {
            for (number, header, start) in told.try_iter() {
                match start.split(' ').nth(1).unwrap() {
                    "/one" => one.push((number, header)),
                    "/two" => two.push((number, header)),
                    _ => probes.push(header),
                }
            }
            one.len() == 2 && two.len() == 1 && !probes.is_empty()
        });
        assert_eq!(one[0].0, one[1].0, "a client keeps its connection");
        assert_ne!(one[0].0, two[0].0, "another client has another one");
        let expected = if v2 {
            let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
            expected.extend(own.port().to_be_bytes());
            expected.extend(proxy.address().port().to_be_bytes());
            expected
        } else {
            let (from, to) = (own.port(), proxy.address().port());
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes()
        };
        assert_eq!(one[0].1, expected);
        let of_nobody: &[u8] = if v2 { b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" } else { b"PROXY UNKNOWN\r\n" };
        assert_eq!(probes[0], of_nobody);
    }
}
