//! One connection of the hostile client: it writes and reads at the same time, never loses what has arrived, and
//! knows how the connection ended.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const READ_BYTES: usize = 16 * 1024;

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Neither side has ended it.
    Open,
    /// The proxy closed it in order.
    Closed,
    /// The proxy threw it away.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    stream: TcpStream,
    unsent: Vec<u8>,
    sent: usize,
    /// Bytes in one write.
    at_once: usize,
    pub(crate) received: Vec<u8>,
    pub(crate) end: End,
    /// A write has met the end: what is left will not be sent.
    pub(crate) cut_off: bool,
}

impl Conversation {
    pub(crate) async fn open(proxy: SocketAddr, at_once: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy).await?;
        // Without it the kernel would join what is written in pieces.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unsent: Vec::new(),
            sent: 0,
            at_once,
            received: Vec::new(),
            end: End::Open,
            cut_off: false,
        })
    }

    /// Bytes to be sent while [`go_on_until`](Self::go_on_until) runs.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Says that no more is sent, after all that was said.
    pub(crate) async fn finish(&mut self, deadline: Instant) {
        self.go_on_until(deadline, Self::has_said_all).await;
        self.cut_off |= self.stream.shutdown().await.is_err();
    }

    pub(crate) fn has_said_all(&self) -> bool {
        self.sent == self.unsent.len()
    }

    /// Sends and receives until it is enough, the connection has ended, or the deadline has passed.
    pub(crate) async fn go_on_until(&mut self, deadline: Instant, enough: impl Fn(&Self) -> bool) {
        let mut buffer = vec![0; READ_BYTES];
        while self.end == End::Open && !enough(self) {
            let has_more = !self.cut_off && !self.has_said_all();
            let piece = &self.unsent[self.sent..self.unsent.len().min(self.sent + self.at_once)];
            let (mut reader, mut writer) = self.stream.split();
            tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => self.end = End::Closed,
                    Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => self.end = End::Reset,
                },
                wrote = writer.write(piece), if has_more => match wrote {
                    Ok(count) => self.sent += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Whatever was answered before can still be read.
                    Err(_) => self.cut_off = true,
                },
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }
}
