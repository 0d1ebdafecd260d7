//! A proxy that is told to end: what it holds is finished, nothing new is taken.

use tokio::net::TcpStream;

use crate::application::{Application, Speaks};
use crate::h1_client;
use crate::h2_client::{self, get};
use crate::patience::{PATIENCE, eventually, in_time};
use crate::played::Front;

/// Polls until connections are refused.
async fn refused(front: &Front) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(front.address).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "connections are taken for ever");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_in_flight_are_finished_over_http_2() {
    let application = Application::start("blue", Speaks::H1).await;
    let mut front = Front::by_default(application.address).await;
    let client = h2_client::Connection::open(front.address).await;
    let (held, _) = client.begin(get("/gate"), true).await;
    eventually("it is held", || application.ledger.waiting() == 1).await;
    front.proxy.as_ref().unwrap().terminate();
    refused(&front).await;
    application.ledger.permit(1);
    let answer = in_time("an answer", held).await.unwrap();
    let body = in_time("a body", h2_client::next(&mut answer.into_body())).await.unwrap().unwrap();
    assert_eq!(body, "blue\n");
    // The client still holds its connection, of which no stream is open any more.
    front.proxy.as_mut().unwrap().ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_finished_over_http_1() {
    let application = Application::start("blue", Speaks::H1).await;
    let mut front = Front::by_default(application.address).await;
    let mut client = h1_client::Connection::open(front.address).await;
    client.send("GET /gate HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    eventually("it is held", || application.ledger.waiting() == 1).await;
    front.proxy.as_ref().unwrap().terminate();
    refused(&front).await;
    application.ledger.permit(1);
    let head = client.head().await;
    assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "blue\n"));
    front.proxy.as_mut().unwrap().ended().await;
}
