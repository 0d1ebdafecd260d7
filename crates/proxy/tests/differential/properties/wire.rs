//! A connection in memory for hyper: what the other end sent is there at once, and what it gets is kept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// The connection.
pub(super) struct Wire {
    bytes: Vec<u8>,
    read: usize,
    /// Nothing can be read before something was written.
    waits: bool,
}

impl Wire {
    /// Of a server: a client speaks first.
    pub(super) fn speaking(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), read: 0, waits: false }
    }

    /// Of a client: the server speaks once it was asked.
    pub(super) fn answering(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), read: 0, waits: true }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits {
            return Poll::Pending;
        }
        let count = buf.remaining().min(self.bytes.len() - self.read);
        buf.put_slice(&self.bytes[self.read..self.read + count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.waits = false;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
