//! gRPC by tonic: the four kinds of call, metadata, trailers, status, deadlines.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream;
use tonic::{Code, Request};

use crate::grpc_client::{Client, next, spoken};
use crate::patience::{eventually, in_time};
use crate::site::Site;

scenarios! {
    a_unary_call_is_answered: directly, over_h2c, by_auto_h2c, over_tls_h2;
    metadata_go_there_and_back: directly, over_h2c, by_auto_h2c, over_tls_h2;
    each_status_arrives_with_its_words: directly, over_h2c, by_auto_h2c, over_tls_h2;
    each_message_of_a_server_arrives_before_the_next_is_made: directly, over_h2c, by_auto_h2c, over_tls_h2;
    all_messages_of_a_client_arrive: directly, over_h2c, by_auto_h2c, over_tls_h2;
    both_sides_speak_in_turn: directly, over_h2c, by_auto_h2c, over_tls_h2;
    a_large_message_arrives: directly, over_h2c, over_tls_h2;
    many_calls_share_a_connection: directly, over_h2c, over_tls_h2;
    a_deadline_is_passed_on: directly, over_h2c, over_tls_h2;
    a_call_that_outlives_its_deadline_is_cancelled_at_the_server: directly, over_h2c, over_tls_h2;
    a_call_that_is_dropped_is_cancelled_at_the_server: directly, over_h2c, over_tls_h2;
}

async fn a_unary_call_is_answered(site: Site) {
    let client = Client::open(site.address()).await;
    for message in ["hello", "", "ümlaut"] {
        let answer = client.unary(message).await.unwrap().into_inner();
        assert_eq!(answer, format!("blue: {message}"));
    }
}

async fn metadata_go_there_and_back(site: Site) {
    let client = Client::open(site.address()).await;
    let mut request = Request::new("hello".to_owned());
    request.metadata_mut().insert("x-asked", "some words".parse().unwrap());
    let answer = client.call("Unary", request).await.unwrap();
    assert_eq!(answer.metadata().get("x-asked").unwrap(), "some words");
    assert_eq!(answer.metadata().get_bin("x-raw-bin").unwrap().to_bytes().unwrap().as_ref(), [0, 255, 10]);
    assert_eq!(answer.metadata().get("x-deadline").unwrap(), "-", "nobody set one");
    // Of the trailers.
    assert_eq!(answer.metadata().get("grpc-status").unwrap(), "0");
}

/// An answer with nothing but a status is one head of trailers alone.
async fn each_status_arrives_with_its_words(site: Site) {
    let client = Client::open(site.address()).await;
    for code in 1..=16 {
        let status = client.unary(&format!("fail {code}")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::from(code), "ümlaut of blue"));
        assert_eq!(status.metadata().get("x-why").unwrap(), "because");
    }
    let status = client.call("Nothing", Request::new(String::new())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
}

async fn each_message_of_a_server_arrives_before_the_next_is_made(site: Site) {
    let client = Client::open(site.address()).await;
    let mut messages = client.tell(10).await.unwrap().into_inner();
    for number in 0..10 {
        site.blue.ledger.permit(1);
        assert_eq!(next(&mut messages).await.unwrap().unwrap(), format!("blue {number}"));
    }
    site.blue.ledger.permit(1);
    // Trailers after messages.
    let status = next(&mut messages).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "nothing more"));
}

async fn all_messages_of_a_client_arrive(site: Site) {
    let client = Client::open(site.address()).await;
    let answer = client.listen(stream::iter(["a", "b", "c"].map(str::to_owned))).await.unwrap();
    assert_eq!(answer, "blue a b c");
    assert_eq!(client.listen(stream::iter([])).await.unwrap(), "blue");
    // One that takes its time.
    let (speaker, messages) = spoken();
    let speak = async {
        for word in ["x", "y", "z"] {
            speaker.send(word.to_owned()).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(speaker);
    };
    let (answer, ()) = tokio::join!(client.listen(messages), speak);
    assert_eq!(answer.unwrap(), "blue x y z");
}

async fn both_sides_speak_in_turn(site: Site) {
    let client = Client::open(site.address()).await;
    let mut talk = client.talk().await.unwrap();
    for number in 0..50 {
        assert_eq!(talk.say(&number.to_string()).await, format!("blue: {number}"));
    }
    talk.end().await;
}

async fn a_large_message_arrives(site: Site) {
    let client = Client::open(site.address()).await;
    // Below the limit of tonic's decoder.
    let message = "large ".repeat(600_000);
    let answer = client.unary(&message).await.unwrap().into_inner();
    assert!(answer == format!("blue: {message}"), "another message came back: {} bytes", answer.len());
}

async fn many_calls_share_a_connection(site: Site) {
    let client = Client::open(site.address()).await;
    let calls = join_all((0..100).map(|_| client.unary("wait")));
    let permit = async {
        eventually("all wait", || site.blue.ledger.waiting() == 100).await;
        site.blue.ledger.permit(100);
    };
    let (answers, ()) = tokio::join!(calls, permit);
    assert!(answers.into_iter().all(|answer| answer.unwrap().into_inner() == "blue: wait"));
}

async fn a_deadline_is_passed_on(site: Site) {
    let client = Client::open(site.address()).await;
    let mut request = Request::new("hello".to_owned());
    request.set_timeout(Duration::from_secs(40));
    let answer = client.call("Unary", request).await.unwrap();
    let told = answer.metadata().get("x-deadline").unwrap().to_str().unwrap();
    let (value, unit) = told.split_at(told.len() - 1);
    // A proxy may tell what is left of it instead.
    let per_second = match unit {
        "S" => 1,
        "m" => 1_000,
        "u" => 1_000_000,
        "n" => 1_000_000_000,
        _ => panic!("{told}"),
    };
    let left = value.parse::<u64>().unwrap() / per_second;
    assert!((1..=40).contains(&left), "{told}");
}

async fn a_call_that_outlives_its_deadline_is_cancelled_at_the_server(site: Site) {
    let client = Client::open(site.address()).await;
    let mut request = Request::new("wait".to_owned());
    request.set_timeout(Duration::from_millis(300));
    let status = client.call("Unary", request).await.unwrap_err();
    // tonic's own clock says Cancelled, a proxy's that was faster says DeadlineExceeded.
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    eventually("the server is told", || site.blue.ledger.abandoned() == 1).await;
}

async fn a_call_that_is_dropped_is_cancelled_at_the_server(site: Site) {
    let client = Client::open(site.address()).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.unary("wait").await }
    });
    eventually("it waits", || site.blue.ledger.waiting() == 1).await;
    call.abort();
    eventually("the server is told", || site.blue.ledger.abandoned() == 1).await;
    assert_eq!(in_time("an answer", client.unary("hello")).await.unwrap().into_inner(), "blue: hello");
}
