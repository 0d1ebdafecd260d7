//! Bodies, moved as they are between two connections; both are in memory, so nothing is waited for.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Body, Outcome, request};
use crate::body::{BodySink, BodySource, Piece, SourceError};
use crate::buffers::{Buffers, Inbox};
use crate::h1::reader::BodyReader;
use crate::h1::writer::Writer;

/// What an instance gets of the first request among these bytes, which come in pieces of these lengths, over and over. An
/// upgrade is carried no further than its head.
#[must_use]
pub fn carried(bytes: &[u8], pieces: &[u8], trusted: bool) -> Outcome<Vec<u8>> {
    let (request, length) = match request(bytes, trusted) {
        Outcome::Partial => return Outcome::Partial,
        Outcome::Refused(status) => return Outcome::Refused(status),
        Outcome::Whole(request, length) => (request, length),
    };
    match relayed(&bytes[length..], request.body, request.body, pieces) {
        Outcome::Partial => Outcome::Partial,
        Outcome::Refused(status) => Outcome::Refused(status),
        Outcome::Whole(body, more) => Outcome::Whole([request.head, body].concat(), length + more),
    }
}

/// What is written of the body at the start of these bytes, which is framed in one way and becomes framed in another.
#[must_use]
pub fn relayed(bytes: &[u8], from: Body, to: Body, pieces: &[u8]) -> Outcome<Vec<u8>> {
    let mut moving = pin!(moved(bytes, from, to, pieces));
    match moving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Outcome::Partial,
    }
}

async fn moved(bytes: &[u8], from: Body, to: Body, pieces: &[u8]) -> Outcome<Vec<u8>> {
    let buffers = Rc::new(Buffers::default());
    let mut inbox = Inbox::new(Rc::clone(&buffers));
    let mut wire = Wire { bytes, pieces: pieces.iter().cycle() };
    let mut reader = BodyReader::new(&mut wire, &mut inbox, from.into());
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, buffers);
    writer.frame(to.into());
    let trailers = loop {
        match reader.piece().await {
            Ok(None) => break None,
            Ok(Some(Piece::Trailers(trailers))) => break Some(trailers),
            Ok(Some(piece)) => {
                if writer.data(piece).await.is_err() {
                    return Outcome::Refused(500);
                }
            }
            Err(SourceError::Closed) => return Outcome::Partial,
            Err(SourceError::Malformed) => return Outcome::Refused(400),
        }
    };
    if writer.end(trailers).await.is_err() {
        return Outcome::Refused(500);
    }
    drop((writer, reader));
    let left = inbox.unread().len() + wire.bytes.len();
    Outcome::Whole(out, bytes.len() - left)
}

/// A connection on which bytes come in pieces.
struct Wire<'a> {
    bytes: &'a [u8],
    pieces: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.pieces.next().map_or(usize::MAX, |length| usize::from(*length).max(1));
        let (now, later) = self.bytes.split_at(most.min(buf.remaining()).min(self.bytes.len()));
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}
