//! Bodies and streams over TLS: nothing is lost, nothing is held back, no end is invented.

use std::io::{Read, Write};
use std::time::Instant;

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::site::{Site, certificates, exchange, service};
use crate::support::{PATIENCE, eventually, instance, read_head};

fn site(play: impl Fn(std::net::TcpStream, usize) + Send + Sync + 'static) -> Site {
    Site::start(|authority| {
        let signed = authority.sign("shop", &["a.example"], 60);
        certificates(&[&signed]) + &service("shop", &["a.example"], instance(play))
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| b'!' + u8::try_from(index % 89).unwrap()).collect()
}

#[test]
fn large_bodies_go_there_and_back_whole() {
    const LENGTH: usize = 8 * 1024 * 1024 + 7;
    let site = site(|mut stream, _| {
        while read_head(&mut stream).is_some() {
            let mut body = vec![0; LENGTH];
            stream.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    let mut stream = site.client().connect("a.example").unwrap();
    let body = pattern(LENGTH);
    write!(stream, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
    stream.write_all(&body).unwrap();
    stream.flush().unwrap();
    let answer = exchange(&mut stream, "");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(answer.as_bytes().ends_with(&body));
}

#[test]
fn what_streams_is_not_held_back() {
    let site = site(|mut stream, _| {
        read_head(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .unwrap();
        let mut byte = [0];
        for event in 0u8..3 {
            stream.write_all(b"3\r\n:").unwrap();
            stream.write_all(&[b'0' + event, b'\n', b'\r', b'\n']).unwrap();
        }
        // Held open until the client is gone.
        let _ = stream.read(&mut byte);
    });
    let mut stream = site.client().connect("a.example").unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut seen = String::new();
    let deadline = Instant::now() + PATIENCE;
    while !seen.contains(":2\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0 && Instant::now() < deadline, "{seen}");
        seen.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
}

#[test]
fn a_client_that_goes_away_is_noticed_although_the_application_is_silent() {
    let site = site(|mut stream, _| {
        read_head(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .unwrap();
        let _ = stream.read(&mut [0]);
    });
    let mut stream = site.client().connect("a.example").unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut piece = [0; 16];
    stream.read_exact(&mut piece).unwrap();
    let in_flight = || site.proxy.statistics().instances[0].in_flight;
    assert_eq!(in_flight(), 1);
    // As clients go: the word that ends TLS, then the end of the connection.
    stream.conn.send_close_notify();
    stream.conn.write_tls(&mut stream.sock).unwrap();
    drop(stream);
    eventually("the request has ended", || in_flight() == 0);
}

#[test]
fn a_client_that_gives_up_before_the_answer_is_noticed() {
    let site = site(|mut stream, _| {
        read_head(&mut stream);
        // It thinks, for longer than anybody waits.
        let _ = stream.read(&mut [0]);
    });
    let mut stream = site.client().connect("a.example").unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let in_flight = || site.proxy.statistics().instances[0].in_flight;
    eventually("the request is there", || in_flight() == 1);
    // The word that ends TLS, then a reset: what was sent to it is still unread.
    stream.conn.send_close_notify();
    stream.conn.write_tls(&mut stream.sock).unwrap();
    socket2::SockRef::from(&stream.sock).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    eventually("the request has ended", || in_flight() == 0);
}

#[test]
fn an_answer_that_was_cut_is_not_taken_for_whole() {
    let site = site(|mut stream, _| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").unwrap();
    });
    let mut stream = site.client().connect("a.example").unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let body = String::from_utf8(answer).unwrap();
    assert!(body.ends_with("only this"), "{body}");
}

#[test]
fn a_tunnel_carries_both_directions() {
    let site = site(|mut stream, _| {
        read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
            .unwrap();
        let mut copy = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut stream, &mut copy);
        let _ = copy.shutdown(std::net::Shutdown::Write);
    });
    let mut stream = site.client().connect("a.example").unwrap();
    let head = exchange(
        &mut stream,
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let sent = pattern(100_000);
    stream.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, sent);
    // One direction ends, then the other: with the word for it.
    stream.conn.send_close_notify();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn http_2_carries_many_requests_at_once() {
    let site = site(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = pattern(path.len() * 10_000);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    let client = site.client().with_alpn(&["h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(client.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = TlsConnector::from(client.config).connect(name, socket).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for number in 1..=20 {
            let path = format!("https://a.example/{}", "x".repeat(number));
            let request = http::Request::get(path).body(()).unwrap();
            std::future::poll_fn(|cx| sender.poll_ready(cx)).await.unwrap();
            answers.push((number, sender.send_request(request, true).unwrap().0));
        }
        // All at once, for they share the window of the connection.
        let mut reading = tokio::task::JoinSet::new();
        for (number, answer) in answers {
            reading.spawn(async move {
                let mut body = answer.await.unwrap().into_body();
                let mut all = Vec::new();
                while let Some(piece) = body.data().await {
                    let piece = piece.unwrap();
                    body.flow_control().release_capacity(piece.len()).unwrap();
                    all.extend_from_slice(&piece);
                }
                assert_eq!(all, pattern((number + 1) * 10_000));
            });
        }
        assert_eq!(reading.join_all().await.len(), 20);
    });
}
