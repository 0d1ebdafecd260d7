//! HTTP/1.1 by hand, for either end of a connection.

use std::io;
use std::net::SocketAddr;

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

    /// Takes what can be taken at once, and tells how much that was.
    pub fn send_now(&mut self, bytes: &[u8]) -> usize {
        self.stream.try_write(bytes).unwrap_or_default()
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
