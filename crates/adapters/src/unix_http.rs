//! HTTP over a Unix socket: how the processes of cutover speak to one another.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// The one who listens on a socket.
#[derive(Debug, Clone)]
pub struct UnixHttp {
    socket: PathBuf,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    body: Incoming,
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
}

impl UnixHttp {
    /// The one who listens on `socket`, which need not exist yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request with a JSON body, or none, on a connection of its own.
    ///
    /// # Errors
    /// [`UnixHttpError`] if there is no answer; any status is an answer.
    pub async fn send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Reply, UnixHttpError> {
        let unreachable = |source| UnixHttpError::Unreachable { socket: self.socket.clone(), source };
        let broken = |source| UnixHttpError::Broken { socket: self.socket.clone(), source };
        let bytes = match body.map(serde_json::to_vec).transpose() {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(source) => {
                return Err(UnixHttpError::Malformed { socket: self.socket.clone(), source });
            }
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the reply's body; its errors reach the request.
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::new(Full::new(Bytes::from(bytes)));
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse()
            .map_err(|_| unreachable(io::Error::new(io::ErrorKind::InvalidInput, "the path is malformed")))?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("cutover"));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok(Reply { status: response.status(), body: response.into_body() })
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// [`UnixHttpError::Broken`] if it ends in the middle.
    pub async fn bytes(&self, reply: Reply) -> Result<Bytes, UnixHttpError> {
        let broken = |source| UnixHttpError::Broken { socket: self.socket.clone(), source };
        Ok(reply.body.collect().await.map_err(broken)?.to_bytes())
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
