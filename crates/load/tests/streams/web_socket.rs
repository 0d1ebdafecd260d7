//! WebSockets: which ends are a goodbye, and which are a failure.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use cutover_load::{Client, FailureClass, Goodbye};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::{backend, check, load, poll, read_head, reset, serving, until};

type Socket = WebSocketStream<TcpStream>;

/// Changes the protocol, then does this.
async fn sockets<F, S>(serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Socket) -> F + Copy + Send + Sync + 'static,
{
    serving(move |stream| async move { serve(tokio_tungstenite::accept_async(stream).await.unwrap()).await })
        .await
}

async fn echo_once(socket: &mut Socket) {
    let message = socket.next().await.unwrap().unwrap();
    socket.send(message).await.unwrap();
}

async fn close(socket: &mut Socket, code: u16) {
    let _ = socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await;
    while let Some(Ok(_)) = socket.next().await {}
}

fn client() -> Client {
    Client::web_socket("/ws").pausing(Duration::from_millis(5))
}

#[tokio::test]
async fn messages_are_echoed_until_the_load_says_goodbye() {
    let backend = backend();
    let load = load(backend.address(), client());
    load.expect("blue");
    let open = until(&load, |report| report.of("web_socket").messages >= 5).await;
    assert_eq!((open.of("web_socket").open, open.of("web_socket").sessions["blue"]), (1, 1));
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let count = report.of("web_socket");
    assert_eq!((count.requests, count.open, count.asked_to_leave, count.reconnects), (1, 0, 0, 0));
    assert_eq!((report.answered_by("blue"), report.judged, report.connections_opened), (1, 1, 1));
    poll("the backend's session ends", || backend.sessions() == 0).await;
}

#[tokio::test]
async fn who_is_asked_to_leave_connects_again_at_once() {
    let backend = backend();
    let load = load(backend.address(), client());
    for round in 1..=3 {
        until(&load, |report| report.of("web_socket").messages >= 3 * round).await;
        backend.end_sessions(Goodbye::Asked);
        until(&load, |report| report.of("web_socket").reconnects >= round).await;
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let count = report.of("web_socket");
    assert_eq!((count.requests, count.asked_to_leave, count.reconnects), (4, 3, 3), "{count:?}");
    assert_eq!((report.waves.len(), report.waves[0].client), (3, "web_socket"));
    assert!(report.waves.is_sorted_by_key(|asked| asked.at_ms));
}

#[tokio::test]
async fn both_codes_of_a_server_that_stops_are_a_goodbye_and_no_other_is() {
    let answering = async |code| {
        sockets(move |mut socket| async move {
            echo_once(&mut socket).await;
            close(&mut socket, code).await;
        })
        .await
    };
    for code in [1001, 1012] {
        let load = load(answering(code).await, client());
        let report = until(&load, |report| report.of("web_socket").asked_to_leave >= 3).await;
        assert_eq!(report.failed, 0, "{code}: {report}");
    }
    for code in [1000, 1011] {
        check(answering(code).await, client(), FailureClass::CloseCode).await;
    }
}

#[tokio::test]
async fn an_end_without_a_close_frame_is_cut_and_a_reset_is_told_from_it() {
    let cuts = sockets(|mut socket| async move {
        echo_once(&mut socket).await;
        socket.get_mut().shutdown().await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    check(cuts, client(), FailureClass::Cut).await;
    let resets = sockets(|mut socket| async move {
        echo_once(&mut socket).await;
        reset(socket.get_ref());
    })
    .await;
    check(resets, client(), FailureClass::Reset).await;
}

#[tokio::test]
async fn the_backend_cuts_and_resets_as_it_is_told() {
    for (goodbye, expected) in [(Goodbye::Cut, FailureClass::Cut), (Goodbye::Reset, FailureClass::Reset)] {
        let backend = backend();
        let load = load(backend.address(), client());
        until(&load, |report| report.of("web_socket").messages >= 2).await;
        backend.end_sessions(goodbye);
        let report = until(&load, |report| report.of("web_socket").reconnects == 1).await;
        assert_eq!((report.failed, report.failed_as(expected)), (1, 1), "{report}");
    }
}

#[tokio::test]
async fn an_echo_that_is_lost_or_wrong_is_a_failure_also_with_a_goodbye() {
    let wrong = sockets(|mut socket| async move {
        echo_once(&mut socket).await;
        let _ = socket.send(Message::text("0")).await;
        close(&mut socket, 1012).await;
    })
    .await;
    let report = {
        let load = load(wrong, client().pausing(Duration::ZERO));
        until(&load, |report| report.failed >= 1).await
    };
    let seen = report.failed_as(FailureClass::EchoWrong) + report.failed_as(FailureClass::Malformed);
    assert_eq!(seen, report.failed, "{report}");

    let loses = sockets(|mut socket| async move {
        socket.next().await.unwrap().unwrap();
        // Long enough for an echo, as the client has it.
        tokio::time::sleep(Duration::from_millis(400)).await;
        close(&mut socket, 1012).await;
    })
    .await;
    check(loses, client(), FailureClass::EchoLost).await;
}

#[tokio::test]
async fn a_message_that_crosses_a_goodbye_is_counted_and_sent_again() {
    let crosses = sockets(|mut socket| async move {
        socket.next().await.unwrap().unwrap();
        close(&mut socket, 1012).await;
    })
    .await;
    let load = load(crosses, client());
    let report = until(&load, |report| report.of("web_socket").crossed >= 3).await;
    assert_eq!((report.failed, report.of("web_socket").messages), (0, 0), "{report}");
}

#[tokio::test]
async fn an_opening_fails_as_a_request_does() {
    let answering = async |answer: &'static str| {
        serving(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    };
    let unavailable = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    check(answering(unavailable).await, client(), FailureClass::Status5xx).await;
    check(answering("").await, client(), FailureClass::ClosedBeforeByte).await;
    check(answering("HTTP/1.1 1").await, client(), FailureClass::Partial).await;
    let without_key = "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    check(answering(without_key).await, client(), FailureClass::Malformed).await;
}

#[tokio::test]
async fn a_session_that_is_opened_with_the_old_environment_is_stale() {
    let backend = backend();
    let load = load(backend.address(), client());
    until(&load, |report| report.of("web_socket").messages >= 1).await;
    load.expect("green");
    let report = until(&load, |report| report.of("web_socket").messages >= 5).await;
    assert_eq!(report.failed, 0, "what stood before is not judged: {report}");
    backend.end_sessions(Goodbye::Asked);
    let report = until(&load, |report| report.failed_as(FailureClass::Stale) >= 1).await;
    assert_eq!(report.failed, report.failed_as(FailureClass::Stale), "{report}");
}
