//! A WebSocket that first tells its environment, then says back what it hears.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use super::Ledger;
use super::body::{self, AnswerBody};

/// Upgrades by RFC 6455 over HTTP/1.1, by RFC 8441 over HTTP/2.
pub fn accept(
    name: &'static str,
    ledger: &Arc<Ledger>,
    mut request: Request<Incoming>,
) -> Response<AnswerBody> {
    let extended =
        request.extensions().get::<hyper::ext::Protocol>().map(|protocol| protocol.as_str() == "websocket");
    let upgrade =
        request.headers().get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let mut response = Response::new(body::text(""));
    let headers = response.headers_mut();
    if let Some(protocol) = request.headers().get(SEC_WEBSOCKET_PROTOCOL) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    match (extended, key) {
        (Some(true), _) if request.method() == Method::CONNECT => {}
        (None, Some(key)) if upgrade => {
            headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&key).unwrap());
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        _ => {
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
            return response;
        }
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let visit = ledger.visit();
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        if talk(name, socket).await.is_some() {
            visit.over();
        }
    });
    response
}

/// Ends with something only if the socket was closed as it should be.
async fn talk<S>(name: &'static str, mut socket: WebSocketStream<S>) -> Option<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(Message::text(name)).await.ok()?;
    loop {
        match socket.next().await?.ok()? {
            Message::Text(text) if text.as_str() == "close yourself" => {
                let frame = CloseFrame { code: CloseCode::Library(4001), reason: name.into() };
                socket.send(Message::Close(Some(frame))).await.ok()?;
            }
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await.ok()?,
            Message::Close(_) => {
                // The answer to it is sent by the next turn, which ends with the stream.
                let _ = socket.next().await;
                return Some(());
            }
            // Pings are answered by the stream itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}
