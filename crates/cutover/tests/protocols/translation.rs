//! What must not change, or must, when a request of one protocol is sent on in another.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::h1_client;
use crate::h2_client::{Connection, compare, get, request};
use crate::patience::in_time;
use crate::site::Site;

scenarios! {
    the_head_of_a_request_over_http_2_arrives: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    the_head_of_a_request_over_http_1_arrives: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    fields_of_an_answer_that_repeat_stay_apart: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_head_without_a_body_tells_the_length: directly, by_default, over_h2c, over_tls, over_tls_h2;
    an_answer_that_breaks_off_does_not_look_whole_over_http_1: directly, by_default, over_h2c, over_tls, over_tls_h2;
    an_answer_that_breaks_off_does_not_look_whole_over_http_2: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_body_that_is_not_as_long_as_told_is_refused: directly, by_default, over_h2c, over_tls, over_tls_h2;
    the_protocols_of_the_instances_are_used: by_default, over_h1, over_h2c, by_auto, by_auto_h2c, over_tls, over_tls_h2;
}

/// The first value of a field as the instance saw it; empty where there was none.
fn field<'a>(seen: &'a Value, name: &str) -> &'a str {
    seen["headers"][name][0].as_str().unwrap_or_default()
}

/// Whose host was asked for, by whatever the protocol says it with.
fn host(seen: &Value) -> &str {
    seen["authority"].as_str().unwrap_or_else(|| field(seen, "host"))
}

async fn the_head_of_a_request_over_http_2_arrives(site: Site) {
    let client = Connection::open(site.address()).await;
    let mut head = request(Method::from_bytes(b"PROPFIND").unwrap(), "/seen/%7Ea//b?c=%20d&&e");
    for (name, value) in
        [("cookie", "a=1"), ("cookie", "b=2"), ("x-twice", "1"), ("x-twice", "2"), ("te", "trailers")]
    {
        head.headers_mut().append(name, value.parse().unwrap());
    }
    let seen = client.ask(head).await.unwrap().json();
    assert_eq!(seen["method"], "PROPFIND");
    assert!(seen["uri"].as_str().unwrap().ends_with("/seen/%7Ea//b?c=%20d&&e"), "{seen}");
    assert_eq!(host(&seen), "shop");
    assert_eq!(seen["headers"]["x-twice"], serde_json::json!(["1", "2"]));
    if site.is_proxied() {
        assert_eq!(
            (field(&seen, "x-forwarded-for"), field(&seen, "x-forwarded-host")),
            ("127.0.0.1", "shop")
        );
        if seen["version"] == "HTTP/1.1" {
            // RFC 9113, section 8.2.3: the crumbs are one field where there is no HPACK.
            assert_eq!(seen["headers"]["cookie"], serde_json::json!(["a=1; b=2"]));
        }
        assert_eq!(seen["headers"]["transfer-encoding"], Value::Null, "a GET has no body: {seen}");
    }
}

async fn the_head_of_a_request_over_http_1_arrives(site: Site) {
    let mut client = h1_client::Connection::open(site.address()).await;
    let head = "GET /seen?a=%20b HTTP/1.1\r\nhost: shop:81\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\n\
                keep-alive: timeout=5\r\nx-kept: 1\r\n\r\n";
    client.send(head).await;
    let head = client.head().await;
    let seen: Value = serde_json::from_str(&client.body(&head).await.0).unwrap();
    assert!(seen["uri"].as_str().unwrap().ends_with("/seen?a=%20b"), "{seen}");
    assert_eq!((host(&seen), field(&seen, "x-kept")), ("shop:81", "1"));
    if site.is_proxied() {
        assert_eq!(
            (field(&seen, "x-hop"), field(&seen, "keep-alive")),
            ("", ""),
            "these end at the first hop"
        );
    }
}

async fn fields_of_an_answer_that_repeat_stay_apart(site: Site) {
    let client = Connection::open(site.address()).await;
    let answer = client.get("/cookies").await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2, c=3"]);
}

async fn a_head_without_a_body_tells_the_length(site: Site) {
    let client = Connection::open(site.address()).await;
    let answer = client.ask(request(Method::HEAD, "/large/1234567")).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.headers["content-length"], "1234567");
    for status in [204, 304] {
        let answer = client.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0));
    }
}

async fn an_answer_that_breaks_off_does_not_look_whole_over_http_1(site: Site) {
    // The end of the connection without the last chunk, which curl calls a partial file or an error of the framing.
    let said = crate::program::run("curl", &["-sS", "--http1.1", &site.url("/broken/5000")], b"").await;
    assert_ne!(said.exit, 0, "it looked whole");
}

async fn an_answer_that_breaks_off_does_not_look_whole_over_http_2(site: Site) {
    let client = Connection::open(site.address()).await;
    let (response, _) = client.begin(get("/broken/5000"), true).await;
    // An instance may break off before its head is on its way; then it is the proxy's answer that says so.
    match in_time("a head", response).await {
        Ok(answer) if answer.status() == StatusCode::OK => {
            let end = in_time("an end", compare(&mut answer.into_body())).await;
            assert!(end.is_err(), "it looked whole: {end:?}");
        }
        Ok(answer) => assert_eq!(answer.status(), StatusCode::BAD_GATEWAY),
        Err(_) => {}
    }
    assert_eq!(client.get("/").await.text(), "blue\n");
}

/// RFC 9113, section 8.1.1: else the rest of a body could be read as a request of its own.
async fn a_body_that_is_not_as_long_as_told_is_refused(site: Site) {
    for sent in ["12345", "123456789012345"] {
        let client = Connection::open(site.address()).await;
        let mut head = request(Method::POST, "/sum");
        head.headers_mut().insert("content-length", 10.into());
        let (response, mut body) = client.begin(head, false).await;
        body.send_data(sent.into(), true).unwrap();
        match in_time("an end", response).await {
            Ok(answer) => assert!(answer.status().is_client_error(), "{:?}", answer.status()),
            Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
        }
    }
    let client = Connection::open(site.address()).await;
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn the_protocols_of_the_instances_are_used(site: Site) {
    let client = Connection::open(site.address()).await;
    let blue = client.get("/seen").await.json();
    site.switch().await;
    let green = client.get("/seen").await.json();
    let mut h1 = h1_client::Connection::open(site.address()).await;
    let head = h1.get("/seen").await;
    let green_by_h1: Value = serde_json::from_str(&h1.body(&head).await.0).unwrap();
    for (seen, server) in [(blue, &site.blue), (green, &site.green), (green_by_h1, &site.green)] {
        assert_eq!((&seen["environment"], &seen["version"]), (&server.name.into(), &server.version().into()));
    }
    if site.green.version() == "HTTP/2.0" {
        // Streams of the clients share the connections to the instance: one a worker is enough, and one to find out.
        let before = site.green.ledger.connections();
        for _ in 0..100 {
            client.get("/").await;
        }
        assert!(site.green.ledger.connections() <= before + 2, "a connection a request");
    }
}
