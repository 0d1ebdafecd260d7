//! HTTP/1.1 by hand: each piece is read when it has come, and interim answers are seen.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::patience::in_time;

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// What has come and was not taken yet.
    pending: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    lines: Vec<(String, String)>,
}

impl Head {
    /// The first value of a field; the name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    /// Either end of a connection.
    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, pending: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// `GET` for the host `shop`, and the head of the answer.
    pub async fn get(&mut self, path: &str) -> Head {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n")).await;
        self.head().await
    }

    /// The head of an answer, be it interim or not.
    pub async fn head(&mut self) -> Head {
        let text = self.until("\r\n\r\n").await;
        let (first, fields) = text.split_once("\r\n").unwrap();
        let lines = fields.lines().filter_map(|line| line.split_once(':'));
        Head {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            lines: lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
        }
    }

    /// Everything up to and with `end`.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.pending.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let taken: Vec<u8> = self.pending.drain(..at + end.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            assert!(self.more().await > 0, "the end came before {end:?}: {:?}", self.so_far());
        }
    }

    /// So many bytes.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.pending.len() < length {
            assert!(self.more().await > 0, "the end came before {length} bytes: {:?}", self.so_far());
        }
        self.pending.drain(..length).collect()
    }

    /// The next chunk of a chunked body; empty for the last.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim().split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            return Vec::new();
        }
        let mut chunk = self.exactly(size + 2).await;
        chunk.truncate(size);
        chunk
    }

    /// The body of an answer, by whatever frames it, and the lines of its trailer section.
    pub async fn body(&mut self, head: &Head) -> (String, String) {
        if let Some(length) = head.field("content-length") {
            let body = self.exactly(length.parse().unwrap()).await;
            return (String::from_utf8(body).unwrap(), String::new());
        }
        assert_eq!(head.field("transfer-encoding"), Some("chunked"), "{head:?}");
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        let mut trailers = String::new();
        loop {
            let line = self.until("\r\n").await;
            if line == "\r\n" {
                return (String::from_utf8(body).unwrap(), trailers);
            }
            trailers.push_str(&line);
        }
    }

    /// Whether nothing has come that was not taken.
    pub fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        self.pending.is_empty()
            && matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    async fn more(&mut self) -> usize {
        let mut piece = [0; 16 * 1024];
        let read = in_time("more bytes", self.stream.read(&mut piece)).await.unwrap();
        self.pending.extend_from_slice(&piece[..read]);
        read
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
