//! A message as it is written to a connection: heads and small pieces together, large pieces from where they lie.

use std::io::{self, IoSlice, Write as _};
use std::rc::Rc;

use http::HeaderMap;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::body::{BodySink, Piece};
use crate::buffers::Buffers;
use crate::head::Framing;
use crate::head::request::field;

/// A piece up to this size is copied, so that it goes out with what stands before it.
const COPIED: usize = 4 * 1024;

/// Writes one message.
pub(crate) struct Writer<W> {
    io: W,
    buffers: Rc<Buffers>,
    /// What waits to be sent.
    out: Vec<u8>,
    framing: Framing,
    /// Of a body with a length.
    left: u64,
    sent: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(crate) fn new(io: W, buffers: Rc<Buffers>) -> Self {
        Self { io, buffers, out: Vec::new(), framing: Framing::Empty, left: 0, sent: false }
    }

    /// For heads.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = self.buffers.small();
        }
        &mut self.out
    }

    /// How the body will be framed, once its head was written.
    pub(crate) fn frame(&mut self, framing: Framing) {
        self.framing = framing;
        self.left = if let Framing::Length(length) = framing { length } else { 0 };
    }

    /// Whether nothing but the end of the connection ends the body.
    pub(crate) fn ends_by_closing(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    pub(crate) fn io(&self) -> &W {
        &self.io
    }

    async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        let (mut first, mut second) = (self.out.as_slice(), piece);
        while !first.is_empty() || !second.is_empty() {
            let written = if first.is_empty() {
                self.io.write(second).await?
            } else if second.is_empty() {
                self.io.write(first).await?
            } else {
                self.io.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent = true;
            let of_first = written.min(first.len());
            first = &first[of_first..];
            second = &second[written - of_first..];
        }
        self.out.clear();
        // With TLS, what was taken may not have been sent.
        self.io.flush().await
    }

    fn give_back(&mut self) {
        if self.out.capacity() > 0 {
            self.buffers.give_back(std::mem::take(&mut self.out));
        }
    }
}

impl<W: AsyncWrite + Unpin> BodySink for Writer<W> {
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()> {
        let bytes = piece.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        match self.framing {
            // Nobody asked for a body; whoever reads the next message would read it.
            Framing::Empty => return Err(io::ErrorKind::InvalidData.into()),
            Framing::Length(_) => {
                let left = self.left.checked_sub(bytes.len() as u64);
                self.left = left.ok_or(io::ErrorKind::InvalidData)?;
            }
            Framing::Chunked => write!(self.out(), "{:x}\r\n", bytes.len())?,
            Framing::UntilClose => {}
        }
        if self.out.len() + bytes.len() <= COPIED {
            self.out().extend_from_slice(bytes);
        } else {
            self.send(bytes).await?;
        }
        if self.framing == Framing::Chunked {
            self.out().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        match self.framing {
            Framing::Length(_) if self.left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Framing::Chunked => {
                let out = self.out();
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flatten() {
                    field(out, name.as_str().as_bytes(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
        self.flush().await?;
        if self.framing == Framing::UntilClose {
            self.io.shutdown().await?;
        }
        self.give_back();
        Ok(())
    }

    fn waits(&self) -> bool {
        !self.out.is_empty()
    }

    fn has_sent(&self) -> bool {
        self.sent
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() { Ok(()) } else { self.send(&[]).await }
    }
}

impl<W> Drop for Writer<W> {
    fn drop(&mut self) {
        if self.out.capacity() > 0 {
            self.buffers.give_back(std::mem::take(&mut self.out));
        }
    }
}
