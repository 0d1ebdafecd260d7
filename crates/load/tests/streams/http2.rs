//! Requests over HTTP/2: GOAWAY is no failure, a refused stream is sent again once.

use std::time::Duration;

use bytes::Bytes;
use cutover_load::{Client, FailureClass, Goodbye, Load, Plan};
use h2::Reason;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, backend, check, load, reset, serving, until};

#[tokio::test]
async fn many_streams_share_one_connection() {
    let backend = backend();
    let mut plan = Plan::new(backend.address()).with(1, Client::http2("/", 8));
    plan.max_requests = Some(200);
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections_opened, backend.connections()), (200, 1, 1));
    assert_eq!((report.answered_by("blue"), report.by_header["x-version"]["v1"]), (200, 200));
    assert!(report.latency.max_us > 0);
}

#[tokio::test]
async fn after_a_goaway_what_was_begun_ends_and_the_rest_goes_over_a_new_connection() {
    let backend = backend();
    let load = load(backend.address(), Client::http2("/slow?ms=5", 8));
    for round in 1..=5 {
        until(&load, |report| report.requests >= 30 * round).await;
        backend.end_sessions(Goodbye::Asked);
        until(&load, |report| report.of("http2").reconnects >= round).await;
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let count = report.of("http2");
    assert_eq!((count.goaways, count.asked_to_leave, count.reconnects), (5, 5, 5), "{count:?}");
    assert_eq!(report.connections_opened, 6);
}

/// Refuses the first `refused` streams of all, and answers the others.
async fn refusing(refused: u32) -> std::net::SocketAddr {
    let left = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(refused));
    serving(move |stream| {
        let left = std::sync::Arc::clone(&left);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let order = std::sync::atomic::Ordering::Relaxed;
                if left.fetch_update(order, order, |left| left.checked_sub(1)).is_ok() {
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_once_and_counted() {
    let mut plan = Plan::new(refusing(1).await).with(1, Client::http2("/", 1));
    plan.max_requests = Some(3);
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.of("http2").resent), (3, 1));
    check(refusing(1_000).await, Client::http2("/", 1), FailureClass::StreamReset).await;
}

#[tokio::test]
async fn each_way_of_not_getting_an_answer_has_its_class() {
    let client = || Client::http2("/", 1);
    let closes = serving(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let request = connection.accept().await;
        drop(connection);
        drop(request);
    })
    .await;
    check(closes, client(), FailureClass::ClosedBeforeByte).await;
    let resets = serving(|mut stream| async move {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        reset(&stream);
    })
    .await;
    check(resets, client(), FailureClass::ResetBeforeByte).await;
    let cuts_the_body = serving(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"half"), false).unwrap();
        // Until it is written.
        let _ = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
    })
    .await;
    check(cuts_the_body, client(), FailureClass::Partial).await;
    let resets_the_stream = serving(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    check(resets_the_stream, client(), FailureClass::StreamReset).await;
    let backend = backend();
    backend.set_status(500);
    check(backend.address(), client(), FailureClass::Status5xx).await;
    backend.refuse().unwrap();
    check(backend.address(), client(), FailureClass::Refused).await;
}

#[tokio::test]
async fn an_answer_by_the_old_environment_is_stale_over_http2_as_well() {
    let backend = backend();
    let load = load(backend.address(), Client::http2("/", 2));
    load.expect("green");
    let report = until(&load, |report| report.failed_as(FailureClass::Stale) >= 4).await;
    assert_eq!(report.failed, report.failed_as(FailureClass::Stale), "{report}");
}

/// Reads until a request has come, then sends GOAWAY with this error; the last stream is none.
async fn goes_away(mut stream: TcpStream, error: u8) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            break;
        }
    }
    stream.write_all(&[b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &[error]].concat()).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_request_above_goaways_last_stream_is_sent_again_once() {
    let client = || Client::http2("/", 1);
    let backend = backend();
    let upstream = backend.address();
    let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let once = serving(move |mut stream| {
        let first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move {
            if first {
                return goes_away(stream, 0).await;
            }
            let mut upstream = TcpStream::connect(upstream).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
        }
    })
    .await;
    let mut plan = Plan::new(once).with(1, client());
    plan.max_requests = Some(3);
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    let count = report.of("http2");
    assert_eq!(
        (count.resent, count.goaways, count.asked_to_leave, count.reconnects),
        (1, 1, 1, 1),
        "{count:?}"
    );
}

#[tokio::test]
async fn a_goaway_with_an_error_is_no_goodbye() {
    let blames = serving(|stream| goes_away(stream, 1)).await;
    check(blames, Client::http2("/", 1), FailureClass::ClosedBeforeByte).await;
}

#[tokio::test]
async fn the_backend_takes_posts_and_sends_downloads_over_http2() {
    let backend = backend();
    let stream = TcpStream::connect(backend.address()).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    for (bytes, echoes) in [(1_000, true), (100_000, false)] {
        let post = http::Request::post("http://shop.example/orders")
            .header("idempotency-key", "k")
            .body(())
            .unwrap();
        let (answer, mut send) = requests.send_request(post, false).unwrap();
        send.send_data(Bytes::from(vec![b'x'; bytes]), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["x-received-bytes"], bytes.to_string().as_str());
        assert_eq!(answer.headers().contains_key("x-echo"), echoes);
        assert_eq!(answer.headers()["content-length"], if echoes { "1000" } else { "0" });
    }
    let counts = (backend.received_bytes(), backend.processed("k"), backend.requests_of("/orders"));
    assert_eq!(counts, (101_000, 2, 2));

    let mut plan = Plan::new(backend.address()).with(1, Client::http2("/stream?chunks=100&ms=0", 4));
    plan.max_requests = Some(20);
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert!(report.is_clean(), "{report}");
}
