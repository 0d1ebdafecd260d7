//! The lean driver of the CPU figures: kept-alive connections, each with one request in flight, as wrk does
//! it.
//!
//! `cutover-load` counts and judges too much to share a CPU with the backend; here a request costs little
//! more than its system calls. Every answer is still checked: status 200 and a whole body of the length that was
//! asked for.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::request::Shape;

/// Room for the head of one answer; a longer one is an error.
const MAX_HEAD_BYTES: usize = 4096;
const MAX_HEADERS: usize = 32;

/// How a connection of the driver is opened: by a bare address, or by what stands in front of it.
pub trait Door: Clone + Send + Sync + 'static {
    /// What requests are written to.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Opens a connection.
    fn open(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for SocketAddr {
    type Stream = TcpStream;

    async fn open(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Connections that ask as fast as they are answered. Dropping it closes them.
#[derive(Debug)]
pub struct ClosedLoop {
    completed: Arc<AtomicU64>,
    connections: JoinSet<DriveError>,
}

/// Why a connection could not go on; a figure with one of these is void.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The connection failed or was closed.
    #[error("a connection of the driver failed")]
    Connection(#[from] io::Error),
    /// The answer was not what was asked for.
    #[error("a wrong answer: {0}")]
    WrongAnswer(String),
    /// A task of the driver panicked.
    #[error("a task of the driver died")]
    Died,
}

impl ClosedLoop {
    /// Opens `connections` and starts asking, on the present tokio runtime.
    #[must_use]
    pub fn start(door: &impl Door, connections: usize, shape: Shape) -> Self {
        let completed = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let (door, completed) = (door.clone(), Arc::clone(&completed));
            tasks.spawn(async move {
                match drive(&door, shape, &completed).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                }
            });
        }
        Self { completed, connections: tasks }
    }

    /// Requests answered so far.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// The error of a connection that has ended; all should go on until this is dropped.
    ///
    /// # Errors
    ///
    /// [`DriveError`] of the first that ended.
    pub fn check(&mut self) -> Result<(), DriveError> {
        match self.connections.try_join_next() {
            None => Ok(()),
            Some(ended) => Err(ended.unwrap_or(DriveError::Died)),
        }
    }
}

async fn drive(
    door: &impl Door,
    shape: Shape,
    completed: &AtomicU64,
) -> Result<std::convert::Infallible, DriveError> {
    let mut client = Client::over(door.open().await?, shape);
    loop {
        client.ask().await?;
        completed.fetch_add(1, Ordering::Relaxed);
    }
}

/// One kept-alive connection.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    request: Vec<u8>,
    answer: Vec<u8>,
    body_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Asks one kind of request on a connection.
    pub fn over(stream: S, shape: Shape) -> Self {
        let body_bytes = shape.body_bytes();
        Self { stream, request: shape.wire(), answer: vec![0; MAX_HEAD_BYTES + body_bytes], body_bytes }
    }

    /// Asks once and reads the whole answer.
    ///
    /// # Errors
    ///
    /// [`DriveError`] if it is not the one that was asked for.
    pub async fn ask(&mut self) -> Result<(), DriveError> {
        self.stream.write_all(&self.request).await?;
        // A layer of TLS may have kept something.
        self.stream.flush().await?;
        let (mut filled, mut whole) = (0, None);
        loop {
            let count = self.stream.read(&mut self.answer[filled..]).await?;
            if count == 0 && filled == self.answer.len() {
                return Err(DriveError::WrongAnswer("too long".to_owned()));
            }
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            filled += count;
            // The head is read once, however many pieces the body comes in.
            if whole.is_none() {
                whole = whole_length(&self.answer[..filled], self.body_bytes)?;
            }
            match whole {
                Some(length) if length == filled => return Ok(()),
                Some(length) if length < filled => {
                    return Err(DriveError::WrongAnswer("bytes after its end".to_owned()));
                }
                _ => {}
            }
        }
    }

    /// Waits until the other side ends the connection, after an answer that was to be the last.
    ///
    /// # Errors
    ///
    /// [`DriveError`] if it says more, or breaks off.
    pub async fn ended(mut self) -> Result<(), DriveError> {
        match self.stream.read(&mut self.answer).await {
            Ok(0) => Ok(()),
            // The answer was whole, so nothing is lost without the word that ends TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Ok(_) => Err(DriveError::WrongAnswer("bytes after its end".to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

/// Head and body together in bytes, once the head is whole.
fn whole_length(bytes: &[u8], body_bytes: usize) -> Result<Option<usize>, DriveError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut slots);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(DriveError::WrongAnswer(error.to_string())),
    };
    if parsed.code != Some(200) {
        return Err(DriveError::WrongAnswer(format!("status {:?}", parsed.code)));
    }
    let length = parsed
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok())
        .ok_or_else(|| DriveError::WrongAnswer("no content-length".to_owned()))?;
    if length != body_bytes {
        return Err(DriveError::WrongAnswer(format!("a body of {length} bytes")));
    }
    Ok(Some(head + length))
}
