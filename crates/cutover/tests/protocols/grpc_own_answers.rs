//! What the proxy itself answers to a call is a status of gRPC, not a page that no client of gRPC can read.

use tonic::{Code, Request, Status};

use crate::grpc_client::Client;
use crate::h2_client::{self, request};
use crate::played::{Front, h1_instance};
use crate::proxy::Proxy;
use crate::site::Site;

/// The status of a call through a proxy with this table.
async fn status_of_a_call(services: &str) -> Status {
    let proxy = Proxy::start(services).await;
    let client = Client::open(proxy.address).await;
    client.call("Unary", Request::new("hello".to_owned())).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_is_unimplemented() {
    let service = "[[service]]\nname = \"shop\"\nhosts = [\"shop.example\"]\nupstream = \"h2c\"\n\
                   weights = { blue = 100, green = 0 }\nblue = [\"127.0.0.1:9\"]\n";
    let status = status_of_a_call(service).await;
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_instance_is_unavailable() {
    let service = "[[service]]\nname = \"shop\"\nupstream = \"h2c\"\nweights = { blue = 100, green = 0 }\n";
    let status = status_of_a_call(service).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_refuses_connections_is_unavailable() {
    // Bound and never listened on: nobody else gets it, and nobody answers.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let front = Front::over_h2c(socket.local_addr().unwrap()).await;
    let client = Client::open(front.address).await;
    let status = client.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_hangs_up_is_unavailable() {
    // The preface of a client of HTTP/2 holds the end of a head.
    let instance = h1_instance(|mut client| async move {
        client.until("\r\n\r\n").await;
    })
    .await;
    let front = Front::over_h2c(instance).await;
    let client = Client::open(front.address).await;
    let status = client.unary("hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_does_not_answer_in_time_is_a_deadline_or_unavailable() {
    let site = Site::over_h2c_impatiently("300ms").await;
    let client = Client::open(site.address()).await;
    let status = client.unary("wait").await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable), "{status}");
    // And the next call is none the worse.
    assert_eq!(client.unary("hello").await.unwrap().into_inner(), "blue: hello");
}

/// Trailers alone: HTTP says 200, the status of gRPC stands in the only head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_one_head_with_the_fields_of_grpc() {
    let proxy = Proxy::start("").await;
    let client = h2_client::Connection::open(proxy.address).await;
    let mut head = request(http::Method::POST, "/proof.Proof/Unary");
    head.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    let answer = client.post(head, &[0, 0, 0, 0, 0], None).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{answer:?}");
    assert_eq!(answer.headers["grpc-status"], "12");
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/grpc"), "{answer:?}");
    assert!(answer.headers.contains_key("grpc-message"), "{answer:?}");
    // Everybody else is told by HTTP.
    assert_eq!(client.get("/").await.status.as_u16(), 404);
}
