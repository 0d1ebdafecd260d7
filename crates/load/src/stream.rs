//! A stream to the target, with or without TLS: opened so that each way of not getting one has its class.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::{Failure, FailureClass};
use crate::plan::Plan;
use crate::tls::Protocol;

/// What is read of bytes that nobody asked for; enough to tell what they are.
const UNASKED_BYTES: usize = 64;

/// A connection to the target.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// What a look at an idle connection found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing has arrived: it can be used.
    Quiet,
    /// The server closed it while it was idle, which is its right (RFC 9112 section 9.5).
    Closed,
    /// The server sent something that nobody asked for.
    Spoke(Vec<u8>),
}

impl Stream {
    pub(crate) async fn open(plan: &Plan, protocol: Protocol) -> Result<Self, Failure> {
        let target = plan.target;
        let stream = TcpStream::connect(target).await.map_err(|error| connect_failed(target, &error))?;
        stream.set_nodelay(true).map_err(|error| connect_failed(target, &error))?;
        let Some(tls) = &plan.tls else {
            return Ok(Self::Plain(stream));
        };
        let failed =
            |text: String| Failure::new(FailureClass::TlsFailed, format!("TLS with {target}: {text}"));
        let connector = TlsConnector::from(tls.config(protocol));
        let stream = connector
            .connect(tls.server_name.clone(), stream)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        // A server of HTTP/1.1 need not know of protocols to agree on; one of HTTP/2 must (RFC 9113 section 3.2).
        if agreed != Some(protocol.alpn()) && !(agreed.is_none() && protocol == Protocol::Http1) {
            let agreed = agreed.map_or_else(|| "none".into(), String::from_utf8_lossy);
            return Err(failed(format!("the protocol agreed on is {agreed}")));
        }
        Ok(Self::Secure(Box::new(stream)))
    }

    /// Asks the kernel whether the server has closed the connection or sent something.
    ///
    /// This goes past tokio on purpose: its readiness is as old as the runtime's last poll, and a FIN that
    /// has arrived since would make an orderly close look like a failed request. What is read is lost to the
    /// connection, which must not be used again unless it is quiet.
    pub(crate) async fn look(&mut self) -> Idle {
        let mut unasked = [0; UNASKED_BYTES];
        let read = match self {
            Self::Plain(stream) => (&*SockRef::from(&*stream)).read(&mut unasked),
            Self::Secure(stream) => look_through(stream, &mut unasked).await,
        };
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Idle::Quiet,
            Ok(count) if count > 0 => Idle::Spoke(unasked[..count].to_vec()),
            Ok(_) | Err(_) => Idle::Closed,
        }
    }
}

/// With TLS, bytes in the kernel may be no more than tickets for later sessions: rustls has to read them, and for that
/// tokio has to have noticed them.
async fn look_through(stream: &mut TlsStream<TcpStream>, unasked: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut buffer = ReadBuf::new(unasked);
        let read =
            poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer))).await;
        if let Poll::Ready(read) = read {
            return read.map(|()| buffer.filled().len());
        }
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(stream.get_ref().0).peek(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn connect_failed(target: SocketAddr, error: &io::Error) -> Failure {
    let class = match error.kind() {
        ErrorKind::ConnectionRefused => FailureClass::Refused,
        _ => FailureClass::ConnectFailed,
    };
    Failure::new(class, format!("connect to {target}: {error}"))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
