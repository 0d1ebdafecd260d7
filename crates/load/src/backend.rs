//! A small, fast HTTP/1.1 application to send traffic to: for tests, for the demo, and cheap enough for the
//! bench.
//!
//! - `GET /` and every other path: 200 with a body of 100 bytes
//! - `GET /slow?ms=N`: the same after N milliseconds, at most one minute
//! - `POST` to any path: reads the whole body and states its length in `x-received-bytes`; a body of at most
//!   64 KiB is echoed, which `x-echo: body` says
//! - every answer names the environment in `x-environment` and the version in `x-version`
//!
//! It is strict where a proxy in front could be wrong: two framings at once, or an unreadable head, get 400
//! and a close.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::framing::{Body, Framing};

const BODY_BYTES: usize = 100;
const ECHO_AT_MOST: usize = 64 * 1024;
const SLOWEST: Duration = Duration::from_secs(60);
const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 8 * 1024;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running application. Dropping it closes its listener and all its connections at once.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    application: Arc<Application>,
    accepting: AbortHandle,
}

/// What all connections share.
#[derive(Debug)]
struct Application {
    identity: String,
    /// The answer to an ordinary GET with status 200, head and body, made once.
    ready_answer: Vec<u8>,
    body: Vec<u8>,
    status: AtomicU16,
    requests: AtomicU64,
    received_bytes: AtomicU64,
    connections: AtomicU64,
}

impl Backend {
    /// Listens on `bind` (port 0 for one from the kernel) and serves on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and IO enabled.
    pub fn start(bind: SocketAddr, environment: &str, version: &str) -> io::Result<Self> {
        let listener = StdListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let application = Arc::new(Application::new(environment, version));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&application))).abort_handle();
        Ok(Self { address, application, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has been read.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.application.requests.load(Ordering::Relaxed)
    }

    /// Bytes of all request bodies, without chunk framing.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.application.received_bytes.load(Ordering::Relaxed)
    }

    /// Connections that have been accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.application.connections.load(Ordering::Relaxed)
    }

    /// Answers every request with this status from now on (200 at the start): a release that went bad.
    pub fn set_status(&self, status: u16) {
        self.application.status.store(status, Ordering::Relaxed);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Application {
    fn new(environment: &str, version: &str) -> Self {
        let identity = format!("x-environment: {environment}\r\nx-version: {version}\r\n");
        let mut body = format!("{environment} {version} ").into_bytes();
        body.resize(BODY_BYTES - 1, b'.');
        body.push(b'\n');
        let mut application = Self {
            identity,
            ready_answer: Vec::new(),
            body,
            status: AtomicU16::new(200),
            requests: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        };
        application.ready_answer = application.answer(200, "", &application.body, true);
        application
    }

    fn answer(&self, status: u16, headers: &str, body: &[u8], keep_alive: bool) -> Vec<u8> {
        let identity = &self.identity;
        let close = if keep_alive { "" } else { "connection: close\r\n" };
        let reason = if status == 200 { "OK" } else { "Status" };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\n{identity}{headers}{close}content-length: {length}\r\n\r\n"
        );
        let mut wire = head.into_bytes();
        wire.extend_from_slice(body);
        wire
    }
}

async fn accept(listener: TcpListener, application: Arc<Application>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    application.connections.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(stream, Arc::clone(&application)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends; its errors are its client's to notice.
async fn serve(mut stream: TcpStream, application: Arc<Application>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    loop {
        let Some(request) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        application.requests.fetch_add(1, Ordering::Relaxed);
        let status = application.status.load(Ordering::Relaxed);
        let Ok(request) = request else {
            return stream.write_all(&application.answer(400, "", b"", false)).await;
        };
        if let Some(delay) = request.delay {
            tokio::time::sleep(delay).await;
        }
        if request.is_plain && status == 200 {
            stream.write_all(&application.ready_answer).await?;
            continue;
        }
        if request.expects_continue {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let Some(body) = read_body(&mut stream, &mut buffer, request.framing).await? else {
            return stream.write_all(&application.answer(400, "", b"", false)).await;
        };
        application.received_bytes.fetch_add(body.received, Ordering::Relaxed);
        let wire = if request.has_body {
            let echoes = body.received <= ECHO_AT_MOST as u64;
            let echo = if echoes { "x-echo: body\r\n" } else { "" };
            let headers = format!("x-received-bytes: {}\r\n{echo}", body.received);
            application.answer(status, &headers, if echoes { &body.kept } else { b"" }, request.keep_alive)
        } else {
            application.answer(status, "", &application.body, request.keep_alive)
        };
        // A HEAD's answer has the GET's head and no body (RFC 9110 section 9.3.2).
        let end = if request.head_only { wire.len() - BODY_BYTES } else { wire.len() };
        stream.write_all(&wire[..end]).await?;
        if !request.keep_alive {
            return stream.shutdown().await;
        }
    }
}

/// What a request's head asks for.
struct Request {
    framing: Framing,
    has_body: bool,
    /// HEAD: the length is stated, the body left out.
    head_only: bool,
    keep_alive: bool,
    expects_continue: bool,
    delay: Option<Duration>,
    /// A GET without a body on a connection that is kept: the ready answer serves.
    is_plain: bool,
}

/// A head that cannot be served; the answer is 400.
struct BadHead;

/// Reads the next head; `None` once the client has closed.
async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
) -> io::Result<Option<Result<Request, BadHead>>> {
    loop {
        if !buffer.is_empty() {
            match parse_head(buffer) {
                Ok(None) if buffer.len() <= MAX_HEAD_BYTES => {}
                Ok(None) => return Ok(Some(Err(BadHead))),
                Ok(Some((length, request))) => {
                    buffer.advance(length);
                    return Ok(Some(Ok(request)));
                }
                Err(bad) => return Ok(Some(Err(bad))),
            }
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<(usize, Request)>, BadHead> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BadHead),
    };
    let framing = Framing::of(parsed.headers, Framing::Length(0)).map_err(|_| BadHead)?;
    let says = |name: &str, word: &[u8]| {
        parsed.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case(name)
                && header
                    .value
                    .split(|&byte| byte == b',')
                    .any(|value| value.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    let keep_alive = if parsed.version == Some(1) {
        !says("connection", b"close")
    } else {
        says("connection", b"keep-alive")
    };
    let method = parsed.method.unwrap_or_default();
    let path = parsed.path.unwrap_or_default();
    let delay = path.strip_prefix("/slow?ms=").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let empty = framing == Framing::Length(0);
    let request = Request {
        framing,
        has_body: method == "POST" || !empty,
        head_only: method == "HEAD",
        keep_alive,
        expects_continue: says("expect", b"100-continue"),
        delay: delay.map(|delay| delay.min(SLOWEST)),
        is_plain: method == "GET" && empty && keep_alive,
    };
    Ok(Some((length, request)))
}

/// Reads a whole body; `None` if its chunks make no sense.
async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    framing: Framing,
) -> io::Result<Option<Body>> {
    let mut body = Body::new(framing, ECHO_AT_MOST);
    loop {
        match body.advance(buffer) {
            Ok(true) => return Ok(Some(body)),
            Ok(false) => {}
            Err(_) => return Ok(None),
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
