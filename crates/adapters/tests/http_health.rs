//! Health checks against a small server that answers badly.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

use std::time::Duration;

use cutover_adapters::http_health::HttpHealth;
use cutover_controller::ports::HealthValidator;
use cutover_core::health::{HealthCheck, HealthPolicy};
use cutover_core::routing::{Protocol, ProxyProtocol, Upstream};
use cutover_core::service::Instance;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server does with one connection after it has read the request.
#[derive(Clone, Copy)]
enum Behaviour {
    Say(&'static str),
    SayAndStay(&'static str),
    TalkForEver(&'static str),
}

fn plain(policy: &HealthPolicy) -> HealthCheck {
    HealthCheck { policy: policy.clone(), upstream: Upstream::default() }
}

/// Serves one connection and gives the result of the check with the request that was seen.
async fn ask(behaviour: Behaviour, policy: &HealthPolicy) -> (Result<(), String>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance { id: "a".parse().unwrap(), address: listener.local_addr().unwrap() };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        match behaviour {
            Behaviour::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Behaviour::SayAndStay(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 1]).await;
            }
            Behaviour::TalkForEver(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
        }
        request
    });
    let result = HttpHealth.check(&instance, &plain(policy)).await;
    (result, server.await.unwrap())
}

async fn check(behaviour: Behaviour, expected: Result<(), &str>) {
    let policy = HealthPolicy { timeout: Duration::from_millis(300), ..HealthPolicy::default() };
    let (result, _) = ask(behaviour, &policy).await;
    assert_eq!(result.as_ref().map_err(String::as_str).copied(), expected);
}

#[tokio::test]
async fn every_2xx_and_3xx_is_healthy_whatever_comes_after_the_head() {
    check(Behaviour::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Ok(())).await;
    check(Behaviour::Say("HTTP/1.1 204 No Content\r\n\r\n"), Ok(())).await;
    check(Behaviour::Say("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n"), Ok(())).await;
    check(Behaviour::SayAndStay("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart"), Ok(())).await;
}

#[tokio::test]
async fn a_bad_status_is_told_and_a_404_has_a_hint() {
    let error = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    check(Behaviour::Say(error), Err("answered 503 on `/health`")).await;
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let expected = "answered 404 on `/health`; set `path` in [health] to one that answers 200";
    check(Behaviour::Say(missing), Err(expected)).await;
}

#[tokio::test]
async fn no_answer_nonsense_and_endless_heads_are_failures() {
    check(Behaviour::SayAndStay(""), Err("no answer within 300ms")).await;
    check(Behaviour::SayAndStay("HTTP/1.1 200 OK\r\nX: "), Err("no answer within 300ms")).await;
    check(Behaviour::Say(""), Err("it closed the connection without an answer")).await;
    check(Behaviour::Say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Err("its answer is not HTTP/1.1")).await;
    check(Behaviour::TalkForEver("x"), Err("its answer is not HTTP/1.1")).await;
}

#[tokio::test]
async fn the_request_names_its_host_and_who_asks() {
    let policy = HealthPolicy { path: "/ready?full=1".to_owned(), ..HealthPolicy::default() };
    let (result, request) = ask(Behaviour::Say("HTTP/1.1 200 OK\r\n\r\n"), &policy).await;
    assert_eq!(result, Ok(()));
    assert!(request.starts_with("GET /ready?full=1 HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("host: 127.0.0.1:") && request.contains("user-agent: cutover-health"),
        "{request}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let instance = Instance { id: "a".parse().unwrap(), address };
    let error = HttpHealth.check(&instance, &plain(&HealthPolicy::default())).await.unwrap_err();
    assert_eq!(error, format!("connection refused on {address}"));
}

/// An instance that speaks HTTP/2 alone, and wants a PROXY protocol header before it.
async fn h2c_instance(introduced: bool, connections: usize) -> Instance {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance { id: "a".parse().unwrap(), address: listener.local_addr().unwrap() };
    tokio::spawn(async move {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            if introduced {
                let mut header = [0; 16];
                stream.read_exact(&mut header).await.unwrap();
                assert_eq!(&header, ProxyProtocol::V2.header_of_nobody());
            }
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let status = if request.uri().path() == "/health" { 200 } else { 404 };
                let answer = http::Response::builder().status(status).body(()).unwrap();
                respond.send_response(answer, true).unwrap();
            }
        }
    });
    instance
}

#[tokio::test]
async fn an_instance_is_asked_in_what_it_speaks() {
    let ask = async |protocol, proxy_protocol: Option<ProxyProtocol>, path: &str| {
        let instance = h2c_instance(proxy_protocol.is_some(), 2).await;
        let policy = HealthPolicy { path: path.to_owned(), ..HealthPolicy::default() };
        let check = HealthCheck { policy, upstream: Upstream { protocol, proxy_protocol, tls: None } };
        HttpHealth.check(&instance, &check).await
    };
    assert_eq!(ask(Protocol::H2c, None, "/health").await, Ok(()));
    assert_eq!(ask(Protocol::Auto, None, "/health").await, Ok(()));
    assert_eq!(ask(Protocol::H2c, Some(ProxyProtocol::V2), "/health").await, Ok(()));
    assert_eq!(
        ask(Protocol::H2c, None, "/").await,
        Err("answered 404 on `/`; set `path` in [health] to one that answers 200".to_owned())
    );
    assert_eq!(ask(Protocol::H1, None, "/health").await, Err("its answer is not HTTP/1.1".to_owned()));
}

#[tokio::test]
async fn an_instance_that_does_not_speak_http_2_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance { id: "a".parse().unwrap(), address: listener.local_addr().unwrap() };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let upstream = Upstream { protocol: Protocol::H2c, proxy_protocol: None, tls: None };
    let check = HealthCheck { policy: HealthPolicy::default(), upstream };
    assert_eq!(HttpHealth.check(&instance, &check).await, Err("its answer is not HTTP/2".to_owned()));
}
