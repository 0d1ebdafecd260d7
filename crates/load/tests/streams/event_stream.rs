//! Server-sent events: an end between two events is a goodbye, everything else a failure.

use std::time::Duration;

use cutover_load::{Client, FailureClass, Goodbye};
use tokio::io::AsyncWriteExt;

use crate::support::{DEADLINE, backend, check, check_within, load, read_head, reset, serving, until};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn client() -> Client {
    Client::event_stream_at("/events?ms=2")
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn who_is_asked_to_leave_goes_on_after_the_last_event() {
    let backend = backend();
    let load = load(backend.address(), client());
    load.expect("blue");
    for round in 1..=3 {
        until(&load, |report| report.of("event_stream").messages >= 5 * round).await;
        backend.end_sessions(Goodbye::Asked);
        until(&load, |report| report.of("event_stream").reconnects >= round).await;
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let count = report.of("event_stream");
    assert_eq!(
        (count.requests, count.asked_to_leave, count.reconnects, count.open),
        (4, 3, 3, 0),
        "{count:?}"
    );
    assert_eq!((report.waves.len(), count.sessions["blue"]), (3, 4));
}

/// What the server sends after the head, and how it must be called.
async fn check_body(body: &str, expected: FailureClass) {
    let wire = format!("{HEAD}{body}");
    let server = serving(move |mut stream| {
        let wire = wire.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(wire.as_bytes()).await;
        }
    })
    .await;
    check(server, client(), expected).await;
}

#[tokio::test]
async fn an_end_in_the_middle_of_an_event_or_of_the_body_is_partial() {
    check_body(&format!("{}0\r\n\r\n", chunk("id: 1\ndata: a")), FailureClass::Partial).await;
    check_body(&format!("{}0\r\n\r\n", chunk("id: 1\ndata: a\n")), FailureClass::Partial).await;
    check_body("", FailureClass::Partial).await;
    check_body("5\r\nid: ", FailureClass::Partial).await;
    let resets = serving(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(HEAD.as_bytes()).await;
        reset(&stream);
    })
    .await;
    check(resets, client(), FailureClass::Partial).await;
}

#[tokio::test]
async fn a_gap_in_the_numbers_is_a_failure_within_a_connection_and_across_two() {
    let gaps = format!("{}0\r\n\r\n", chunk("id: 7\n\nid: 9\n\n"));
    check_body(&gaps, FailureClass::Gap).await;

    let forgets = serving(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(format!("{HEAD}{}0\r\n\r\n", chunk("id: 1\n\n")).as_bytes()).await;
    })
    .await;
    let load = load(forgets, client());
    let report = until(&load, |report| report.failed >= 2).await;
    assert_eq!(
        (report.failed_as(FailureClass::Gap), report.of("event_stream").asked_to_leave),
        (report.failed, 1)
    );
}

#[tokio::test]
async fn what_is_no_event_stream_is_a_failure_by_what_it_is() {
    let answering = async |answer: &'static str| {
        serving(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    };
    check(answering("HTTP/1.1 502 No\r\n\r\n").await, client(), FailureClass::Status5xx).await;
    check(answering("HTTP/1.1 200 OK\r\n\r\nid: 1\n\n").await, client(), FailureClass::Malformed).await;
    check(answering("").await, client(), FailureClass::ClosedBeforeByte).await;
}

#[tokio::test]
async fn an_event_that_does_not_come_in_time_is_a_failure() {
    let backend = backend();
    let client = Client::event_stream_at("/events?ms=60000");
    let timeout = Duration::from_millis(100);
    assert!(timeout < DEADLINE);
    check_within(timeout, backend.address(), client, FailureClass::TimedOut).await;
}

#[tokio::test]
async fn the_backend_cuts_and_resets_as_it_is_told() {
    for goodbye in [Goodbye::Cut, Goodbye::Reset] {
        let backend = backend();
        let load = load(backend.address(), client());
        until(&load, |report| report.of("event_stream").messages >= 2).await;
        backend.end_sessions(goodbye);
        let report = until(&load, |report| report.of("event_stream").reconnects == 1).await;
        assert_eq!((report.failed, report.failed_as(FailureClass::Partial)), (1, 1), "{report}");
    }
}
