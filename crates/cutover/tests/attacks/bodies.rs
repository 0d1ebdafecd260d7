//! Bodies over HTTP/1.1 that are too large, too slow or broken.

use std::time::{Duration, Instant};

use crate::site::{MEGABYTE, Site};
use crate::wire::{Wire, says};

const POST: &str = "POST /sink HTTP/1.1\r\nhost: shop\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_too_slowly_is_answered_with_408() {
    let site = Site::start("slow_rate = 1000\nslow_grace = \"1s\"").await;
    let watch = site.watch().await;
    for framing in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let piece: &[u8] = if framing.starts_with('c') { b"x" } else { b"1\r\nx\r\n" };
        let mut wire = Wire::open(site.address()).await;
        wire.send(format!("{POST}{framing}\r\n\r\n")).await;
        let began = Instant::now();
        let sent = wire.drip(piece, Duration::from_millis(20), 1000).await;
        assert!(began.elapsed() >= Duration::from_secs(1), "it has its grace");
        assert!(sent < 1000, "a slow body was never ended");
        assert!(says(&wire.rest().await, 408), "{framing}");
    }
    watch.ends_well(4 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_answered_with_408() {
    let site = Site::with("", "timeouts = { idle = \"1s\" }", "").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    wire.send(format!("{POST}content-length: 10\r\n\r\nx")).await;
    assert!(says(&wire.rest().await, 408));
    watch.ends_well(4 * MEGABYTE).await;
}

/// 1 Mbit/s are 125,000 bytes per second. The default rate with a grace that is far shorter than the default asks more
/// of a client than the default limits do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_one_megabit_per_second_is_not_slow_in_either_direction() {
    let site = Site::start("slow_grace = \"100ms\"").await;
    let watch = site.watch().await;
    let steps = 40;
    let piece = vec![b'x'; 125_000 / 20];
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut up = Wire::open(site.address()).await;
    up.send(format!("{POST}content-length: {}\r\n\r\n", steps * piece.len())).await;
    let mut down = Wire::narrow(site.address()).await;
    let length = 64 * MEGABYTE;
    down.send(format!("GET /bytes/{length} HTTP/1.1\r\nhost: shop\r\n\r\n")).await;
    down.head().await;
    for _ in 0..steps {
        pace.tick().await;
        up.send(&piece).await;
        down.exactly(piece.len()).await;
    }
    assert_eq!(up.answer().await, (200, (steps * piece.len()).to_string().into_bytes()));
    // It is still being answered.
    down.exactly(MEGABYTE).await;
    drop((up, down));
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_its_limit_is_answered_with_413() {
    let site = Site::start("body_bytes = 1000").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    wire.send(format!("{POST}content-length: 1001\r\n\r\n")).await;
    assert!(says(&wire.rest().await, 413), "before a byte of it was sent");

    for size in [100, 4000, MEGABYTE] {
        let mut wire = Wire::open(site.address()).await;
        wire.send(format!("{POST}transfer-encoding: chunked\r\n\r\n")).await;
        let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        wire.pour(&chunk, 20).await;
        let answer = wire.rest().await;
        assert!(says(&answer, 413), "{size}: {:?}", String::from_utf8_lossy(&answer));
    }

    let mut wire = Wire::open(site.address()).await;
    wire.send(format!("{POST}content-length: 1000\r\n\r\n{}", "x".repeat(1000))).await;
    assert_eq!(wire.answer().await, (200, b"1000".to_vec()));
    drop(wire);
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn framing_of_chunks_has_an_end() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let extension = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    let trailer = "t: v\r\n".to_owned();
    for (begin, again) in [
        (String::new(), extension),
        ("1;".to_owned(), "e".repeat(4096)),
        ("1\r\nx\r\n0\r\n".to_owned(), trailer),
        ("1\r\nx\r\n0\r\nt: ".to_owned(), "v".repeat(4096)),
        ("0".to_owned(), "0".repeat(4096)),
    ] {
        let mut wire = Wire::open(site.address()).await;
        wire.send(format!("{POST}transfer-encoding: chunked\r\n\r\n{begin}")).await;
        assert!(wire.pour(&again, 100_000).await < 100_000, "all of it was taken: {begin:?}");
        let answer = wire.rest().await;
        assert!(says(&answer, 400), "{begin:?}: {:?}", String::from_utf8_lossy(&answer));
    }
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_an_end_is_ended_with_the_client() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    // Each of them ends its direction in the middle.
    for body in ["content-length: 10\r\n\r\nx", "transfer-encoding: chunked\r\n\r\n5\r\nx"] {
        let mut wire = Wire::open(site.address()).await;
        wire.send(format!("{POST}{body}")).await;
        wire.end_sending().await;
        let answer = wire.rest().await;
        assert!(says(&answer, 400), "{:?}", String::from_utf8_lossy(&answer));
    }
    watch.ends_well(4 * MEGABYTE).await;
}
