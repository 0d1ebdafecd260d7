//! Clients and instances that vanish in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{Frames, HEADERS, RST_STREAM, get, reset};
use crate::instance::played;
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};
use crate::wire::{Wire, says};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_streams_is_let_go_soon_after_its_client_has_gone() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let ledger = &site.instance.ledger;
    for by_reset in [true, false] {
        // In the middle of much, of little, and before anything is said at all.
        for path in ["/chunks/100000000000", "/drops", "/deaf"] {
            let mut wire = Wire::open(site.address()).await;
            wire.send(format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n")).await;
            eventually("a request", || ledger.holds() == 1).await;
            if by_reset {
                wire.reset();
            } else if path == "/deaf" {
                // Whoever ends its direction still waits for its answer.
                wire.end_sending().await;
                wire.reset();
            } else {
                drop(wire);
            }
            site.lets_go().await;
            eventually("no request", || ledger.holds() == 0).await;
        }
    }
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_streams_is_let_go_when_its_stream_is_reset() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let ledger = &site.instance.ledger;
    let mut client = Frames::open(site.address(), &[]).await;
    for (number, path) in ["/chunks/100000000000", "/drops", "/deaf"].iter().enumerate() {
        let stream = u32::try_from(number).unwrap() * 2 + 1;
        client.send(get(stream, path)).await;
        eventually("a request", || ledger.holds() == 1).await;
        client.send(reset(stream)).await;
        eventually("no request", || ledger.holds() == 0).await;
    }
    client.send(get(99, "/")).await;
    assert_eq!(client.until(|frame| frame.kind == HEADERS && frame.stream == 99).await.status(), Some(200));
    drop(client);
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_in_its_body_leaves_nothing() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    for path in ["/sink", "/deaf"] {
        let mut wire = Wire::open(site.address()).await;
        wire.send(format!("POST {path} HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000000\r\n\r\nx")).await;
        eventually("a request", || site.instance.ledger.holds() == 1).await;
        wire.reset();
        site.lets_go().await;
    }
    watch.ends_well(8 * MEGABYTE).await;
}

/// A process that is killed ends its connections with a reset, or with an end if it had read everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_instance_is_killed_is_cut_and_not_ended() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let bad = played(move |mut stream| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let framing =
                ["content-length: 1000", "transfer-encoding: chunked", "connection: close"][number % 3];
            let body = if number % 3 == 1 { "5\r\nhello\r\n" } else { "hello" };
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}").as_bytes()).await;
            stream.set_zero_linger().unwrap();
        }
    })
    .await;
    let site = Site::beside(bad, "", "").await;
    let watch = site.watch().await;
    for round in 0..6 {
        let mut wire = Wire::open(site.address()).await;
        wire.send("GET / HTTP/1.1\r\nhost: bad\r\n\r\n").await;
        let answer = wire.rest().await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        // The reset may overtake what was said; then there is no answer to be cut.
        assert!(says(&answer, 200) || says(&answer, 502) || answer.is_empty(), "{round}: {text:?}");
        assert!(!text.ends_with("0\r\n\r\n"), "{round}: an answer that was cut has an end: {text:?}");
        let mut client = Frames::open(site.address(), &[]).await;
        let mut block = Vec::new();
        for (name, value) in [(":method", "GET"), (":scheme", "http"), (":authority", "bad"), (":path", "/")]
        {
            crate::frames::literal(&mut block, name.as_bytes(), value.as_bytes());
        }
        client.send(crate::frames::frame(HEADERS, 5, 1, &block)).await;
        let end =
            client.until(|frame| frame.kind == RST_STREAM || frame.stream == 1 && frame.flags & 1 == 1).await;
        if end.kind != RST_STREAM {
            // Nothing but an answer of the proxy's own is whole.
            assert!(String::from_utf8_lossy(&end.payload).contains("502"), "{end:?}");
        }
    }
    assert!(asked.load(Ordering::SeqCst) >= 12);
    watch.ends_well(8 * MEGABYTE).await;
}
