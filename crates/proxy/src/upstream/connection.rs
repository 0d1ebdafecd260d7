//! One request over one connection to an instance.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cutover_core::routing::Timeouts;
use cutover_core::statistics::Failure;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::headers::keep_alive_timeout;
use crate::upstream::pool::{Pool, Pooled, Reusable, Reuse};

/// An answer's head, and the connection that its body comes on.
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Reusable,
}

/// Why there is no answer.
pub(crate) struct SendFailure {
    pub(crate) failure: Failure,
    /// The request, if not one byte of it can have reached the instance.
    pub(crate) unsent: Option<Request<RequestBody>>,
    /// Whether the connection had carried a request before: its end may have crossed this one.
    pub(crate) reused: bool,
}

/// Sends a request and waits for the answer's head.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    exchange: &Rc<Exchange>,
    mut request: Request<RequestBody>,
    reuse: Reuse,
) -> Result<Sent, SendFailure> {
    let address = exchange.lease().target().instance().address();
    let timeouts = exchange.lease().service().desired().timeouts;
    let (mut connection, reused) = match ready_connection(pool, address, &timeouts, reuse).await {
        Ok(found) => found,
        Err(failure) => return Err(SendFailure { failure, unsent: Some(request), reused: false }),
    };
    request.body_mut().bind(exchange);
    let answer = connection.sender.try_send_request(request);
    match within_first_byte(answer, exchange, timeouts.first_byte).await {
        Some(Ok(response)) => {
            let promised = keep_alive_timeout(response.headers());
            let connection = Reusable::new(connection, address, Rc::clone(pool), promised);
            Ok(Sent { response, connection })
        }
        Some(Err(mut error)) => {
            let unsent = error.take_message().map(|mut request| {
                request.body_mut().unbind();
                request
            });
            let error = error.into_error();
            let failure = match &error {
                // The request's own body failed: its client stood still or went away.
                error if error.is_user() => Failure::ClientGone,
                error if error.is_parse() => Failure::Malformed,
                _ => Failure::Reset,
            };
            Err(SendFailure { failure, unsent, reused })
        }
        None => Err(SendFailure { failure: Failure::FirstByteTimeout, unsent: None, reused }),
    }
}

async fn ready_connection(
    pool: &Rc<Pool>,
    address: SocketAddr,
    timeouts: &Timeouts,
    reuse: Reuse,
) -> Result<(Pooled, bool), Failure> {
    while let Some(mut connection) = pool.take(address, reuse) {
        if connection.sender.is_ready() {
            return Ok((connection, true));
        }
        // The answer has just ended and the connection's task has not been told to want another.
        let ready = tokio::time::timeout(timeouts.connect, connection.sender.ready()).await;
        if matches!(ready, Ok(Ok(()))) {
            return Ok((connection, true));
        }
    }
    match tokio::time::timeout(timeouts.connect, connect(address)).await {
        Ok(Ok(connection)) => Ok((connection, false)),
        Ok(Err(_)) => Err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

async fn connect(address: SocketAddr) -> io::Result<Pooled> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = Rc::new(stream);
    let io = TokioIo::new(SharedStream(Rc::clone(&socket)));
    let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
    // Errors of the connection reach the request that it carries.
    spawn_local(async move {
        let _ = connection.await;
    });
    Ok(Pooled { sender, socket })
}

/// Waits for the answer: at most `limit` after the whole request was sent, and at most twice the idle limit after
/// the last piece that the instance has taken of it: a client that stands still is noticed by its body before.
async fn within_first_byte<F: Future>(answer: F, exchange: &Exchange, limit: Duration) -> Option<F::Output> {
    let mut answer = std::pin::pin!(answer);
    let sending = exchange.idle_timeout() * 2;
    let mut wait = limit.min(sending);
    loop {
        if let Ok(output) = tokio::time::timeout(wait, answer.as_mut()).await {
            return Some(output);
        }
        let limit = if exchange.is_request_sent() { limit } else { sending };
        let stood_still = exchange.stood_still();
        if stood_still >= limit {
            return None;
        }
        wait = limit - stood_still;
    }
}

/// A socket that the pool can look at while the HTTP library reads and writes it.
struct SharedStream(Rc<TcpStream>);

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.map(drop)),
            }
        }
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write) {
            Err(rustix::io::Errno::NOTCONN) | Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
