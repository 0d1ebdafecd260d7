//! Stands in for the proxy: notes what is asked, and answers as the test says. The real one is asked by the tests of the
//! binary; what it must not do can be shown only by one that does it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::bench::RELEASE;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

/// How a request is answered.
pub(crate) enum Reply {
    /// With this, as it is.
    Raw(String),
    /// With this head, and a body of so many bytes.
    Huge(String, u64),
    /// Not at all, for as long as the other side waits.
    Never,
}

/// A proxy that runs; it ends with this.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer of the idle environment.
pub(crate) fn idle(status: &str, fields: &str, body: &str) -> Reply {
    answer(status, &format!("x-cutover-preview: {RELEASE}\r\n{fields}"), body)
}

/// An answer of whoever.
pub(crate) fn answer(status: &str, fields: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{body}"))
}

impl Proxy {
    pub(crate) async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, reply) = (Arc::clone(&seen), Arc::new(reply));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, reply) = (Arc::clone(&noted), Arc::clone(&reply));
                connections.spawn(async move {
                    if let Some(request) = read(stream, &noted).await {
                        let (stream, seen) = request;
                        respond(stream, reply(&seen)).await;
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(mut stream: TcpStream, noted: &Mutex<Vec<Seen>>) -> Option<(TcpStream, Seen)> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.trim_end().lines();
    let mut seen = Seen { line: lines.next().unwrap().to_owned(), ..Seen::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        seen.headers.push((name.to_lowercase(), value.to_owned()));
    }
    if let Some(length) = seen.header("content-length").map(|it| it.parse().unwrap()) {
        seen.body = vec![0; length];
        stream.read_exact(&mut seen.body).await.ok()?;
    } else if seen.header("transfer-encoding").is_some() {
        // The tests look only at its end.
        let mut tail = Vec::new();
        while !tail.ends_with(b"0\r\n\r\n") {
            tail.push(stream.read_u8().await.ok()?);
        }
        seen.body = tail;
    }
    noted.lock().unwrap().push(seen.clone());
    Some((stream, seen))
}

async fn respond(mut stream: TcpStream, reply: Reply) {
    match reply {
        Reply::Raw(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Reply::Huge(head, length) => {
            let text = format!("{head}content-length: {length}\r\n\r\n");
            let mut sent = stream.write_all(text.as_bytes()).await;
            let piece = vec![b'a'; 64 * 1024];
            let mut left = length;
            while left > 0 && sent.is_ok() {
                let now = left.min(64 * 1024);
                sent = stream.write_all(&piece[..usize::try_from(now).unwrap()]).await;
                left -= now;
            }
        }
        Reply::Never => {
            let _ = stream.read_u8().await;
        }
    }
    let _ = stream.shutdown().await;
}
