//! Frames over HTTP/2 that cost a client nothing and a server work.

use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, Frames, HEADERS, PADDED,
    PING, PRIORITY, REFUSED_STREAM, RST_STREAM, farewell, frame, get, post, reset, settings, window_update,
};
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};

/// Floods until the proxy closes, which it has to before all of it was sent.
async fn check(name: &str, limits: &str, begin: Vec<u8>, piece: impl FnMut(usize) -> Vec<u8>) -> Vec<Frame> {
    let site = Site::start(limits).await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    client.send(begin).await;
    let most = 100_000;
    let (sent, frames) = client.flood(piece, most).await;
    assert!(sent < most, "{name}: all of it was taken");
    let reason = farewell(&frames);
    assert!(reason.is_none_or(|reason| reason == ENHANCE_YOUR_CALM), "{name}: {reason:?}");
    let asked = site.instance.ledger.asked();
    assert!(asked < 2000 + watch.served(), "{name}: the instance was asked {asked} times");
    watch.ends_well(16 * MEGABYTE).await;
    frames
}

fn stream(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 1
}

fn many(piece: &[u8]) -> impl FnMut(usize) -> Vec<u8> {
    let piece = piece.repeat(100);
    move |_| piece.clone()
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_at_once() {
    check("resets", "", vec![], |number| [get(stream(number), "/deaf"), reset(stream(number))].concat())
        .await;
}

/// A request that has trailers is one request, not two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_trailers_that_are_taken_back_at_once() {
    let trailers = frames::block(&[("t", "v")]);
    check("resets", "", vec![], |number| {
        let stream = stream(number);
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
        [post(stream, "/deaf"), trailers, reset(stream)].concat()
    })
    .await;
}

/// The server itself is made to reset (CVE-2025-8671): by more data than was promised, by a window beyond its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_the_server_has_to_reset() {
    let mut head = frames::request("POST", "/deaf");
    frames::literal(&mut head, b"content-length", b"1");
    check("data beyond the length", "", vec![], |number| {
        let stream = stream(number);
        [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, 0, stream, b"two")].concat()
    })
    .await;
    check("window beyond its end", "", vec![], |number| {
        [post(stream(number), "/deaf"), window_update(stream(number), 0x7fff_ffff)].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_settings() {
    let few = "control_frames = 10";
    check("PING", few, vec![], many(&frame(PING, 0, 0, &[0; 8]))).await;
    check("SETTINGS", few, vec![], many(&settings(&[]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_and_frames_that_nobody_knows() {
    let few = "control_frames = 10";
    check("PRIORITY", few, vec![], many(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]))).await;
    check("unknown", few, vec![], many(&frame(0xfa, 0, 0, b"what"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_without_content() {
    let few = "control_frames = 10";
    check("empty DATA", few, post(1, "/sink"), many(&frame(DATA, 0, 1, b""))).await;
    // The length of the padding stands in the first byte: a frame with a payload and no content.
    check("padded DATA", few, post(1, "/sink"), many(&frame(DATA, PADDED, 1, &[0]))).await;
    check("padding", few, post(1, "/sink"), many(&frame(DATA, PADDED, 1, &[3, 0, 0, 0]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_are_opened_for_nothing() {
    let few = "control_frames = 10";
    check("of the connection", few, vec![], many(&window_update(0, 1))).await;
    check("of a stream", few, get(1, "/deaf"), many(&window_update(1, 1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_an_end() {
    let begin = frame(HEADERS, END_STREAM, 1, &frames::request("GET", "/"));
    check("empty", "", begin.clone(), many(&frame(CONTINUATION, 0, 1, b""))).await;
    let fields = frames::block(&[("x", &"y".repeat(1000))]);
    check("full", "", begin, many(&frame(CONTINUATION, 0, 1, &fields))).await;
}

/// The answers to a flood are what its sender does not read: they must not pile up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_whose_answers_nobody_reads() {
    let site = Site::start("control_frames = 1000000000\nkeep_alive = \"2s\"\nhead_time = \"1s\"").await;
    let watch = site.watch().await;
    for piece in [frame(PING, 0, 0, &[0; 8]), settings(&[])] {
        let mut client = Frames::narrow(site.address(), &[]).await;
        let piece = piece.repeat(1000);
        let deadline = tokio::time::Instant::now() + crate::patience::PATIENCE;
        // It stops taking them, and has closed when it is time.
        while tokio::time::timeout_at(deadline, client.try_send(&piece)).await.expect("never closed").is_ok()
        {
        }
    }
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_those_that_may_be_open() {
    let site = Site::start("streams = 10").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[]).await;
    for number in 0..100 {
        client.send(get(stream(number), "/deaf")).await;
    }
    for _ in 0..90 {
        let frame = client.until(|frame| frame.kind == RST_STREAM).await;
        assert_eq!(frame.code(), REFUSED_STREAM);
    }
    eventually("ten requests", || site.instance.ledger.holds() == 10).await;
    watch.serves(20).await;
    assert_eq!(site.instance.ledger.holds(), 10);
    drop(client);
    watch.ends_well(8 * MEGABYTE).await;
}
