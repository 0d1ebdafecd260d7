//! Frames of one HTTP/2 stream, towards either side, under flow control.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use crate::body::{BodySource, Piece, SourceError};
use crate::h1::chunks::may_trail;

/// A body as frames.
pub(crate) struct Frames {
    stream: RecvStream,
    /// Bytes of the piece that was handed out last: the other end may send as many again once they are on their way.
    held: usize,
    data_ended: bool,
}

impl Frames {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, held: 0, data_ended: false }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.stream.is_end_stream()
    }
}

impl BodySource for Frames {
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        let held = std::mem::take(&mut self.held);
        if held > 0 && self.stream.flow_control().release_capacity(held).is_err() {
            return Err(SourceError::Closed);
        }
        while !self.data_ended {
            match poll_fn(|cx| self.stream.poll_data(cx)).await {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.held = data.len();
                    return Ok(Some(Piece::Shared(data)));
                }
                Some(Err(error)) => return Err(source_error(&error)),
                None => self.data_ended = true,
            }
        }
        match poll_fn(|cx| self.stream.poll_trailers(cx)).await {
            Ok(Some(mut trailers)) => {
                let kept: Vec<_> =
                    trailers.keys().filter(|name| !may_trail(name.as_str().as_bytes())).cloned().collect();
                for name in kept {
                    trailers.remove(name);
                }
                Ok(Some(Piece::Trailers(trailers)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(source_error(&error)),
        }
    }
}

fn source_error(error: &h2::Error) -> SourceError {
    if error.is_library() { SourceError::Malformed } else { SourceError::Closed }
}

/// Frames on their way out. The last piece waits until it is known whether it ends the stream, so that no frame has to be
/// sent for the end alone.
pub(crate) struct FrameSink {
    stream: SendStream<Bytes>,
    last: Option<Bytes>,
    ended: bool,
}

impl FrameSink {
    /// With whether the head has ended the stream.
    pub(crate) fn new(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self { stream, last: None, ended }
    }

    pub(crate) fn waits(&self) -> bool {
        self.last.is_some()
    }

    pub(crate) async fn data(&mut self, data: Bytes) -> io::Result<()> {
        self.flush().await?;
        self.last = Some(data).filter(|data| !data.is_empty());
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self.last.take() {
            Some(data) => send(&mut self.stream, data, false).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        match (self.last.take(), trailers) {
            (last, Some(trailers)) => {
                if let Some(data) = last {
                    send(&mut self.stream, data, false).await?;
                }
                self.stream.send_trailers(trailers).map_err(io::Error::other)
            }
            (Some(data), None) => send(&mut self.stream, data, true).await,
            (None, None) => self.stream.send_data(Bytes::new(), true).map_err(io::Error::other),
        }
    }

    /// The stream goes on after what was taken for its end: a WebSocket's.
    pub(crate) fn reopen(&mut self) {
        self.ended = false;
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(drop)
    }
}

/// Sends data as far as the other end's window allows, and waits for more of it.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, ends: bool) -> io::Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let mut capacity = stream.capacity();
        while capacity == 0 {
            capacity = match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(capacity)) => capacity,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            };
        }
        let part = data.split_to(capacity.min(data.len()));
        stream.send_data(part, ends && data.is_empty()).map_err(io::Error::other)?;
    }
    Ok(())
}
