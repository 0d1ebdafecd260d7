//! Bodies, streamed in both directions: the one place that knows what the HTTP library hands out.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::statistics::Failure;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::exchange::Exchange;
use crate::upstream::Reusable;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body stood still for {0:?}")]
    Idle(Duration),
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

/// Pieces of a body with a limit on the time between two.
struct Pieces {
    incoming: Incoming,
    /// Made at the first wait, so that a body that is there already costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Poll::Pending => {
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::Idle(limit))))
            }
        }
    }
}

/// The body of a request on its way to an instance.
pub(crate) struct RequestBody {
    pieces: Option<Pieces>,
    exchange: Option<Rc<Exchange>>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming) -> Self {
        let pieces = (!incoming.is_end_stream()).then_some(Pieces { incoming, timer: None });
        Self { pieces, exchange: None }
    }

    /// A body of nothing, for a request that is sent once more.
    pub(crate) fn empty() -> Self {
        Self { pieces: None, exchange: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_none()
    }

    /// Binds it to the exchange whose lease it holds from now on; a retry binds it anew.
    pub(crate) fn bind(&mut self, exchange: &Rc<Exchange>) {
        self.exchange = Some(Rc::clone(exchange));
    }

    /// Lets go of the exchange without counting the request as sent.
    pub(crate) fn unbind(&mut self) {
        self.exchange = None;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (true, Some(exchange)) = (self.is_end_stream(), &self.exchange) {
            exchange.request_ended();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let limit = self.exchange.as_ref().map_or(Duration::MAX, |exchange| exchange.idle_timeout());
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        let frame = ready!(pieces.poll(cx, limit));
        match (&frame, &self.exchange) {
            (Some(Ok(_)), Some(exchange)) => exchange.request_moved(),
            (None, _) => self.pieces = None,
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.as_ref().is_none_or(|pieces| pieces.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.pieces.as_ref().map_or_else(|| SizeHint::with_exact(0), |pieces| pieces.incoming.size_hint())
    }
}

/// The body of an answer on its way to a client.
pub(crate) enum AnswerBody {
    /// The proxy's own words.
    Own(Option<Bytes>),
    /// What an instance says.
    Instance(InstanceBody),
}

/// The body of an instance's answer; ends the exchange, and gives the connection back if it ended well.
pub(crate) struct InstanceBody {
    pieces: Pieces,
    exchange: Rc<Exchange>,
    connection: Option<Reusable>,
    broken: bool,
}

impl InstanceBody {
    pub(crate) fn new(incoming: Incoming, exchange: Rc<Exchange>, connection: Reusable) -> Self {
        let pieces = Pieces { incoming, timer: None };
        Self { pieces, exchange, connection: Some(connection), broken: false }
    }

    fn end(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.exchange.is_request_sent() {
            connection.give_back();
        }
    }
}

impl Drop for InstanceBody {
    fn drop(&mut self) {
        if self.connection.is_none() || self.broken {
            return;
        }
        if self.pieces.incoming.is_end_stream() {
            self.end();
        } else {
            self.exchange.failed(Failure::ClientGone);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Self::Instance(body) => {
                let limit = body.exchange.idle_timeout();
                let frame = ready!(body.pieces.poll(cx, limit));
                match &frame {
                    None => body.end(),
                    Some(Err(_)) => {
                        body.broken = true;
                        body.exchange.failed(Failure::Truncated);
                    }
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(words) => words.is_none(),
            Self::Instance(body) => body.pieces.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(words) => SizeHint::with_exact(words.as_ref().map_or(0, |words| words.len() as u64)),
            Self::Instance(body) => body.pieces.incoming.size_hint(),
        }
    }
}
