//! One client's doings on a connection to an instance that others share: HTTP/2 towards the instance.

use crate::frames::{Frames, HEADERS, INITIAL_WINDOW, get, reset};
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};

const H2C: &str = "upstream = \"h2c\"";

/// Together they hold more than a connection's window by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_do_not_stop_those_who_share_the_connection_to_the_instance() {
    let site = Site::with("", H2C, "").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[(INITIAL_WINDOW, 0)]).await;
    for number in 0..40 {
        client.send(get(number * 2 + 1, "/bytes/1000000000")).await;
    }
    for _ in 0..40 {
        client.until(|frame| frame.kind == HEADERS).await;
    }
    // None of them has read a byte, and everybody else goes on.
    watch.serves(200).await;
    assert_eq!(site.instance.ledger.holds(), 40);
    drop(client);
    eventually("no answer", || site.instance.ledger.holds() == 0).await;
    watch.ends_but_for(1, 48 * MEGABYTE).await;
}

/// Ten bytes a frame: what is in the window are thousands of frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_small_messages_does_not_end_the_connection_to_the_instance() {
    let site = Site::with("", H2C, "").await;
    let watch = site.watch().await;
    let mut client = Frames::open(site.address(), &[(INITIAL_WINDOW, 0)]).await;
    client.send(get(1, "/drops")).await;
    eventually("an answer", || site.instance.ledger.holds() == 1).await;
    let mut made = 0;
    eventually("no more of it", || {
        let before = std::mem::replace(&mut made, site.instance.ledger.made());
        made > 0 && before == made
    })
    .await;
    watch.serves(200).await;
    assert_eq!(site.instance.ledger.holds(), 1, "the answer was ended by what nobody has read of it");
    drop(client);
    watch.ends_but_for(1, 48 * MEGABYTE).await;
}

/// Instances count resets too, and end a connection that has too many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_requests_back_does_not_end_the_connection_to_the_instance() {
    let site = Site::with("", H2C, "").await;
    let watch = site.watch().await;
    for _ in 0..5 {
        let client = Frames::open(site.address(), &[]).await;
        let piece = |number: usize| {
            let stream = u32::try_from(number).unwrap() * 2 + 1;
            [get(stream, "/deaf"), reset(stream)].concat()
        };
        let (sent, _) = client.flood(piece, 100_000).await;
        assert!(sent < 100_000);
    }
    watch.serves(50).await;
    watch.ends_but_for(1, 16 * MEGABYTE).await;
}
