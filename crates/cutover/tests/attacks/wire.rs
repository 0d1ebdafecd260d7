//! HTTP/1.1 by hand, for either end of a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::patience::in_time;

/// One connection.
pub struct Wire {
    stream: TcpStream,
    /// What has come and was not taken yet.
    pending: Vec<u8>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        Self::of(in_time("a connection", TcpStream::connect(address)).await.unwrap())
    }

    /// One whose kernel takes little before it is read.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::of(in_time("a connection", socket.connect(address)).await.unwrap())
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, pending: Vec::new() }
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends; the other end may have gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("room to send", self.try_send(bytes)).await.unwrap();
    }

    /// Sends the same again and again, at most so often, until something comes or the connection has ended; answers how
    /// often it was sent. What is sent after an answer is taken and thrown away for a while, so that no reset takes the
    /// answer away: that is no part of an attack.
    pub async fn pour(&mut self, piece: impl AsRef<[u8]>, most: usize) -> usize {
        let (mut read, mut write) = self.stream.split();
        let mut sent = 0;
        let pouring = async {
            while sent < most {
                tokio::select! {
                    biased;
                    _ = read.read_buf(&mut self.pending) => break,
                    written = write.write_all(piece.as_ref()) => match written {
                        Ok(()) => sent += 1,
                        Err(_) => break,
                    },
                }
            }
        };
        in_time("an end of taking", pouring).await;
        sent
    }

    /// The same, but one piece at a time, each after a while.
    pub async fn drip(&mut self, piece: impl AsRef<[u8]>, every: Duration, most: usize) -> usize {
        let mut pace = tokio::time::interval(every);
        let mut sent = 0;
        while sent < most && self.pending.is_empty() {
            tokio::select! {
                biased;
                _ = self.stream.read_buf(&mut self.pending) => break,
                _ = pace.tick() => {}
            }
            if self.try_send(&piece).await.is_err() {
                break;
            }
            sent += 1;
        }
        sent
    }

    /// Whether the other end has ended it, as far as can be told now.
    pub fn has_ended(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Ok(0) | Err(_))
            && !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub async fn end_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// `GET` for the host `shop`, and status and body of its answer.
    pub async fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n")).await;
        self.answer().await
    }

    /// Status and body of an answer that has a length.
    pub async fn answer(&mut self) -> (u16, Vec<u8>) {
        let head = self.head().await;
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        (status(&head), self.exactly(length).await)
    }

    /// The head of an answer or a request.
    pub async fn head(&mut self) -> String {
        let head = self.try_head().await;
        head.unwrap_or_else(|| panic!("the end came first: {:?}", String::from_utf8_lossy(&self.pending)))
    }

    /// The same; `None` at the end.
    pub async fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.pending.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.pending.len() < length {
            assert!(self.more().await > 0, "the end came before {length} bytes");
        }
        self.pending.drain(..length).collect()
    }

    /// Everything to the end, be it a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.pending)
    }

    /// How many bytes come to the end; none of them is kept.
    pub async fn count(&mut self) -> u64 {
        let mut total = std::mem::take(&mut self.pending).len() as u64;
        loop {
            match self.more().await {
                0 => return total,
                _ => total += std::mem::take(&mut self.pending).len() as u64,
            }
        }
    }

    /// Reads once more; 0 at the end, be it a reset.
    pub async fn more(&mut self) -> usize {
        let mut piece = vec![0; 64 * 1024];
        let read = in_time("more bytes", self.stream.read(&mut piece)).await.unwrap_or(0);
        self.pending.extend_from_slice(&piece[..read]);
        read
    }

    /// Goes away with a reset instead of an end.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The first value of a field; the name in lower case.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Whether these bytes are an answer with this status.
pub fn says(bytes: &[u8], status: u16) -> bool {
    bytes.starts_with(format!("HTTP/1.1 {status} ").as_bytes())
}
