//! A connection that is read in turns: after so many bytes those who wait for what was read come first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Bytes of one turn: a frame of the usual size. Heads of fourteen bytes take a kilobyte each once they are read, and no window
/// holds them back: without turns all that the kernel keeps, megabytes, would be read before anybody could say that it is too
/// much.
const TURN: usize = 16 * 1024;

/// The connection, and what is left of its turn.
pub(crate) struct InTurns {
    stream: Stream,
    left: usize,
}

impl InTurns {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, left: TURN }
    }
}

impl AsyncRead for InTurns {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, left } = self.get_mut();
        if *left == 0 {
            *left = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        if read.is_pending() {
            *left = TURN;
        }
        ready!(read)?;
        *left = left.saturating_sub(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for InTurns {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn after_each_turn_others_come_first_and_nothing_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        // All of it is there before any of it is read.
        socket2::SockRef::from(&client).set_send_buffer_size(20 * TURN).unwrap();
        client.write_all(&vec![7; 10 * TURN]).await.unwrap();
        drop(client);
        let mut stream = InTurns::new(Stream::Plain(server));
        let (mut all, mut most, mut turn) = (0, 0, 0);
        let mut buffer = vec![0; TURN / 4];
        loop {
            let polled = std::future::poll_fn(|cx| {
                let mut buf = ReadBuf::new(&mut buffer);
                Poll::Ready(
                    Pin::new(&mut stream).poll_read(cx, &mut buf).map(|read| (read, buf.filled().len())),
                )
            });
            match polled.await {
                Poll::Ready((read, 0)) => {
                    most = most.max(turn);
                    break read.unwrap();
                }
                Poll::Ready((_, count)) => (all, turn) = (all + count, turn + count),
                Poll::Pending => {
                    most = most.max(std::mem::take(&mut turn));
                    tokio::task::yield_now().await;
                }
            }
        }
        assert_eq!(all, 10 * TURN);
        assert!((1..=TURN + TURN / 4).contains(&most), "{most} at once");
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    }
}
