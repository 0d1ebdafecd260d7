//! Numbered messages over one gRPC call, each to be echoed, until the load is over or the server ends the call (gRPC over
//! HTTP/2, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method};
use tokio::time::Instant;

use crate::client::Client;
use crate::expectation::Note;
use crate::failure::{Failure, FailureClass};
use crate::fault::status_class;
use crate::grpc_message::{frame, take_message};
use crate::h2_connection::{self, H2Connection, Stage, Standing};
use crate::session::{Parting, Session, Visit, within};

/// The status that says: come again, elsewhere.
const UNAVAILABLE: u32 = 14;

/// A client that makes one call after the other.
#[derive(Debug)]
pub(crate) struct GrpcStream {
    client: Client,
    /// The number of the next message; one that has not been echoed is sent again.
    next: u64,
}

/// One call under way.
struct Call {
    connection: H2Connection,
    send: SendStream<Bytes>,
    receive: RecvStream,
    arrived: BytesMut,
}

/// What a call brings.
enum Arrived {
    Message(Vec<u8>),
    /// The end in order, with the trailers' status.
    End(Option<u32>),
}

impl GrpcStream {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone(), next: 0 }
    }

    fn message(&self) -> Bytes {
        frame(self.next.to_string().as_bytes())
    }

    /// Makes the call and sends the first message, because a server may wait for it before it answers.
    async fn open(&self, visit: &mut Visit) -> Result<(Call, Instant), Failure> {
        let mut request = h2_connection::head(&visit.shared.plan, &self.client, Method::POST)?;
        let headers = request.headers_mut();
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        let connection = H2Connection::open(&visit.shared.plan).await?;
        visit.connected();
        let note = visit.shared.expectation.note();
        let failed = |error: h2::Error| connection.failure(&error, Stage::Asked);
        let mut requests = connection.requests().ready().await.map_err(failed)?;
        let (answer, mut send) = requests.send_request(request, false).map_err(failed)?;
        let sent_at = Instant::now();
        send.send_data(self.message(), false).map_err(failed)?;
        let receive = answered(answer, &connection, &note, visit).await?;
        Ok((Call { connection, send, receive, arrived: BytesMut::new() }, sent_at))
    }

    /// Waits for the echo of what was sent; a parting if the server ends the call.
    async fn echo(
        &mut self,
        call: &mut Call,
        visit: &Visit,
        sent_at: Instant,
    ) -> Result<Option<Parting>, Failure> {
        match call.next().await? {
            Arrived::Message(echo) if echo == self.next.to_string().as_bytes() => {
                visit.message();
                self.next += 1;
                Ok(None)
            }
            Arrived::Message(echo) => {
                let echo = String::from_utf8_lossy(&echo).escape_debug().to_string();
                Err(Failure::new(FailureClass::EchoWrong, format!("sent {}, {echo} came back", self.next)))
            }
            Arrived::End(status) => call.ended(status, visit, Some(sent_at)).await.map(Some),
        }
    }
}

impl Session for GrpcStream {
    async fn attend(&mut self, visit: &mut Visit) -> Result<Parting, Failure> {
        let timeout = visit.timeout();
        let (mut call, mut sent_at) = within(timeout, "opening a gRPC call", self.open(visit)).await?;
        loop {
            let echo = self.echo(&mut call, visit, sent_at);
            if let Some(parting) = within(timeout, "the echo of a message", echo).await? {
                return Ok(parting);
            }
            tokio::select! {
                () = tokio::time::sleep(self.client.pause) => {}
                arrived = call.next() => return match arrived? {
                    Arrived::End(status) => call.ended(status, visit, None).await,
                    Arrived::Message(_) => Err(Failure::malformed("a message that nobody asked for")),
                },
                () = visit.over.comes() => return within(timeout, "leaving a gRPC call", call.leave(visit)).await,
            }
            sent_at = Instant::now();
            // If the call has ended, what the server has said of it decides.
            let _ = call.send.send_data(self.message(), false);
        }
    }
}

impl Call {
    /// Waits for the next message or the end. Safe to be dropped while it waits.
    async fn next(&mut self) -> Result<Arrived, Failure> {
        loop {
            if let Some(message) = take_message(&mut self.arrived)? {
                return Ok(Arrived::Message(message));
            }
            let failed = |error: h2::Error| self.connection.failure(&error, Stage::Session);
            match h2_connection::data(&mut self.receive).await.map_err(failed)? {
                Some(piece) => self.arrived.extend_from_slice(&piece),
                None => {
                    let trailers = self.receive.trailers().await.map_err(failed)?;
                    if !self.arrived.is_empty() {
                        return Err(Failure::new(FailureClass::Partial, "ended in the middle of a message"));
                    }
                    return Ok(Arrived::End(trailers.as_ref().and_then(grpc_status)));
                }
            }
        }
    }

    /// Judges the end of a call that the server has ended.
    async fn ended(
        &self,
        status: Option<u32>,
        visit: &Visit,
        unanswered: Option<Instant>,
    ) -> Result<Parting, Failure> {
        if self.connection.standing().await == Standing::GoneAway {
            visit.goaway();
        }
        match (status, unanswered) {
            (Some(UNAVAILABLE), unanswered) => visit.asked_to_leave(unanswered),
            (Some(0), None) => Ok(Parting::Finished),
            (Some(0), Some(_)) => {
                Err(Failure::new(FailureClass::EchoLost, "ended well without the last echo"))
            }
            (status, _) => Err(bad_status(status)),
        }
    }

    /// Ends our half and waits for the server's. A server that says at that moment that it is unavailable has had the
    /// same thought.
    async fn leave(&mut self, visit: &Visit) -> Result<Parting, Failure> {
        let _ = self.send.send_data(Bytes::new(), true);
        match self.next().await? {
            Arrived::End(Some(0)) => Ok(Parting::Over),
            Arrived::End(status) => self.ended(status, visit, None).await,
            Arrived::Message(_) => Err(Failure::malformed("a message that nobody asked for")),
        }
    }
}

/// Waits for the answer's head. A call that is turned away before it began (no message can have been lost) is a failure
/// with whatever status: its user has no call.
async fn answered(
    answer: ResponseFuture,
    connection: &H2Connection,
    note: &Note,
    visit: &mut Visit,
) -> Result<RecvStream, Failure> {
    let answer = answer.await.map_err(|error| connection.failure(&error, Stage::Asked))?;
    if let Some(class) = status_class(answer.status().as_u16()) {
        return Err(Failure::new(class, format!("status {} in place of 200", answer.status().as_u16())));
    }
    if answer.headers().contains_key("grpc-status") {
        let status = bad_status(grpc_status(answer.headers()));
        return Err(Failure::new(status.class, format!("turned away: {}", status.text)));
    }
    let kind = answer.headers().get("content-type").map_or(b"".as_slice(), |value| value.as_bytes());
    if !kind.starts_with(b"application/grpc") {
        return Err(Failure::malformed("an answer that is no gRPC"));
    }
    visit.open(note, &h2_connection::headers(answer.headers()))?;
    Ok(answer.into_body())
}

fn grpc_status(trailers: &HeaderMap) -> Option<u32> {
    trailers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn bad_status(status: Option<u32>) -> Failure {
    let text = status.map_or("no grpc-status".to_owned(), |status| format!("grpc-status {status}"));
    Failure::new(FailureClass::GrpcStatus, text)
}
