//! Server-sent events: each arrives when it was sent, before there is another.

use crate::h1_client;
use crate::h2_client::{self, get, next};
use crate::patience::{eventually, in_time};
use crate::site::Site;

scenarios! {
    each_event_arrives_over_http_1_before_the_next_is_made: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    each_event_arrives_over_http_2_before_the_next_is_made: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_stream_of_events_goes_on_after_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_reader_that_goes_away_ends_the_stream_at_the_server: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
}

async fn each_event_arrives_over_http_1_before_the_next_is_made(site: Site) {
    let mut client = h1_client::Connection::open(site.address()).await;
    // The head comes before there is any event.
    let head = client.get("/events").await;
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    for number in 0..20 {
        site.blue.ledger.permit(1);
        let event = client.until("\n\n").await;
        assert!(event.ends_with(&format!("id: {number}\ndata: blue {number}\n\n")), "{event}");
    }
}

async fn each_event_arrives_over_http_2_before_the_next_is_made(site: Site) {
    let client = h2_client::Connection::open(site.address()).await;
    let (response, _) = client.begin(get("/events"), true).await;
    let mut events = in_time("a head", response).await.unwrap().into_body();
    for number in 0..20 {
        site.blue.ledger.permit(1);
        let expected = format!("id: {number}\ndata: blue {number}\n\n");
        let mut event = Vec::new();
        while event.len() < expected.len() {
            event.extend_from_slice(&in_time("an event", next(&mut events)).await.unwrap().unwrap());
        }
        assert_eq!(String::from_utf8_lossy(&event), expected);
    }
}

async fn a_stream_of_events_goes_on_after_a_switch(site: Site) {
    let mut reader = h1_client::Connection::open(site.address()).await;
    reader.get("/events").await;
    site.blue.ledger.permit(1);
    reader.until("data: blue 0\n\n").await;
    site.switch().await;
    for number in 1..5 {
        site.blue.ledger.permit(1);
        reader.until(&format!("data: blue {number}\n\n")).await;
    }
    let mut later = h1_client::Connection::open(site.address()).await;
    let head = later.get("/events").await;
    assert_eq!(head.field("x-environment"), Some(site.live_name()));
    // Without a proxy both are at one server, and would share the permission.
    drop(reader);
    eventually("the early one has gone", || site.blue.ledger.abandoned() == 1).await;
    site.live().ledger.permit(1);
    later.until(&format!("data: {}", site.live_name())).await;
}

async fn a_reader_that_goes_away_ends_the_stream_at_the_server(site: Site) {
    let mut client = h1_client::Connection::open(site.address()).await;
    client.get("/events").await;
    drop(client);
    // A server that sends nothing has to be told by its connection.
    eventually("the stream over HTTP/1.1 ends", || site.blue.ledger.abandoned() == 1).await;
    let client = h2_client::Connection::open(site.address()).await;
    let (response, _) = client.begin(get("/events"), true).await;
    let events = in_time("a head", response).await.unwrap().into_body();
    drop(events);
    eventually("the stream over HTTP/2 ends", || site.blue.ledger.abandoned() == 2).await;
}
