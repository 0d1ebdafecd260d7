//! Each way of failing is produced by a small hostile server and must be named by its right class, and no
//! other.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helpers")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use cutover_load::{Client, FailureClass, Load, Plan, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHORT: Duration = Duration::from_millis(100);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nx-environment: blue\r\ncontent-length: 2\r\n\r\nhi";

/// Gives every connection to `serve`, one task each.
async fn hostile<F, S>(serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads up to the end of a head, so that closing afterwards sends a FIN and no reset.
async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

/// Answers every connection's first request with `bytes` and closes.
async fn answering(bytes: &'static [u8]) -> SocketAddr {
    hostile(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(bytes).await;
    })
    .await
}

async fn run(target: SocketAddr, client: Client) -> Report {
    run_within(Duration::from_secs(20), target, client).await
}

/// The timeout is short only where its passing is what the test is about.
async fn run_within(timeout: Duration, target: SocketAddr, client: Client) -> Report {
    let mut plan = Plan::new(target).with(1, client);
    plan.max_requests = Some(3);
    plan.timeout = timeout;
    Load::start(plan).finish().await
}

/// All three requests must fail in this one way.
async fn check(target: SocketAddr, expected: FailureClass) {
    check_client(target, Client::keep_alive("/"), expected).await;
}

async fn check_client(target: SocketAddr, client: Client, expected: FailureClass) {
    let report = run(target, client).await;
    assert_eq!((report.requests, report.failed, report.failed_as(expected)), (3, 3, 3), "{report}");
    assert_eq!(report.failures[&expected].examples.len(), 3);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    // Bound and held, so that nobody else gets it; never listening.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let target = socket.local_addr().unwrap().as_socket().unwrap();
    check(target, FailureClass::Refused).await;
}

#[tokio::test]
async fn a_reset_before_the_first_byte_is_told_from_a_close() {
    let resets = hostile(|mut stream| async move {
        read_head(&mut stream).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    check(resets, FailureClass::ResetBeforeByte).await;
    check(answering(b"").await, FailureClass::ClosedBeforeByte).await;
}

#[tokio::test]
async fn a_cut_head_and_a_cut_body_are_partial() {
    check(answering(b"HTTP/1.1 200 OK\r\ncont").await, FailureClass::Partial).await;
    check(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await, FailureClass::Partial).await;
    let resets_in_the_body = hostile(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").await.unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    check(resets_in_the_body, FailureClass::Partial).await;
}

#[tokio::test]
async fn statuses_are_classed_by_their_hundred() {
    check(answering(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await, FailureClass::Status5xx).await;
    check(answering(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await, FailureClass::Status4xx).await;
    check(answering(b"HTTP/1.1 302 No\r\ncontent-length: 0\r\n\r\n").await, FailureClass::StatusOther).await;
}

#[tokio::test]
async fn silence_times_out_and_so_does_an_answer_without_end() {
    let silent = hostile(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let report = run_within(SHORT, silent, Client::keep_alive("/")).await;
    assert_eq!((report.failed, report.failed_as(FailureClass::TimedOut)), (3, 3), "{report}");
    let stalls = hostile(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let report = run_within(SHORT, stalls, Client::keep_alive("/")).await;
    assert_eq!((report.failed, report.failed_as(FailureClass::TimedOut)), (3, 3), "{report}");
    let first = &report.failures[&FailureClass::TimedOut].examples[0];
    assert!(first.text.contains("42 bytes and no end"), "{}", first.text);
}

#[tokio::test]
async fn bytes_that_are_no_answer_and_bytes_after_an_answer_are_malformed() {
    check(answering(b"220 smtp.example ready\r\n").await, FailureClass::Malformed).await;
    check(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!").await, FailureClass::Malformed).await;
    let two_framings = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    check(answering(two_framings).await, FailureClass::Malformed).await;
}

#[tokio::test]
async fn a_body_that_was_not_received_or_not_returned_whole_is_a_mismatch() {
    let post = || Client::post("/", 3);
    let check = async |answer, client| {
        let server = hostile(move |mut stream: TcpStream| async move {
            read_head(&mut stream).await;
            let mut body = [0; 3];
            let _ = stream.read_exact(&mut body).await;
            let _ = stream.write_all(answer).await;
        })
        .await;
        check_client(server, client, FailureClass::BodyMismatch).await;
    };
    check(b"HTTP/1.1 200 OK\r\nx-received-bytes: 2\r\ncontent-length: 0\r\n\r\n".as_slice(), post()).await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n!\"", post()).await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n!\"?", post()).await;
    check(b"HTTP/1.1 200 OK\r\nx-received-bytes: 3\r\nx-echo: body\r\ncontent-length: 2\r\n\r\n!\"", post())
        .await;
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_is_the_answer() {
    let refuses_uploads = hostile(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 413 Too large\r\ncontent-length: 0\r\n\r\n").await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    check_client(refuses_uploads, Client::post("/", 20_000_000), FailureClass::Status4xx).await;
}

#[tokio::test]
async fn a_close_of_an_idle_connection_is_no_failure() {
    // On this one-threaded runtime nothing runs between the answer and the close, so the FIN has always
    // arrived.
    let report = run(answering(OK).await, Client::keep_alive("/").pausing(Duration::from_millis(1))).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.idle_closes, report.connections_opened), (2, 3));
}

#[tokio::test]
async fn a_close_that_was_announced_is_honoured_without_a_look() {
    let announces = answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await;
    let report = run(announces, Client::keep_alive("/")).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.idle_closes, report.connections_opened), (0, 3));
}

#[tokio::test]
async fn a_close_that_crosses_a_written_request_is_a_failure() {
    let closes_on_the_second = hostile(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(OK).await;
        read_head(&mut stream).await;
    })
    .await;
    let report = run(closes_on_the_second, Client::keep_alive("/")).await;
    assert_eq!((report.failed, report.failed_as(FailureClass::ClosedBeforeByte)), (1, 1), "{report}");
}
