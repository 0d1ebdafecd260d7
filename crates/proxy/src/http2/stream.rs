//! Frames of one HTTP/2 stream, towards either side, under flow control.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use h2::{RecvStream, SendStream};

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

/// Sends data as far as the other end's window allows, and waits for more of it.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, ends: bool) -> io::Result<()> {
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
