//! Clients that ask for much and read nothing, or next to nothing.

use std::time::Duration;

use crate::frames::{DATA, Frames, HEADERS, INITIAL_WINDOW, RST_STREAM, get, window_update};
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};
use crate::wire::Wire;

const IDLE: &str = "timeouts = { idle = \"1s\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_answer_is_closed_and_the_instance_let_go() {
    let site = Site::with("", IDLE, "").await;
    let watch = site.watch().await;
    let mut wires = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::narrow(site.address()).await;
        wire.send("GET /bytes/1000000000 HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        wires.push(wire);
    }
    eventually("fifty answers", || site.instance.ledger.asked() >= 50).await;
    eventually("no answer", || site.instance.ledger.holds() == 0).await;
    for wire in &mut wires {
        assert!(wire.count().await < 1_000_000_000);
    }
    watch.ends_well(24 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_too_slowly_is_closed() {
    // Fast enough for `idle`, too slow for the rate.
    let site = Site::start("slow_rate = 20000000\nslow_grace = \"1s\"").await;
    let watch = site.watch().await;
    let mut wire = Wire::narrow(site.address()).await;
    wire.send("GET /chunks/1000000000 HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let ledger = &site.instance.ledger;
    eventually("an answer", || ledger.holds() == 1).await;
    for _ in 0..1000 {
        if ledger.holds() == 0 {
            break;
        }
        wire.exactly(64 * 1024).await;
        pace.tick().await;
    }
    assert_eq!(ledger.holds(), 0);
    wire.count().await;
    watch.ends_well(4 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_by_the_thousand_whose_answers_nobody_reads_wait_at_the_clients_side() {
    let site = Site::with("", IDLE, "").await;
    let watch = site.watch().await;
    let mut wire = Wire::narrow(site.address()).await;
    let requests = "GET /bytes/1000 HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(1000);
    // It is closed once its time is over, and what it sends meanwhile is thrown away.
    let deadline = tokio::time::Instant::now() + crate::patience::PATIENCE;
    while tokio::time::timeout_at(deadline, wire.try_send(&requests)).await.expect("never closed").is_ok() {}
    watch.ends_well(8 * MEGABYTE).await;
}

/// What the proxy says itself is no exception: an answer that was not taken whole is not followed by another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_answers_that_nobody_reads_end_the_connection() {
    let site = Site::with("", "hosts = [\"shop\"]", "").await;
    let watch = site.watch().await;
    let mut wire = Wire::narrow(site.address()).await;
    let requests = "GET / HTTP/1.1\r\nhost: nobody\r\n\r\n".repeat(1000);
    let deadline = tokio::time::Instant::now() + crate::patience::PATIENCE;
    while tokio::time::timeout_at(deadline, wire.try_send(&requests)).await.expect("never closed").is_ok() {}
    // Every answer but the last is whole.
    let all = String::from_utf8_lossy(&wire.rest().await).into_owned();
    let answers: Vec<_> = all.split("HTTP/1.1 404 Not Found\r\n").skip(1).collect();
    for answer in &answers[..answers.len().saturating_sub(1)] {
        assert!(answer.contains("\r\n\r\n404 Not Found: ") && answer.ends_with('\n'), "{answer:?}");
    }
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_whose_window_is_never_opened_are_reset_and_cost_little() {
    let site = Site::with("", IDLE, "").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[(INITIAL_WINDOW, 0)]).await;
    for number in 0..250 {
        client.send(get(number * 2 + 1, "/bytes/1000000000")).await;
    }
    let (mut heads, mut resets) = (0, 0);
    while resets < 250 {
        let frame = client.next().await.unwrap();
        heads += usize::from(frame.kind == HEADERS);
        resets += usize::from(frame.kind == RST_STREAM);
        assert!(frame.kind != DATA);
    }
    assert_eq!(heads, 250);
    eventually("no answer", || site.instance.ledger.holds() == 0).await;
    drop(client);
    watch.ends_well(64 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_wide_open_on_a_connection_that_is_not_read_are_no_way_around_it() {
    let site = Site::with("", IDLE, "").await;
    let watch = site.watch().await;
    let mut client = Frames::narrow(site.address(), &[(INITIAL_WINDOW, 0x7fff_ffff)]).await;
    client.send(window_update(0, 0x7fff_0000)).await;
    for number in 0..250 {
        client.send(get(number * 2 + 1, "/bytes/1000000000")).await;
    }
    eventually("250 answers", || site.instance.ledger.asked() >= 250).await;
    eventually("no answer", || site.instance.ledger.holds() == 0).await;
    drop(client);
    watch.ends_well(96 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_is_opened_byte_by_byte_is_closed_in_time() {
    let site = Site::with("slow_rate = 1000\nslow_grace = \"1s\"", IDLE, "").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[(INITIAL_WINDOW, 0)]).await;
    client.send(get(1, "/bytes/1000000000")).await;
    eventually("an answer", || site.instance.ledger.holds() == 1).await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..3000 {
        if site.instance.ledger.holds() == 0 {
            break;
        }
        client.send(window_update(1, 1)).await;
        pace.tick().await;
    }
    assert_eq!(site.instance.ledger.holds(), 0);
    let reset = client.until(|frame| frame.kind == RST_STREAM).await;
    assert_eq!(reset.stream, 1);
    drop(client);
    watch.ends_well(4 * MEGABYTE).await;
}
