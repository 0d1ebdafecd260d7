//! A gigabyte through a proxy that holds next to nothing of it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::patience::{eventually, in_time};
use crate::site::{MEGABYTE, Site};
use crate::wire::{Wire, status};

const LENGTH: usize = 1 << 30;
const PIECE: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_comes_down_over_http1() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    wire.send(format!("GET /chunks/{LENGTH} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(status(&wire.head().await), 200);
    assert!(wire.count().await > LENGTH as u64);
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_goes_up_over_http1() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    wire.send("POST /sink HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE));
    for _ in 0..LENGTH / PIECE {
        wire.send(&chunk).await;
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.answer().await, (200, LENGTH.to_string().into_bytes()));
    drop(wire);
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_comes_down_over_http2() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let (mut sender, driver) = http2(&site).await;
    let request = http::Request::get(format!("http://shop/bytes/{LENGTH}")).body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let mut body = in_time("an answer", response).await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = in_time("more", body.data()).await {
        let count = data.unwrap().len();
        length += count;
        body.flow_control().release_capacity(count).unwrap();
    }
    assert_eq!(length, LENGTH);
    driver.abort();
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_goes_up_over_http2() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    let (mut sender, driver) = http2(&site).await;
    let request = http::Request::post("http://shop/sink").body(()).unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut left = LENGTH;
    while left > 0 {
        stream.reserve_capacity(left.min(PIECE));
        let room =
            in_time("room", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
        let room = room.min(left).min(PIECE);
        left -= room;
        stream.send_data(piece.slice(..room), left == 0).unwrap();
    }
    let mut body = in_time("an answer", response).await.unwrap().into_body();
    assert_eq!(in_time("a body", body.data()).await.unwrap().unwrap(), LENGTH.to_string());
    driver.abort();
    watch.ends_well(8 * MEGABYTE).await;
}

/// The instance reads nothing: the client's bytes wait at its own side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_for_an_instance_that_does_not_read_is_not_taken() {
    let site = Site::with("", "timeouts = { idle = \"2s\", first_byte = \"1s\" }", "").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    wire.send(format!("POST /deaf HTTP/1.1\r\nhost: shop\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
    eventually("a request", || site.instance.ledger.holds() == 1).await;
    let piece = vec![b'x'; PIECE];
    // Kernels hold a few megabytes for each socket.
    assert!(wire.pour(&piece, 1024).await < 1024, "nobody reads, and still more is taken");
    let answer = wire.rest().await;
    assert!(crate::wire::says(&answer, 504), "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(site.instance.ledger.read.load(Ordering::SeqCst), 0);
    watch.ends_well(8 * MEGABYTE).await;
}

async fn http2(site: &Site) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = TcpStream::connect(site.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
    let (sender, connection) = in_time("a handshake", builder.handshake(stream)).await.unwrap();
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    (sender, driver)
}
