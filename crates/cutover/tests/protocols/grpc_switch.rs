//! gRPC while traffic is switched: calls end where they began, and new ones begin where they should.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;

use crate::grpc_client::{Client, next};
use crate::patience::eventually;
use crate::site::Site;

scenarios! {
    a_talk_that_began_on_blue_ends_there: directly, over_h2c, by_auto_h2c, over_tls_h2;
    a_stream_of_a_server_that_began_on_blue_ends_there: directly, over_h2c, over_tls_h2;
    no_call_fails_under_load: directly, over_h2c, by_auto_h2c, over_tls_h2;
}

async fn a_talk_that_began_on_blue_ends_there(site: Site) {
    let client = Client::open(site.address()).await;
    let mut talk = client.talk().await.unwrap();
    assert_eq!(talk.say("before").await, "blue: before");
    site.switch().await;
    let live = site.live_name();
    for number in 0..20 {
        // On the same connection of the client.
        assert_eq!(client.unary("new").await.unwrap().into_inner(), format!("{live}: new"));
        assert_eq!(talk.say(&number.to_string()).await, format!("blue: {number}"));
    }
    let mut later = client.talk().await.unwrap();
    assert_eq!(later.say("after").await, format!("{live}: after"));
    later.end().await;
    talk.end().await;
}

async fn a_stream_of_a_server_that_began_on_blue_ends_there(site: Site) {
    let client = Client::open(site.address()).await;
    let mut messages = client.tell(10).await.unwrap().into_inner();
    site.blue.ledger.permit(1);
    assert_eq!(next(&mut messages).await.unwrap().unwrap(), "blue 0");
    site.switch().await;
    site.blue.ledger.permit(10);
    for number in 1..10 {
        assert_eq!(next(&mut messages).await.unwrap().unwrap(), format!("blue {number}"));
    }
    // The status comes from there as well.
    assert_eq!(next(&mut messages).await.unwrap_err().message(), "nothing more");
}

/// Calls of several clients without a pause, until enough have come after the switch.
async fn no_call_fails_under_load(site: Site) {
    let (answered, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let callers = (0..8).map(async |_| {
        let client = Client::open(site.address()).await;
        while !enough.load(Ordering::SeqCst) {
            // The first to fail fails the test.
            let answer = client.unary("load").await.unwrap().into_inner();
            assert!(answer == "blue: load" || answer == "green: load", "{answer}");
            answered.fetch_add(1, Ordering::SeqCst);
        }
    });
    let switch = async {
        eventually("the load has begun", || answered.load(Ordering::SeqCst) > 500).await;
        site.switch().await;
        let (before, live) = (site.live().ledger.requests(), &site.live().ledger);
        eventually("the load goes on", || live.requests() > before + 500).await;
        enough.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all(callers), switch);
}
