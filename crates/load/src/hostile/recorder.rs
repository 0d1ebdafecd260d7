//! The upstream that remembers every byte it received, in the order of arrival.
//!
//! Each whole request is answered with 200 and a body `ok`, and the number under which it was recorded: so a
//! client that got another one's answer is found out. What has no single meaning is answered with 400 and a close.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::canonical::canonical;
use super::request::{self, Reading, Request};

/// The field of an answer that holds the request's number.
pub(crate) const NUMBER: &str = "x-recorded";
const READ_BYTES: usize = 64 * 1024;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running upstream. Dropping it closes its listener and all its connections.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    accepting: AbortHandle,
}

/// All that has ever been received. Marks are lengths of these lists, so nothing is taken out.
#[derive(Debug, Default)]
struct Log {
    connections: Vec<Connection>,
    requests: Vec<Recorded>,
    deviations: Vec<String>,
}

#[derive(Debug)]
struct Connection {
    received: Vec<u8>,
    /// How much of it belongs to whole requests.
    read: usize,
    open: bool,
}

/// A whole request.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) number: usize,
    pub(crate) target: Vec<u8>,
    pub(crate) canonical: Vec<u8>,
}

/// A moment in the recording.
#[derive(Debug)]
pub(crate) struct Mark {
    received: Vec<usize>,
    requests: usize,
    deviations: usize,
}

/// What was received since a mark.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) requests: Vec<Recorded>,
    /// Why bytes had no single meaning.
    pub(crate) deviations: Vec<String>,
    /// Beginnings of requests that never became whole, each with whether its connection is still open.
    pub(crate) begun: Vec<(Vec<u8>, bool)>,
    /// Every byte, one connection after the other.
    pub(crate) bytes: Vec<u8>,
}

impl Recorder {
    /// Listens on `bind` (port 0 for one from the kernel) on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and IO enabled.
    pub fn start(bind: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&log))).abort_handle();
        Ok(Self { address, log, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn mark(&self) -> Mark {
        let log = lock(&self.log);
        Mark {
            received: log.connections.iter().map(|connection| connection.received.len()).collect(),
            requests: log.requests.len(),
            deviations: log.deviations.len(),
        }
    }

    pub(crate) fn since(&self, mark: &Mark) -> Recording {
        let log = lock(&self.log);
        let mut recording = Recording {
            requests: log.requests[mark.requests..].to_vec(),
            deviations: log.deviations[mark.deviations..].to_vec(),
            begun: Vec::new(),
            bytes: Vec::new(),
        };
        for (index, connection) in log.connections.iter().enumerate() {
            let known = mark.received.get(index).copied().unwrap_or(0);
            if connection.received.len() > known {
                recording.bytes.extend_from_slice(&connection.received[known..]);
                let begun = &connection.received[connection.read..];
                if !begun.is_empty() {
                    recording.begun.push((begun.to_vec(), connection.open));
                }
            }
        }
        recording
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A panic elsewhere leaves lists that are whole: each is changed by one push.
fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, log: Arc<Mutex<Log>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let index = lock(&log).add_connection();
                    let log = Arc::clone(&log);
                    connections.spawn(async move {
                        // How it ended is the proxy's affair; that it ended is what the judge asks.
                        let _ = serve(stream, &log, index).await;
                        lock(&log).connections[index].open = false;
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Log>, index: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; READ_BYTES];
    // 100 is sent once for each request, and not if its body is here already.
    let mut continued = false;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        lock(log).connections[index].received.extend_from_slice(&buffer[..count]);
        loop {
            let next = lock(log).next_of(index);
            match next {
                Next::Answer { number, head_only, close } => {
                    continued = false;
                    stream.write_all(answer(number, head_only, close).as_bytes()).await?;
                    if close {
                        return stream.shutdown().await;
                    }
                }
                Next::Deviation => {
                    let refusal =
                        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(refusal).await?;
                    return stream.shutdown().await;
                }
                Next::More { expects_continue } => {
                    if expects_continue && !continued {
                        continued = true;
                        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                    }
                    break;
                }
            }
        }
    }
}

fn answer(number: usize, head_only: bool, close: bool) -> String {
    let close = if close { "connection: close\r\n" } else { "" };
    let body = if head_only { "" } else { "ok" };
    format!("HTTP/1.1 200 OK\r\n{NUMBER}: {number}\r\n{close}content-length: 2\r\n\r\n{body}")
}

/// What the bytes of a connection ask for.
enum Next {
    Answer { number: usize, head_only: bool, close: bool },
    Deviation,
    More { expects_continue: bool },
}

impl Log {
    fn add_connection(&mut self) -> usize {
        self.connections.push(Connection { received: Vec::new(), read: 0, open: true });
        self.connections.len() - 1
    }

    /// Records the next whole request of a connection, if there is one.
    fn next_of(&mut self, index: usize) -> Next {
        let connection = &mut self.connections[index];
        let unread = &connection.received[connection.read..];
        if unread.is_empty() {
            return Next::More { expects_continue: false };
        }
        match request::read(unread) {
            Ok(Reading::Whole(request, used)) => {
                connection.read += used;
                let number = self.requests.len();
                let (target, canonical) = (request.target.clone(), canonical(&request));
                self.requests.push(Recorded { number, target, canonical });
                Next::Answer { number, head_only: request.method == b"HEAD", close: closes(&request) }
            }
            Ok(Reading::Partial { expects_continue }) => Next::More { expects_continue },
            Err(deviation) => {
                let beginning = unread[..unread.len().min(200)].escape_ascii();
                self.deviations.push(format!("{deviation}: \"{beginning}\""));
                Next::Deviation
            }
        }
    }
}

fn closes(request: &Request) -> bool {
    let asks = |option: &[u8]| {
        let connection = request.fields.iter().filter(|field| field.name == b"connection");
        connection
            .flat_map(|field| field.value.split(|byte| *byte == b','))
            .any(|asked| asked.trim_ascii().eq_ignore_ascii_case(option))
    };
    asks(b"close") || (request.version == b"HTTP/1.0" && !asks(b"keep-alive"))
}
