//! An answer on its way to a client over HTTP/2.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::header::{HeaderMap, SEC_WEBSOCKET_ACCEPT};
use http::{Response, StatusCode};

use crate::answering::AnswerSink;
use crate::body::{BodySink, Piece};
use crate::head::{AnswerHead, Framing};
use crate::http2::connection::Going;
use crate::http2::stream::FrameSink;

/// The answer to one request.
pub(crate) struct StreamAnswer {
    respond: SendResponse<Bytes>,
    frames: Option<FrameSink>,
    has_begun: bool,
    /// What is said to the connection.
    going: Rc<Going>,
}

impl StreamAnswer {
    pub(crate) fn new(respond: SendResponse<Bytes>, going: Rc<Going>) -> Self {
        Self { respond, frames: None, has_begun: false, going }
    }

    fn frames(&mut self) -> io::Result<&mut FrameSink> {
        // Without them the client has taken the request back already.
        self.frames.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
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
        let ends = head.facts.framing == Framing::Empty;
        let stream = self.respond.send_response(response(status, map), ends).ok();
        self.frames = stream.map(|stream| FrameSink::new(stream, ends));
    }

    fn interim(&mut self, head: &AnswerHead<'_>) {
        // A client that has gone is noticed with its answer.
        let _ = self.respond.send_informational(response(head.status, head.map()));
    }

    // Streams end by themselves, and the connection goes on.
    fn end_with_this(&mut self) {}

    fn renew(&mut self) -> bool {
        self.going.want()
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn cut(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.reset(Reason::INTERNAL_ERROR);
        }
    }
}

impl BodySink for StreamAnswer {
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()> {
        self.frames()?.data(piece.into_shared()).await
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        self.frames()?.end(trailers).await
    }

    fn waits(&self) -> bool {
        self.frames.as_ref().is_some_and(FrameSink::waits)
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.frames {
            Some(frames) => frames.flush().await,
            None => Ok(()),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.frames {
            Some(frames) => frames.poll_reset(cx),
            None if self.has_begun => Poll::Ready(()),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }
}
