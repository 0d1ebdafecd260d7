//! Bodies over HTTP/2 that are too large, too slow or in crumbs.

use std::time::{Duration, Instant};

use crate::frames::{
    self, DATA, END_HEADERS, ENHANCE_YOUR_CALM, Frames, HEADERS, farewell, frame, get, post, settings,
};
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_too_slowly_is_answered_with_408_and_its_connection_goes_on() {
    let site = Site::start("slow_rate = 1000\nslow_grace = \"1s\"").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    client.send(post(1, "/sink")).await;
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    // One second of grace, and as much again until a tick has come that sees it.
    for _ in 0..150 {
        client.send(frame(DATA, 0, 1, b"x")).await;
        pace.tick().await;
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.status(1).await, 408);
    client.send(get(3, "/")).await;
    assert_eq!(client.status(3).await, 200);
    drop(client);
    watch.ends_well(4 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_its_limit_is_answered_with_413() {
    let site = Site::start("body_bytes = 1000").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    let mut head = frames::request("POST", "/sink");
    frames::literal(&mut head, b"content-length", b"1001");
    client.send(frame(HEADERS, END_HEADERS, 1, &head)).await;
    assert_eq!(client.status(1).await, 413);
    drop(client);

    let mut client = Frames::open(site.address(), &[]).await;
    client.send(post(1, "/sink")).await;
    for _ in 0..11 {
        client.send(frame(DATA, 0, 1, &[b'x'; 100])).await;
    }
    assert_eq!(client.status(1).await, 413);
    // The connection goes on, and what is just the limit passes.
    client.send(post(3, "/sink")).await;
    client.send(frame(DATA, 1, 3, &[b'x'; 1000])).await;
    assert_eq!(client.status(3).await, 200);
    drop(client);
    watch.ends_well(8 * MEGABYTE).await;
}

/// Each crumb is remembered by itself: as many as the window has bytes would be hundreds of megabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crumbs_that_the_instance_does_not_take_do_not_pile_up() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    for stream in [1, 3, 5, 7] {
        client.send(post(stream, "/deaf")).await;
    }
    let crumbs: Vec<u8> = [1, 3, 5, 7].iter().flat_map(|stream| frame(DATA, 0, *stream, b"x")).collect();
    let crumbs = crumbs.repeat(100);
    let (sent, frames) = client.flood(|_| crumbs.clone(), 10_000).await;
    assert!(sent < 10_000);
    assert!(farewell(&frames).is_none_or(|reason| reason == ENHANCE_YOUR_CALM));
    watch.ends_well(16 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_instance_does_not_take_waits_at_the_clients_side() {
    let site = Site::with("", "timeouts = { idle = \"2s\", first_byte = \"1s\" }", "").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    client.send(settings(&[])).await;
    for number in 0..50 {
        client.send(post(number * 2 + 1, "/deaf")).await;
    }
    eventually("fifty requests", || site.instance.ledger.holds() == 50).await;
    // One megabyte is all that may be sent before somebody takes it; this client keeps to it.
    let full = vec![b'x'; 16 * 1024];
    for number in 0..50 {
        client.send(frame(DATA, 0, number * 2 + 1, &full)).await;
    }
    site.lets_go().await;
    drop(client);
    watch.ends_well(16 * MEGABYTE).await;
}
