//! Heads over HTTP/2 that are too large, too slow, or larger than they look.

use crate::frames::{
    self, CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, farewell, frame, get,
};
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};
use crate::wire::Wire;

const WHOLE: u8 = END_HEADERS | END_STREAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_are_answered_and_the_connection_goes_on() {
    let site = Site::start("head_bytes = 8192\nhead_fields = 20\ntarget_bytes = 1024").await;
    let watch = site.watch().await;
    let many = |count| {
        let mut block = frames::request("GET", "/");
        for _ in 0..count {
            frames::literal(&mut block, b"x", b"y");
        }
        block
    };
    let mut large = frames::request("GET", "/");
    frames::literal(&mut large, b"x", &vec![b'y'; 9000]);
    let target = frames::request("GET", &format!("/{}", "t".repeat(1024)));
    for (block, expected) in [(many(21), 431), (large, 431), (target, 414)] {
        let mut client = Frames::open(site.address(), &[]).await;
        client.send(frame(HEADERS, WHOLE, 1, &block)).await;
        assert_eq!(client.status(1).await, expected);
        client.send(get(3, "/")).await;
        assert_eq!(client.status(3).await, 200);
    }
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_not_ended_is_closed_in_its_time() {
    let site = Site::start("keep_alive = \"1s\"\nhead_time = \"1s\"").await;
    let watch = site.watch().await;
    let mut half = Frames::open(site.address(), &[]).await;
    half.send(frame(HEADERS, END_STREAM, 1, &frames::request("GET", "/"))).await;
    let mut silent = Frames::open(site.address(), &[]).await;
    let mut no_settings = Wire::open(site.address()).await;
    no_settings.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut half_preface = Wire::open(site.address()).await;
    half_preface.send(b"PRI * HTTP/2.0\r\n\r\nSM").await;
    for client in [&mut half, &mut silent] {
        client.rest().await;
    }
    no_settings.rest().await;
    half_preface.rest().await;
    watch.ends_well(4 * MEGABYTE).await;
}

/// A byte of such a head is a field of four kilobytes once it was looked up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_unpacks_to_more_than_its_limit_is_not_unpacked() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    for _ in 0..20 {
        let mut client = Frames::open(site.address(), &[]).await;
        let mut block = frames::request("GET", "/");
        frames::indexed(&mut block, b"x", &[b'y'; 3900]);
        client.send(frame(HEADERS, WHOLE, 1, &block)).await;
        let mut block = frames::request("GET", "/");
        block.extend_from_slice(&[0x80 | 62; 10_000]);
        client.send(frame(HEADERS, END_STREAM, 3, &block)).await;
        client.send(frame(CONTINUATION, END_HEADERS, 3, &[0x80 | 62; 10_000])).await;
        let answer = client.until(|frame| frame.stream == 3 || frame.kind == frames::GOAWAY).await;
        assert!(answer.kind != HEADERS || answer.status() == Some(431), "{answer:?}");
    }
    watch.ends_well(16 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_unpack_to_just_their_limit_cost_that_and_no_more() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    let mut block = frames::request("GET", "/");
    frames::indexed(&mut block, b"x", &[b'y'; 3900]);
    client.send(frame(HEADERS, WHOLE, 1, &block)).await;
    for number in 1..250 {
        let mut block = frames::request("GET", "/deaf");
        block.extend_from_slice(&[0x80 | 62; 15]);
        client.send(frame(HEADERS, WHOLE, number * 2 + 1, &block)).await;
    }
    eventually("249 requests", || site.instance.ledger.holds() == 249).await;
    drop(client);
    // 64 KB for each of them, and once more while they are sent.
    watch.ends_well(64 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http2_is_closed() {
    let site = Site::start("head_time = \"1s\"").await;
    let watch = site.watch().await;
    for bytes in [
        // A frame that is larger than any may be.
        vec![0xff; 100_000],
        // A head without a stream, a stream of the server's, a head that goes on where none was begun.
        frame(HEADERS, WHOLE, 0, &frames::request("GET", "/")),
        frame(HEADERS, WHOLE, 2, &frames::request("GET", "/")),
        frame(CONTINUATION, END_HEADERS, 1, &frames::request("GET", "/")),
        // Fields that are in no table, and a table that is larger than agreed.
        frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        frame(HEADERS, WHOLE, 1, &[0x3f, 0xe1, 0xff, 0xff, 0x03]),
        // Streams that go backwards.
        [get(3, "/"), get(1, "/")].concat(),
        // Data and resets of streams that never were.
        frame(frames::DATA, 0, 7, b"x"),
        frame(RST_STREAM, 0, 7, &[0; 4]),
    ] {
        let mut client = Frames::open(site.address(), &[]).await;
        let _ = client.try_send(&bytes).await;
        let frames = client.rest().await;
        assert!(farewell(&frames).is_none_or(|reason| reason != 0), "{bytes:?}");
    }
    watch.ends_well(8 * MEGABYTE).await;
}
