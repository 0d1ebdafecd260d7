//! A WebSocket that sends back what it gets.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::application::Application;
use super::goodbye::{Counted, Goodbye};
use super::misdeed::Way;

/// How long a client may take to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(5);

/// Changes the protocol and echoes until somebody leaves. `arrived` is what came after the head.
pub(super) async fn serve(
    mut stream: TcpStream,
    arrived: BytesMut,
    application: &Application,
    key: &str,
) -> io::Result<()> {
    let mut farewell = application.farewell.wait();
    let _counted = Counted::new(&application.sessions);
    let headers = [
        ("connection", "upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-accept", derive_accept_key(key.as_bytes())),
    ];
    stream.write_all(&application.head(101, &headers)).await?;
    let mut socket = WebSocketStream::from_partially_read(stream, arrived.to_vec(), Role::Server, None).await;
    let goodbye = loop {
        tokio::select! {
            // What has come is echoed before anybody is sent away.
            biased;
            message = socket.next() => match message {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    if socket.send(message).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
            goodbye = farewell.told() => break goodbye,
        }
    };
    match goodbye {
        Goodbye::Asked => {
            let frame = CloseFrame { code: CloseCode::Restart, reason: "this server stops".into() };
            let _ = socket.close(Some(frame)).await;
            let _ =
                tokio::time::timeout(GOODBYE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
            Ok(())
        }
        Goodbye::Cut => Way::Close.part(socket.get_mut()).await,
        Goodbye::Reset => Way::Reset.part(socket.get_mut()).await,
    }
}
