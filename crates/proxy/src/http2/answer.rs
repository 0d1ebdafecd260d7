//! An answer on its way to a client over HTTP/2.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{HeaderMap, SEC_WEBSOCKET_ACCEPT};
use http::{Response, StatusCode};

use crate::answering::AnswerSink;
use crate::body::{BodySink, Piece};
use crate::head::{AnswerHead, Framing};
use crate::http2::stream::send;

/// The answer to one request.
pub(crate) struct StreamAnswer {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    /// What is left of a body whose length is known: the last frame of it ends the stream.
    left: Option<u64>,
    ended: bool,
    has_begun: bool,
}

impl StreamAnswer {
    pub(crate) fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond, stream: None, left: None, ended: false, has_begun: false }
    }

    fn stream(&mut self) -> io::Result<&mut SendStream<Bytes>> {
        // Without one the client has taken the request back already.
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

fn response(status: u16, map: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map;
    response
}

impl AnswerSink for StreamAnswer {
    fn head(&mut self, head: &AnswerHead<'_>) {
        self.has_begun = true;
        let mut map = head.map();
        let mut status = head.status;
        if status == 101 {
            // RFC 8441, section 5: a WebSocket begins with 200, and proves itself by being HTTP/2.
            status = 200;
            map.remove(SEC_WEBSOCKET_ACCEPT);
        }
        self.ended = head.facts.framing == Framing::Empty;
        self.left = match head.facts.framing {
            Framing::Length(length) if !head.facts.may_trail => Some(length),
            _ => None,
        };
        self.stream = self.respond.send_response(response(status, map), self.ended).ok();
    }

    fn interim(&mut self, head: &AnswerHead<'_>) {
        // A client that has gone is noticed with its answer.
        let _ = self.respond.send_informational(response(head.status, head.map()));
    }

    // Streams end by themselves, and the connection goes on.
    fn end_with_this(&mut self) {}

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn cut(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

impl BodySink for StreamAnswer {
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()> {
        let data = piece.into_shared();
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
            self.ended = *left == 0;
        }
        let ends = self.ended;
        send(self.stream()?, data, ends).await
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let stream = self.stream()?;
        match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        }
        .map_err(io::Error::other)
    }

    fn waits(&self) -> bool {
        false
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None if self.has_begun => Poll::Ready(()),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }
}
