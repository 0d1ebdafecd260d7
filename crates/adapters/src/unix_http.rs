//! HTTP over a Unix socket: how the processes of cutover speak to one another. If the socket is on another host, a
//! [`Tunnel`] leads to it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// The one who listens on a socket.
#[derive(Debug, Clone)]
pub struct UnixHttp {
    socket: PathBuf,
    tunnel: Option<Arc<Tunnelled>>,
}

/// A way to a socket on another host.
#[async_trait]
pub trait Tunnel: fmt::Debug + Send + Sync {
    /// What errors call it, such as `ssh://deploy@box`.
    fn name(&self) -> String;

    /// The version of cutover at the far end, once a connection has been opened.
    fn peer_version(&self) -> Option<String>;

    /// A header that tells who asks, with every request.
    fn told(&self) -> Option<(HeaderName, HeaderValue)>;

    /// Whether opening a connection may ask a person something.
    fn may_ask(&self) -> bool;

    /// A new connection to the socket at the far end. May take as long as a person needs to type a passphrase.
    ///
    /// # Errors
    /// [`TunnelError`] if it does not get there.
    async fn open(&self) -> Result<Box<dyn Duplex>, TunnelError>;
}

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Why a tunnel does not get to the socket, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TunnelError {
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the far end was reached and has refused, so that trying again is in vain.
    pub refused: bool,
}

/// A tunnel and its connections that wait for the next request: opening one takes long and may ask a person.
#[derive(Debug)]
struct Tunnelled {
    tunnel: Arc<dyn Tunnel>,
    idle: Mutex<Vec<Sender>>,
}

type Sender = SendRequest<Outgoing>;
type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

impl Tunnelled {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    body: Incoming,
    /// Given back to its tunnel once the body has been read.
    sender: Sender,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UnixHttpError {
    /// Nobody listens.
    #[error("nobody answers on `{socket}`: {source}")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection ended in the middle of the exchange: the request may have been carried out.
    #[error("the connection to `{socket}` broke: {source}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: hyper::Error,
    },
    /// The answer was not what was agreed on.
    #[error("the answer of `{socket}` cannot be understood: {source}")]
    Malformed {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The socket is on another host, and the way there is closed.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

impl UnixHttp {
    /// The one who listens on `socket`, which need not exist yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), tunnel: None }
    }

    /// The one who listens at the far end of a tunnel.
    pub fn through(tunnel: Arc<dyn Tunnel>) -> Self {
        let socket = PathBuf::from(tunnel.name());
        Self { socket, tunnel: Some(Arc::new(Tunnelled { tunnel, idle: Mutex::default() })) }
    }

    /// The tunnel, if the socket is on another host.
    #[must_use]
    pub fn tunnel(&self) -> Option<&dyn Tunnel> {
        self.tunnel.as_deref().map(|tunnelled| &*tunnelled.tunnel)
    }

    /// Opens what takes long to open, so that the next request is not delayed by it. Nothing for a socket of this
    /// host.
    ///
    /// # Errors
    /// [`UnixHttpError`] if the way is closed.
    pub async fn warm_up(&self) -> Result<(), UnixHttpError> {
        if let Some(tunnelled) = &self.tunnel {
            let sender = self.sender().await?;
            tunnelled.idle().push(sender);
        }
        Ok(())
    }

    /// A connection that is ready for a request: one that is idle, or a new one.
    async fn sender(&self) -> Result<Sender, UnixHttpError> {
        let unreachable = |source| UnixHttpError::Unreachable { socket: self.socket.clone(), source };
        let Some(tunnelled) = &self.tunnel else {
            let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
            return self.handshake(stream).await;
        };
        loop {
            let Some(mut sender) = tunnelled.idle().pop() else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        self.handshake(tunnelled.tunnel.open().await?).await
    }

    async fn handshake(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Sender, UnixHttpError> {
        let broken = |source| UnixHttpError::Broken { socket: self.socket.clone(), source };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the sender and the reply's body; its errors reach the request.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    /// The socket, or the name of the tunnel that leads to it.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request with a JSON body, or none; to a socket of this host on a connection of its own.
    ///
    /// # Errors
    /// [`UnixHttpError`] if there is no answer; any status is an answer.
    pub async fn send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Reply, UnixHttpError> {
        self.dispatch(method, path, "application/json", self.body(body)?).await
    }

    fn body<B: Serialize>(&self, body: Option<&B>) -> Result<Outgoing, UnixHttpError> {
        let malformed = |source| UnixHttpError::Malformed { socket: self.socket.clone(), source };
        let bytes = body.map(serde_json::to_vec).transpose().map_err(malformed)?.unwrap_or_default();
        Ok(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync())
    }

    /// Sends a request that asks to leave HTTP for another protocol; the reply if that is refused.
    ///
    /// # Errors
    /// [`UnixHttpError`] if there is no answer.
    pub async fn switch<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
        protocol: &'static str,
    ) -> Result<Result<Box<dyn Duplex>, Reply>, UnixHttpError> {
        let broken = |source| UnixHttpError::Broken { socket: self.socket.clone(), source };
        let body = self.body(Some(body))?;
        let exchanged = self.exchange(Method::POST, path, "application/json", body, Some(protocol)).await?;
        let (response, sender) = exchanged;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(Reply { status: response.status(), body: response.into_body(), sender }));
        }
        let stream = hyper::upgrade::on(response).await.map_err(broken)?;
        Ok(Ok(Box::new(TokioIo::new(stream))))
    }

    /// Sends a request whose body comes piece by piece, of a length that is not known before. If a piece is an error,
    /// the connection is dropped in the middle.
    ///
    /// # Errors
    /// [`UnixHttpError`] if there is no answer; any status is an answer, and may come before the last piece.
    pub async fn send_stream(
        &self,
        method: Method,
        path: &str,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Reply, UnixHttpError> {
        let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync();
        self.dispatch(method, path, "application/octet-stream", body).await
    }

    async fn dispatch(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Outgoing,
    ) -> Result<Reply, UnixHttpError> {
        let (response, sender) = self.exchange(method, path, kind, body, None).await?;
        Ok(Reply { status: response.status(), body: response.into_body(), sender })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Outgoing,
        protocol: Option<&'static str>,
    ) -> Result<(Response<Incoming>, Sender), UnixHttpError> {
        let unreachable = |source| UnixHttpError::Unreachable { socket: self.socket.clone(), source };
        let broken = |source| UnixHttpError::Broken { socket: self.socket.clone(), source };
        let mut sender = self.sender().await?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse()
            .map_err(|_| unreachable(io::Error::new(io::ErrorKind::InvalidInput, "the path is malformed")))?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("cutover"));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some((name, value)) = self.tunnel().and_then(Tunnel::told) {
            request.headers_mut().insert(name, value);
        }
        if let Some(protocol) = protocol {
            request.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response, sender))
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// [`UnixHttpError::Broken`] if it ends in the middle.
    pub async fn bytes(&self, reply: Reply) -> Result<Bytes, UnixHttpError> {
        let broken = |source| UnixHttpError::Broken { socket: self.socket.clone(), source };
        let bytes = reply.body.collect().await.map_err(broken)?.to_bytes();
        if let Some(tunnelled) = &self.tunnel {
            tunnelled.idle().push(reply.sender);
        }
        Ok(bytes)
    }

    /// Reads a whole body as JSON.
    ///
    /// # Errors
    /// [`UnixHttpError`] if it ends in the middle or is something else.
    pub async fn json<T: DeserializeOwned>(&self, reply: Reply) -> Result<T, UnixHttpError> {
        let bytes = self.bytes(reply).await?;
        let malformed = |source| UnixHttpError::Malformed { socket: self.socket.clone(), source };
        serde_json::from_slice(&bytes).map_err(malformed)
    }

    /// The next line of a body that is sent line by line; `None` at its end. `partial` keeps what has come of the
    /// line after.
    ///
    /// # Errors
    /// [`UnixHttpError::Broken`] if the body ends in the middle.
    pub async fn line(
        &self,
        reply: &mut Reply,
        partial: &mut Vec<u8>,
    ) -> Result<Option<String>, UnixHttpError> {
        loop {
            if let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = partial.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            let Some(frame) = reply.body.frame().await else {
                return Ok(None);
            };
            let frame =
                frame.map_err(|source| UnixHttpError::Broken { socket: self.socket.clone(), source })?;
            if let Some(data) = frame.data_ref() {
                partial.extend_from_slice(data);
            }
        }
    }
}
