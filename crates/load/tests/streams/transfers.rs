//! Downloads and uploads that take their time.

use std::time::Duration;

use cutover_load::{Client, FailureClass, Load, Plan};
use tokio::io::AsyncWriteExt;

use crate::support::{DEADLINE, backend, check, load, read_head, serving, until};

const PIECE: Duration = Duration::from_millis(2);

#[tokio::test]
async fn a_download_is_right_to_its_last_byte() {
    let backend = backend();
    let load = load(backend.address(), Client::streaming(20, PIECE));
    until(&load, |report| report.of("streaming").requests >= 3).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections_opened, 1);
    assert_eq!(backend.requests_of("/stream"), report.requests);
}

#[tokio::test]
async fn a_download_that_ends_early_is_partial_in_whatever_order_it_ends() {
    let check = async |body: &'static str, expected| {
        let server = serving(move |mut stream| async move {
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        })
        .await;
        check(server, Client::streaming(1, PIECE), expected).await;
    };
    check("3\r\n!\"#\r\n", FailureClass::Partial).await;
    check("3\r\n!\"#\r\n0\r\n\r\n", FailureClass::Partial).await;
    check("3\r\n!\"!\r\n0\r\n\r\n", FailureClass::BodyMismatch).await;
}

#[tokio::test]
async fn an_upload_arrives_whole_and_takes_the_time_of_its_pieces() {
    let backend = backend();
    let mut plan = Plan::new(backend.address()).with(1, Client::upload("/", 10, 1_000, PIECE));
    plan.max_requests = Some(3);
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.of("upload").requests, backend.received_bytes()), (3, 30_000));
    assert!(report.latency.p50_us >= 20_000, "{report}");
}

#[tokio::test]
async fn an_upload_of_which_not_all_was_received_is_a_mismatch() {
    let server = serving(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nx-received-bytes: 1000\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        read_head(&mut stream).await;
    })
    .await;
    check(server, Client::upload("/", 3, 1_000, PIECE), FailureClass::BodyMismatch).await;
}

#[tokio::test]
async fn each_keyed_post_is_processed_once_under_a_key_of_its_own() {
    let backend = backend();
    let client = Client::post_keyed("/orders", 100, "Idempotency-Key").header("x-shop", "1");
    let mut plan = Plan::new(backend.address()).with(3, client);
    plan.counted_headers.push("x-processed".to_owned());
    plan.max_requests = Some(30);
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.by_header["x-processed"]["1"], 30);
    assert_eq!((backend.processed_and_keys(), backend.requests_of("/orders")), ((30, 30), 30));
}
