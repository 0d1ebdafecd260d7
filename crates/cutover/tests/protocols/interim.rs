//! Interim answers: 1xx before the answer, and bodies that are sent only when they are wanted.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::Semaphore;

use crate::h1_client;
use crate::h2_client::{self, get, interim, request};
use crate::patience::in_time;
use crate::played::{Front, h1_instance, h2_instance};

/// `name: client, instance, ways` makes a test of each way.
macro_rules! interim {
    ($($name:ident: $client:ident, $instance:ident, [$($way:ident),+];)+) => {$(
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $way() {
                    let go_on = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
                    let instance = super::$instance(std::sync::Arc::clone(&go_on)).await;
                    let front = $crate::played::Front::$way(instance).await;
                    super::$client(&front, &go_on).await;
                }
            )+
        }
    )+};
}

interim! {
    hints_of_http_1_reach_http_1: h1_client_gets_hints, h1_instance_with_hints, [directly, by_default, over_h1];
    hints_of_http_1_reach_http_2: h2_client_gets_hints, h1_instance_with_hints, [by_default];
    hints_of_http_2_reach_http_1: h1_client_gets_hints, h2_instance_with_hints, [over_h2c];
    hints_of_http_2_reach_http_2: h2_client_gets_hints, h2_instance_with_hints, [directly, over_h2c];
    hints_do_not_reach_http_1_0: old_client_gets_no_hints, h1_instance_with_hints, [by_default];
    a_body_over_http_1_is_sent_when_the_instance_wants_it:
        h1_client_waits_for_100, h1_instance_that_is_asked, [directly, by_default, over_h1];
    a_body_over_http_2_is_sent_when_the_instance_wants_it:
        h2_client_waits_for_100, h1_instance_that_is_asked, [by_default];
    a_body_that_the_instance_does_not_want_is_not_sent:
        h1_client_is_refused, h1_instance_that_refuses, [directly, by_default, over_h1];
    a_body_comes_though_nobody_said_continue:
        h1_client_does_not_wait, h1_instance_that_says_nothing, [directly, by_default, over_h1];
}

type Permission = Arc<Semaphore>;

async fn permitted(go_on: &Semaphore) {
    in_time("the test's permission", go_on.acquire()).await.unwrap().forget();
}

async fn h1_instance_with_hints(go_on: Permission) -> SocketAddr {
    h1_instance(move |mut client| {
        let go_on = Arc::clone(&go_on);
        async move {
            client.until("\r\n\r\n").await;
            client.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n").await;
            permitted(&go_on).await;
            client.send("HTTP/1.1 103 Early Hints\r\nlink: </b.css>; rel=preload\r\n\r\n").await;
            client.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nblue\n").await;
        }
    })
    .await
}

async fn h2_instance_with_hints(go_on: Permission) -> SocketAddr {
    h2_instance(move |_, mut respond| {
        let go_on = Arc::clone(&go_on);
        let hint = |link: &str| {
            Response::builder().status(103).header("link", format!("<{link}>; rel=preload")).body(()).unwrap()
        };
        async move {
            respond.send_informational(hint("/a.css")).unwrap();
            permitted(&go_on).await;
            respond.send_informational(hint("/b.css")).unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from("blue\n"), true).unwrap();
        }
    })
    .await
}

async fn h1_client_gets_hints(front: &Front, go_on: &Semaphore) {
    let mut client = h1_client::Connection::open(front.address).await;
    let hint = client.get("/").await;
    assert_eq!((hint.status, hint.field("link")), (103, Some("</a.css>; rel=preload")));
    go_on.add_permits(1);
    let hint = client.head().await;
    assert_eq!((hint.status, hint.field("link")), (103, Some("</b.css>; rel=preload")));
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(client.body(&head).await.0, "blue\n");
}

async fn h2_client_gets_hints(front: &Front, go_on: &Semaphore) {
    let client = h2_client::Connection::open(front.address).await;
    let (mut response, _) = client.begin(get("/"), true).await;
    let hint = interim(&mut response).await.unwrap();
    assert_eq!(
        (hint.status().as_u16(), &hint.headers()["link"]),
        (103, &"</a.css>; rel=preload".parse().unwrap())
    );
    go_on.add_permits(1);
    let hint = interim(&mut response).await.unwrap();
    assert_eq!(
        (hint.status().as_u16(), &hint.headers()["link"]),
        (103, &"</b.css>; rel=preload".parse().unwrap())
    );
    assert_eq!(in_time("an answer", response).await.unwrap().status(), StatusCode::OK);
}

/// RFC 9110, section 15.2: HTTP/1.0 knows no 1xx, and must not be sent one.
async fn old_client_gets_no_hints(front: &Front, go_on: &Semaphore) {
    go_on.add_permits(1);
    let mut client = h1_client::Connection::open(front.address).await;
    client.send("GET / HTTP/1.0\r\nhost: shop\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
}

/// Wants the body when the test permits it, and says back what came.
async fn h1_instance_that_is_asked(go_on: Permission) -> SocketAddr {
    h1_instance(move |mut client| {
        let go_on = Arc::clone(&go_on);
        async move {
            let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
            assert!(head.contains("expect: 100-continue"), "{head}");
            permitted(&go_on).await;
            assert!(client.is_silent(), "the body came before it was wanted");
            client.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            let body = client.exactly(4).await;
            client.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
            client.send(body).await;
        }
    })
    .await
}

async fn h1_client_waits_for_100(front: &Front, go_on: &Semaphore) {
    let mut client = h1_client::Connection::open(front.address).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    go_on.add_permits(1);
    assert_eq!(client.head().await.status, 100);
    client.send("wish").await;
    let head = client.head().await;
    assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "wish"));
}

async fn h2_client_waits_for_100(front: &Front, go_on: &Semaphore) {
    let client = h2_client::Connection::open(front.address).await;
    let mut head = request(http::Method::POST, "/");
    head.headers_mut().insert("expect", "100-continue".parse().unwrap());
    head.headers_mut().insert("content-length", 4.into());
    let (mut response, mut body) = client.begin(head, false).await;
    go_on.add_permits(1);
    assert_eq!(interim(&mut response).await.unwrap().status(), StatusCode::CONTINUE);
    body.send_data(Bytes::from("wish"), true).unwrap();
    let mut answer = in_time("an answer", response).await.unwrap().into_body();
    assert_eq!(in_time("a body", h2_client::next(&mut answer)).await.unwrap().unwrap(), "wish");
}

async fn h1_instance_that_refuses(_: Permission) -> SocketAddr {
    h1_instance(move |mut client| async move {
        client.until("\r\n\r\n").await;
        client
            .send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await
}

async fn h1_client_is_refused(front: &Front, _: &Semaphore) {
    let mut client = h1_client::Connection::open(front.address).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    // No 100 before it: nobody wanted the body.
    assert_eq!(client.head().await.status, 417);
}

async fn h1_instance_that_says_nothing(_: Permission) -> SocketAddr {
    h1_instance(move |mut client| async move {
        client.until("\r\n\r\n").await;
        let body = client.exactly(4).await;
        client.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
        client.send(body).await;
    })
    .await
}

/// RFC 9110, section 10.1.1: a client that expects 100 need not wait for it.
async fn h1_client_does_not_wait(front: &Front, _: &Semaphore) {
    let mut client = h1_client::Connection::open(front.address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nwish")
        .await;
    let mut head = client.head().await;
    if head.status == 100 {
        head = client.head().await;
    }
    assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "wish"));
}
