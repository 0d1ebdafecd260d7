//! Connections by the hundred.

use crate::frames::{Frames, HEADERS, get};
use crate::patience::{eventually, in_time};
use crate::site::{MEGABYTE, Site, ask};
use crate::wire::Wire;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_the_one_that_was_idle_for_longest_goes_first() {
    let site = Site::start("connections = 50").await;
    let watch = site.watch().await;
    let mut flood = Vec::new();
    for _ in 0..500 {
        flood.push(Wire::open(site.address()).await);
    }
    watch.serves(20).await;
    // Those of the client that behaves are among them, and its instance's besides.
    eventually("few connections", || site.proxy.connections() <= 50 + 5).await;
    // Those that came first have gone first, as far as a tick of the clock can tell them apart.
    assert!(flood[..100].iter().all(Wire::has_ended));
    drop(flood);
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_http2_go_at_once_too_also_if_they_do_not_say_goodbye() {
    let site = Site::start("connections = 50").await;
    let watch = site.watch().await;
    let mut flood = Vec::new();
    for _ in 0..500 {
        let mut client = Frames::open(site.address(), &[]).await;
        // It has greeted, and answers nothing from now on.
        client.next().await;
        flood.push(client);
    }
    watch.serves(20).await;
    // Those of the client that behaves are among them, and its instance's besides.
    eventually("few connections", || site.proxy.connections() <= 50 + 5).await;
    drop(flood);
    watch.ends_well(16 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_none_is_idle_one_more_is_refused_and_those_that_ask_go_on() {
    let site = Site::start("connections = 20\nhead_time = \"3s\"").await;
    let mut busy = Vec::new();
    for _ in 0..20 {
        let mut wire = Wire::open(site.address()).await;
        wire.send("GET /deaf HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        busy.push(wire);
    }
    eventually("twenty requests", || site.instance.ledger.holds() == 20).await;
    for _ in 0..200 {
        let mut more = Wire::open(site.address()).await;
        let _ = more.try_send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        assert_eq!(more.rest().await, b"");
    }
    assert_eq!(site.instance.ledger.holds(), 20);
    eventually("a word in the log", || site.proxy.log().contains("clients were refused")).await;
    // With one fewer there is room again.
    busy.pop().unwrap().reset();
    in_time("room", async {
        while ask(site.address()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    busy.into_iter().for_each(Wire::reset);
    eventually("no request", || site.instance.ledger.holds() == 0).await;
    eventually("no connection", || site.proxy.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing() {
    let site = Site::start("").await;
    let watch = site.watch().await;
    for round in 0..1000 {
        let mut wire = Wire::open(site.address()).await;
        match round % 4 {
            0 => drop(wire),
            1 => wire.reset(),
            2 => {
                wire.send("GET / HT").await;
                wire.reset();
            }
            _ => wire.end_sending().await,
        }
    }
    let mut client = Frames::open(site.address(), &[]).await;
    client.send(get(1, "/")).await;
    client.until(|frame| frame.kind == HEADERS).await;
    drop(client);
    watch.ends_well(8 * MEGABYTE).await;
}
