//! Many streams on one HTTP/2 connection: what they share, and what is each one's own.

use bytes::Bytes;
use futures_util::future::join_all;
use h2::Reason;
use h2::client::Builder;
use http::{Method, StatusCode};

use crate::h2_client::{Connection, compare, environment, get, next, request, send, send_pattern};
use crate::patience::{eventually, in_time};
use crate::pattern;
use crate::site::Site;

scenarios! {
    two_hundred_streams_are_open_at_once: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    large_bodies_flow_both_ways_at_once: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    several_large_bodies_share_a_connection: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_stream_that_nobody_reads_holds_up_no_other_and_is_not_hoarded: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_stream_that_is_reset_is_cancelled_at_the_server: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    an_upload_that_is_reset_breaks_off_at_the_server: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_download_that_is_reset_ends_at_the_server: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_connection_that_ends_cancels_all_its_streams: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    an_answer_before_the_end_of_the_request_arrives: directly, by_default, over_h2c, over_tls, over_tls_h2;
    one_connection_lives_through_a_switch_and_its_streams_stay_where_they_began:
        directly, by_default, over_h2c, by_auto, by_auto_h2c, over_tls, over_tls_h2;
    an_upload_that_began_before_a_switch_ends_where_it_began: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
}

const LARGE: usize = 20 * 1024 * 1024;

async fn two_hundred_streams_are_open_at_once(site: Site) {
    let client = Connection::open(site.address()).await;
    let answers = join_all((0..200).map(|_| client.get("/gate")));
    let all_wait = async {
        eventually("all wait at once", || site.blue.ledger.waiting() == 200).await;
        site.blue.ledger.permit(200);
    };
    let (answers, ()) = tokio::join!(answers, all_wait);
    assert!(answers.iter().all(|answer| answer.text() == "blue\n"));
}

async fn large_bodies_flow_both_ways_at_once(site: Site) {
    let client = Connection::open(site.address()).await;
    echo(&client).await;
}

async fn several_large_bodies_share_a_connection(site: Site) {
    let client = Connection::open(site.address()).await;
    join_all((0..4).map(|_| echo(&client))).await;
}

/// More than any window holds, in both directions at once.
async fn echo(client: &Connection) {
    let (response, mut upload) = client.begin(request(Method::POST, "/echo"), false).await;
    let sent = send_pattern(&mut upload, LARGE);
    let received = async { compare(response.await?.body_mut()).await };
    let (sent, received) = in_time("both ends", async { tokio::join!(sent, received) }).await;
    sent.unwrap();
    received.unwrap().is_whole(LARGE);
}

async fn a_stream_that_nobody_reads_holds_up_no_other_and_is_not_hoarded(site: Site) {
    const HUGE: usize = 2_000_000_000;
    // The connection's window has room for more than the stream's.
    let client =
        Connection::open_with(site.address(), Builder::new().initial_connection_window_size(1 << 24)).await;
    let (response, _stream) = client.begin(get(&format!("/large/{HUGE}")), true).await;
    let unread = in_time("a head", response).await.unwrap();
    for _ in 0..200 {
        assert_eq!(client.get("/").await.text(), "blue\n");
    }
    // What lies in sockets and in one stream's window, far from everything.
    let given = site.blue.ledger.given();
    assert!(given < 100_000_000, "{given} bytes were taken from the server for a client that reads nothing");
    drop(unread);
}

async fn a_stream_that_is_reset_is_cancelled_at_the_server(site: Site) {
    let client = Connection::open(site.address()).await;
    let (_held, mut reset) = client.begin(get("/gate"), true).await;
    let (other, _) = client.begin(get("/gate"), true).await;
    let ledger = &site.blue.ledger;
    eventually("both wait", || ledger.waiting() == 2).await;
    reset.send_reset(Reason::CANCEL);
    eventually("one is abandoned", || ledger.abandoned() == 1 && ledger.waiting() == 1).await;
    ledger.permit(1);
    assert_eq!(in_time("the other's answer", other).await.unwrap().status(), StatusCode::OK);
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn an_upload_that_is_reset_breaks_off_at_the_server(site: Site) {
    let client = Connection::open(site.address()).await;
    let (_response, mut upload) = client.begin(request(Method::POST, "/sum"), false).await;
    send(&mut upload, pattern::piece(0, 10_000)).await.unwrap();
    eventually("it has come", || site.blue.ledger.requests() == 1).await;
    upload.send_reset(Reason::CANCEL);
    // To the server it must not look like a body that has ended well.
    eventually("it breaks off", || site.blue.ledger.broken() == 1).await;
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn a_download_that_is_reset_ends_at_the_server(site: Site) {
    let client = Connection::open(site.address()).await;
    let (response, mut reset) = client.begin(get("/events"), true).await;
    let mut events = in_time("a head", response).await.unwrap().into_body();
    site.blue.ledger.permit(1);
    in_time("an event", next(&mut events)).await.unwrap().unwrap();
    reset.send_reset(Reason::CANCEL);
    eventually("it ends", || site.blue.ledger.abandoned() == 1).await;
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn a_connection_that_ends_cancels_all_its_streams(site: Site) {
    let client = Connection::open(site.address()).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(client.begin(get("/gate"), true).await);
    }
    eventually("all wait", || site.blue.ledger.waiting() == 20).await;
    drop(client);
    eventually("all are abandoned", || site.blue.ledger.abandoned() == 20).await;
}

/// RFC 9113, section 8.1: the whole answer may come before the whole request.
async fn an_answer_before_the_end_of_the_request_arrives(site: Site) {
    let client = Connection::open(site.address()).await;
    let (response, mut upload) = client.begin(request(Method::POST, "/too-large"), false).await;
    // It may be told to stop, which is no fault.
    let _ = upload.send_data(Bytes::from("some"), false);
    let answer = in_time("an answer", response).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(in_time("its body", next(&mut answer.into_body())).await.unwrap().unwrap(), "too large\n");
    drop(upload);
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn one_connection_lives_through_a_switch_and_its_streams_stay_where_they_began(site: Site) {
    let client = Connection::open(site.address()).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(client.begin(get("/gate"), true).await.0);
    }
    eventually("all wait", || site.blue.ledger.waiting() == 10).await;
    site.switch().await;
    for answer in join_all((0..50).map(|_| client.get("/"))).await {
        assert_eq!(answer.environment(), site.live_name());
    }
    site.blue.ledger.permit(10);
    for answer in in_time("all answers", join_all(held)).await {
        assert_eq!(environment(answer.unwrap().headers()), "blue");
    }
}

async fn an_upload_that_began_before_a_switch_ends_where_it_began(site: Site) {
    let client = Connection::open(site.address()).await;
    let (response, mut upload) = client.begin(request(Method::POST, "/echo"), false).await;
    let response = in_time("a head", response).await.unwrap();
    assert_eq!(environment(response.headers()), "blue");
    site.switch().await;
    let mut echo = response.into_body();
    let (sent, received) =
        in_time("both ends", async { tokio::join!(send_pattern(&mut upload, LARGE), compare(&mut echo)) })
            .await;
    sent.unwrap();
    received.unwrap().is_whole(LARGE);
    assert_eq!(client.get("/").await.environment(), site.live_name());
}
