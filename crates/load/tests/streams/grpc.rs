//! gRPC calls: status 14 between two messages is a goodbye, everything else a failure.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cutover_load::{Client, FailureClass, Goodbye};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::support::{backend, check, load, poll, serving, until};

fn client() -> Client {
    Client::grpc_stream().pausing(Duration::from_millis(5))
}

/// A call that a test server has taken.
struct Call {
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

/// Takes the first call of every connection, and keeps the connection going for as long as `serve` wants.
async fn calls<F, S>(serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Call) -> F + Copy + Send + Sync + 'static,
{
    serving(move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, respond): (Request<RecvStream>, _) = connection.accept().await.unwrap().unwrap();
        assert_eq!(
            (request.uri().path(), &request.headers()["te"]),
            ("/echo.Echo/Stream", &HeaderValue::from_static("trailers"))
        );
        let serving = tokio::spawn(serve(Call { body: request.into_body(), respond }));
        while let Some(Ok(_)) = connection.accept().await {}
        serving.await.unwrap();
    })
    .await
}

impl Call {
    fn answer(&mut self) -> SendStream<Bytes> {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        self.respond.send_response(head, false).unwrap()
    }

    /// Sends the first message back.
    async fn echo_once(&mut self, send: &mut SendStream<Bytes>) {
        let message = self.body.data().await.unwrap().unwrap();
        send.send_data(message, false).unwrap();
    }
}

fn end(mut send: SendStream<Bytes>, status: &'static str) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    send.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn messages_are_echoed_until_the_load_ends_the_call_well() {
    let backend = backend();
    let load = load(backend.address(), client());
    load.expect("blue");
    until(&load, |report| report.of("grpc_stream").messages >= 5).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let count = report.of("grpc_stream");
    assert_eq!((count.requests, count.open, count.asked_to_leave, count.sessions["blue"]), (1, 0, 0, 1));
    assert_eq!(backend.requests_of("/echo.Echo/Stream"), 1);
    poll("the backend's session ends", || backend.sessions() == 0).await;
}

#[tokio::test]
async fn who_is_asked_to_leave_calls_again_and_a_goaway_before_it_is_counted() {
    let backend = backend();
    let load = load(backend.address(), client());
    for round in 1..=3 {
        until(&load, |report| report.of("grpc_stream").messages >= 3 * round).await;
        backend.end_sessions(Goodbye::Asked);
        until(&load, |report| report.of("grpc_stream").reconnects >= round).await;
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let count = report.of("grpc_stream");
    assert_eq!((count.asked_to_leave, count.reconnects, count.goaways), (3, 3, 3), "{count:?}");
    assert_eq!(report.waves.len(), 3);
}

#[tokio::test]
async fn unavailable_without_a_goaway_is_a_goodbye_as_well() {
    let leaves = calls(|mut call| async move {
        let mut send = call.answer();
        call.echo_once(&mut send).await;
        end(send, "14");
    })
    .await;
    let load = load(leaves, client());
    let report = until(&load, |report| report.of("grpc_stream").asked_to_leave >= 3).await;
    assert_eq!((report.failed, report.of("grpc_stream").goaways), (0, 0), "{report}");
}

#[tokio::test]
async fn another_status_and_a_call_turned_away_are_failures() {
    let aborts = calls(|mut call| async move {
        let mut send = call.answer();
        call.echo_once(&mut send).await;
        end(send, "13");
    })
    .await;
    check(aborts, client(), FailureClass::GrpcStatus).await;
    let turns_away = calls(|mut call| async move {
        let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", "14");
        call.respond.send_response(head.body(()).unwrap(), true).unwrap();
    })
    .await;
    check(turns_away, client(), FailureClass::GrpcStatus).await;
    let fails = calls(|mut call| async move {
        call.respond.send_response(Response::builder().status(503).body(()).unwrap(), true).unwrap();
    })
    .await;
    check(fails, client(), FailureClass::Status5xx).await;
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_message_is_partial() {
    let breaks_off = calls(|mut call| async move {
        let mut send = call.answer();
        call.body.data().await.unwrap().unwrap();
        send.send_data(Bytes::from_static(b"\0\0\0"), false).unwrap();
        end(send, "14");
    })
    .await;
    check(breaks_off, client(), FailureClass::Partial).await;
}

#[tokio::test]
async fn a_reset_stream_a_wrong_echo_and_a_lost_one_are_told_apart() {
    let resets = calls(|mut call| async move {
        let mut send = call.answer();
        call.echo_once(&mut send).await;
        send.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    check(resets, client(), FailureClass::StreamReset).await;
    let wrong = calls(|mut call| async move {
        let mut send = call.answer();
        send.send_data(Bytes::from_static(b"\0\0\0\0\x01x"), false).unwrap();
        end(send, "0");
    })
    .await;
    check(wrong, client(), FailureClass::EchoWrong).await;
    let loses = calls(|mut call| async move {
        let send = call.answer();
        call.body.data().await.unwrap().unwrap();
        end(send, "0");
    })
    .await;
    check(loses, client(), FailureClass::EchoLost).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_or_reset_is_a_failure() {
    for (goodbye, expected) in [(Goodbye::Cut, FailureClass::Cut), (Goodbye::Reset, FailureClass::Reset)] {
        let backend = backend();
        let load = load(backend.address(), client());
        until(&load, |report| report.of("grpc_stream").messages >= 2).await;
        backend.end_sessions(goodbye);
        let report = until(&load, |report| report.of("grpc_stream").reconnects == 1).await;
        assert_eq!((report.failed, report.failed_as(expected)), (1, 1), "{report}");
    }
}
