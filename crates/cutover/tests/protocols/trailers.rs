//! Trailers, from each protocol to each.

use http::{HeaderMap, Method};

use crate::h1_client;
use crate::h2_client::{self, get, request};
use crate::played::{Front, h1_instance};
use crate::site::Site;

scenarios! {
    trailers_of_an_answer_reach_http_1: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    trailers_of_an_answer_reach_http_2: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    trailers_of_a_request_over_http_1_arrive: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    trailers_of_a_request_over_http_2_arrive: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    trailers_go_there_and_back: directly, by_default, over_h2c, over_tls, over_tls_h2;
}

async fn trailers_of_an_answer_reach_http_1(site: Site) {
    let mut client = h1_client::Connection::open(site.address()).await;
    client.send("GET /trailers HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
    let head = client.head().await;
    let (body, trailers) = client.body(&head).await;
    assert_eq!((head.status, body.as_str()), (200, "blue\n"));
    let trailers = trailers.to_ascii_lowercase();
    assert!(
        trailers.contains("x-checksum: 4711\r\n") && trailers.contains("x-told-by: blue\r\n"),
        "{trailers:?}"
    );
    // The connection is where it should be.
    let head = client.get("/").await;
    assert_eq!(client.body(&head).await.0, "blue\n");
}

async fn trailers_of_an_answer_reach_http_2(site: Site) {
    let client = h2_client::Connection::open(site.address()).await;
    let mut head = get("/trailers");
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    let answer = client.ask(head).await.unwrap();
    assert_eq!(answer.text(), "blue\n");
    assert_eq!(answer.trailers["x-checksum"], "4711");
    assert_eq!(answer.trailers["x-told-by"], "blue");
}

async fn trailers_of_a_request_over_http_1_arrive(site: Site) {
    let mut client = h1_client::Connection::open(site.address()).await;
    let head = "POST /sum HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
    client.send(format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 12\r\n\r\n")).await;
    let head = client.head().await;
    let found: serde_json::Value = serde_json::from_str(&client.body(&head).await.0).unwrap();
    assert_eq!(
        (&found["body"]["bytes"], &found["body"]["trailers"]["x-sum"]),
        (&5.into(), &"12".into()),
        "{found}"
    );
}

async fn trailers_of_a_request_over_http_2_arrive(site: Site) {
    let client = h2_client::Connection::open(site.address()).await;
    let mut head = request(Method::POST, "/sum");
    head.headers_mut().insert("trailer", "x-sum".parse().unwrap());
    let found = client.post(head, b"abcde", Some(sum())).await.json();
    assert_eq!(
        (&found["body"]["bytes"], &found["body"]["trailers"]["x-sum"]),
        (&5.into(), &"12".into()),
        "{found}"
    );
}

async fn trailers_go_there_and_back(site: Site) {
    let client = h2_client::Connection::open(site.address()).await;
    let mut head = request(Method::POST, "/echo");
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    head.headers_mut().insert("trailer", "x-sum".parse().unwrap());
    let answer = client.post(head, b"abcde", Some(sum())).await;
    assert_eq!((answer.text().as_str(), &answer.trailers["x-sum"]), ("abcde", &"12".parse().unwrap()));
}

fn sum() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "12".parse().unwrap());
    trailers
}

/// Go's servers send trailers that they have announced to everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_that_nobody_asked_for_reach_http_2_and_do_no_harm_to_http_1() {
    let instance = h1_instance(|mut client| async move {
        loop {
            client.until("\r\n\r\n").await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
            client.send(format!("{head}5\r\nblue\n\r\n0\r\nx-sum: 12\r\n\r\n")).await;
        }
    })
    .await;
    let front = Front::by_default(instance).await;
    let mut client = h1_client::Connection::open(front.address).await;
    for _ in 0..3 {
        let head = client.get("/").await;
        assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "blue\n"));
    }
    let client = h2_client::Connection::open(front.address).await;
    let answer = client.get("/").await;
    assert_eq!((answer.text().as_str(), &answer.trailers["x-sum"]), ("blue\n", &"12".parse().unwrap()));
}
