//! Heads over HTTP/1.1 that are too large, too slow or without an end.

use std::time::{Duration, Instant};

use crate::site::{MEGABYTE, Site};
use crate::wire::{Wire, says};

const SMALL: &str = "head_bytes = 8192\nhead_fields = 20\ntarget_bytes = 1024\nhead_time = \"1s\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_are_answered_and_closed() {
    let site = Site::start(SMALL).await;
    let watch = site.watch().await;
    let many = "x: y\r\n".repeat(21);
    let long = "y".repeat(9000);
    let target = "t".repeat(1025);
    let endless = "t".repeat(MEGABYTE);
    for (request, expected) in [
        (format!("GET / HTTP/1.1\r\nhost: shop\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nhost: shop\r\nx: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nhost: shop\r\nx: {endless}"), 431),
        (format!("GET /{target} HTTP/1.1\r\nhost: shop\r\n\r\n"), 414),
        (format!("GET /{endless}"), 414),
        (format!("GET / HTTP/1.1\r\nhost: shop\r\n{}", "x: y\r\n".repeat(100_000)), 431),
    ] {
        let mut wire = Wire::open(site.address()).await;
        // It is answered in the middle of some of them, and need not take the rest.
        let _ = wire.try_send(&request).await;
        let answer = wire.rest().await;
        assert!(says(&answer, expected), "{expected}: {:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(site.instance.ledger.holds(), 0);
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_byte_by_byte_is_answered_with_408_in_its_time() {
    let site = Site::start(SMALL).await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    let began = Instant::now();
    wire.send("GET / HTTP/1.1\r\nhost: shop\r\nx: ").await;
    let sent = wire.drip("y", Duration::from_millis(20), 1000).await;
    assert!(sent < 1000);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(says(&wire.rest().await, 408));
    watch.ends_well(4 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_heads_cost_no_more_than_their_bytes_and_are_all_answered_with_408() {
    let site = Site::start("head_bytes = 8192\nhead_time = \"3s\"").await;
    let watch = site.watch().await;
    let half = format!("GET / HTTP/1.1\r\nhost: shop\r\nx: {}", "y".repeat(8000));
    let mut wires = Vec::new();
    for _ in 0..300 {
        let mut wire = Wire::open(site.address()).await;
        wire.send(&half).await;
        wires.push(wire);
    }
    for wire in &mut wires {
        let answer = wire.rest().await;
        assert!(says(&answer, 408), "{:?}", String::from_utf8_lossy(&answer));
    }
    watch.ends_well(24 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_request_are_closed_after_keep_alive() {
    let site = Site::start("keep_alive = \"1s\"\nhead_time = \"1s\"").await;
    let watch = site.watch().await;
    let mut silent = Wire::open(site.address()).await;
    let mut used = Wire::open(site.address()).await;
    assert_eq!(used.get("/").await, (200, b"ok".to_vec()));
    // The preface of HTTP/2, as far as it is a method.
    let mut undecided = Wire::open(site.address()).await;
    undecided.send("PRI * HT").await;
    for wire in [&mut silent, &mut used] {
        assert_eq!(wire.rest().await, b"");
    }
    undecided.rest().await;
    watch.ends_well(4 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_lines_before_a_request_have_an_end() {
    let site = Site::start(SMALL).await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    let lines = "\r\n".repeat(32 * 1024);
    assert!(wire.pour(&lines, 4096).await < 4096, "256 megabytes of empty lines were taken");
    assert!(says(&wire.rest().await, 400));
    // And the few that old clients send are nothing.
    let mut wire = Wire::open(site.address()).await;
    wire.send("\r\nGET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    assert_eq!(wire.answer().await.0, 200);
    drop(wire);
    watch.ends_well(4 * MEGABYTE).await;
}
