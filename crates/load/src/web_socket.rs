//! Numbered messages over a WebSocket, each to be echoed, until the load is over or the server says goodbye (RFC 6455).

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::answer;
use crate::client::Client;
use crate::connection::Connection;
use crate::failure::{Failure, FailureClass};
use crate::fault::status_class;
use crate::request;
use crate::session::{Parting, Session, Visit, within};
use crate::stream::Stream;

/// How long the answer to a close frame may take to be written; the session is over either way.
const GOODBYE: Duration = Duration::from_millis(100);

/// A client that talks over one WebSocket after the other.
#[derive(Debug)]
pub(crate) struct WebSocket {
    client: Client,
    /// The number of the next message; one that has not been echoed is sent again.
    next: u64,
}

type Socket = WebSocketStream<Stream>;

impl WebSocket {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone(), next: 0 }
    }

    /// Connects and changes the protocol. Done by hand, because a library would fold what happens on the way into one
    /// error.
    async fn open(&self, visit: &mut Visit) -> Result<Socket, Failure> {
        let key = generate_key();
        let mut head = request::head(&visit.shared.plan, &self.client, "GET");
        head.push_str("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n");
        head.push_str(&format!("sec-websocket-key: {key}\r\n\r\n"));
        let mut connection = Connection::open(&visit.shared.plan).await?;
        visit.connected();
        let note = visit.shared.expectation.note();
        let answer = connection.ask(head.as_bytes()).await?;
        if answer.status != 101 {
            let class = status_class(answer.status).unwrap_or(FailureClass::StatusOther);
            return Err(Failure::new(class, format!("status {} in place of 101", answer.status)));
        }
        if answer::header(&answer.headers, "sec-websocket-accept")
            != Some(derive_accept_key(key.as_bytes()).as_str())
        {
            return Err(Failure::malformed("the key of the WebSocket was not accepted as it must be"));
        }
        let (stream, arrived, _) = connection.into_parts();
        let socket = WebSocketStream::from_partially_read(stream, arrived.to_vec(), Role::Client, None).await;
        visit.open(&note, &answer.headers)?;
        Ok(socket)
    }

    /// Sends the next message and waits for its echo; a parting if the server wants to end.
    async fn echo(&mut self, socket: &mut Socket, visit: &Visit) -> Result<Option<Parting>, Failure> {
        let sent = self.next.to_string();
        let sent_at = Instant::now();
        // A server that has said goodbye may be gone before we write: what it said decides.
        let _ = socket.send(Message::text(sent.clone())).await;
        match next(socket).await? {
            Arrived::Text(echo) if echo == sent => {
                visit.message();
                self.next += 1;
                Ok(None)
            }
            Arrived::Text(echo) => Err(Failure::new(
                FailureClass::EchoWrong,
                format!("sent {sent}, {} came back", echo.escape_debug()),
            )),
            Arrived::Close(frame) => closed(socket, frame, visit, Some(sent_at)).await.map(Some),
        }
    }
}

impl Session for WebSocket {
    async fn attend(&mut self, visit: &mut Visit) -> Result<Parting, Failure> {
        let timeout = visit.timeout();
        let mut socket = within(timeout, "opening a WebSocket", self.open(visit)).await?;
        loop {
            let echo = self.echo(&mut socket, visit);
            if let Some(parting) = within(timeout, "the echo of a message", echo).await? {
                return Ok(parting);
            }
            tokio::select! {
                () = tokio::time::sleep(self.client.pause) => {}
                arrived = next(&mut socket) => return match arrived? {
                    Arrived::Close(frame) => closed(&mut socket, frame, visit, None).await,
                    Arrived::Text(text) => {
                        Err(Failure::malformed(format!("unasked message {}", text.escape_debug())))
                    }
                },
                () = visit.over.comes() => return within(timeout, "leaving a WebSocket", leave(&mut socket)).await,
            }
        }
    }
}

/// What a server sends, as far as it matters here.
enum Arrived {
    Text(String),
    Close(Option<CloseFrame>),
}

/// Waits for the next message or the end. Safe to be dropped while it waits.
async fn next(socket: &mut Socket) -> Result<Arrived, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(Arrived::Text(text.to_string())),
            Some(Ok(Message::Close(frame))) => return Ok(Arrived::Close(frame)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(Failure::malformed("a binary message")),
            Some(Err(error)) => return Err(broken(&error)),
            None => return Err(broken(&Error::ConnectionClosed)),
        }
    }
}

fn broken(error: &Error) -> Failure {
    let class = match error {
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => FailureClass::Cut,
        Error::Io(_) => FailureClass::Reset,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => FailureClass::Cut,
        _ => FailureClass::Malformed,
    };
    Failure::new(class, format!("no close frame: {error}"))
}

/// The server has sent a close frame, which we answer.
async fn closed(
    socket: &mut Socket,
    frame: Option<CloseFrame>,
    visit: &Visit,
    unanswered: Option<Instant>,
) -> Result<Parting, Failure> {
    let _ = tokio::time::timeout(GOODBYE, socket.flush()).await;
    match frame {
        Some(CloseFrame { code: CloseCode::Restart | CloseCode::Away, .. }) => {
            visit.asked_to_leave(unanswered)
        }
        Some(CloseFrame { code, reason }) => {
            let text = format!("closed with code {}: \"{}\"", u16::from(code), reason.escape_debug());
            Err(Failure::new(FailureClass::CloseCode, text))
        }
        None => Err(Failure::new(FailureClass::CloseCode, "closed without a code")),
    }
}

/// Says goodbye and waits for the answer. What a server does after our close frame is its own affair, except that it must
/// do something.
async fn leave(socket: &mut Socket) -> Result<Parting, Failure> {
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = socket.close(Some(goodbye)).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            break;
        }
    }
    Ok(Parting::Over)
}
