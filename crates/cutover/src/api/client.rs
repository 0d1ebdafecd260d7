//! How the command line asks a controller, of this host or of another.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cutover_adapters::unix_http::{Duplex, Reply, Tunnel, TunnelError, UnixHttp, UnixHttpError};
use futures_util::Stream;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::exec::{self, ExecRequest};
use crate::api::problem::Problem;
use crate::api::views::{ControllerView, DeploymentView};

/// A controller that has not told something by then hangs.
const ANSWER: Duration = Duration::from_secs(5);
/// The same over a network that may be slow.
const ANSWER_FROM_AFAR: Duration = Duration::from_secs(20);
/// What is ordered may take this long before it is accepted: a large artifact has to be copied.
const DEED: Duration = Duration::from_secs(1800);

/// A controller behind its socket.
#[derive(Debug, Clone)]
pub(crate) struct Client(UnixHttp);

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no controller answers: {0}")]
    Unreachable(UnixHttpError),
    #[error("{0}")]
    NoWay(TunnelError),
    #[error("the controller behind `{}` has not answered within {} s: it hangs", socket.display(), limit.as_secs())]
    Hangs { socket: PathBuf, limit: Duration },
    #[error("the connection to the controller was lost: {0}")]
    Lost(UnixHttpError),
    #[error("{}", .0.error)]
    Refused(Problem),
}

impl From<UnixHttpError> for ClientError {
    fn from(error: UnixHttpError) -> Self {
        match error {
            UnixHttpError::Unreachable { .. } => Self::Unreachable(error),
            UnixHttpError::Tunnel(error) => Self::NoWay(error),
            UnixHttpError::Broken { .. } | UnixHttpError::Malformed { .. } => Self::Lost(error),
        }
    }
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self(UnixHttp::new(socket))
    }

    /// The controller at the far end of a tunnel.
    pub(crate) fn through(tunnel: Arc<dyn Tunnel>) -> Self {
        Self(UnixHttp::through(tunnel))
    }

    /// Whether the controller is on another host.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.0.tunnel().is_some()
    }

    /// Whether another host has been reached before, so that to reach it again is not in vain.
    pub(crate) fn was_reached(&self) -> bool {
        self.0.tunnel().is_some_and(|tunnel| tunnel.peer_version().is_some())
    }

    /// Opens the way to another host where that may ask a person something: two hosts cannot ask at once on one
    /// terminal. What does not open is told by the request that needs it.
    pub(crate) async fn open_if_it_may_ask(&self) {
        if self.0.tunnel().is_some_and(Tunnel::may_ask) {
            let _ = self.0.warm_up().await;
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        match self.try_get(path).await {
            // A connection that was idle may have been lost long ago; to ask again changes nothing over there.
            Err(ClientError::Lost(_)) if self.is_elsewhere() => self.try_get(path).await,
            result => result,
        }
    }

    async fn try_get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.0.warm_up().await?;
        let got = async {
            let reply = self.accepted(self.0.send::<()>(Method::GET, path, None).await?).await?;
            Ok(self.0.json(reply).await?)
        };
        self.within(self.patience(), got).await
    }

    fn patience(&self) -> Duration {
        if self.is_elsewhere() { ANSWER_FROM_AFAR } else { ANSWER }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let hangs = |_| ClientError::Hangs { socket: self.0.socket().to_owned(), limit };
        tokio::time::timeout(limit, answer).await.map_err(hangs)?
    }

    /// Whoever does not even say who it is gets no order: it might be carried out long after.
    async fn is_awake(&self) -> Result<(), ClientError> {
        self.get::<ControllerView>("/v1/controller").await.map(drop)
    }

    pub(crate) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        self.is_awake().await?;
        let done = async {
            let reply = self.accepted(self.0.send(Method::POST, path, body).await?).await?;
            Ok(self.0.json(reply).await?)
        };
        self.within(DEED, done).await
    }

    /// Asks for what may take as long as it likes: whoever waits sees that it goes on, and can end it.
    pub(crate) async fn post_patiently<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.is_awake().await?;
        let reply = self.accepted(self.0.send(Method::POST, path, Some(body)).await?).await?;
        Ok(self.0.json(reply).await?)
    }

    /// Sends a body piece by piece, for as long as it takes: whoever makes the pieces sees whether they are taken.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<T, ClientError> {
        let reply = self.accepted(self.0.send_stream(Method::PUT, path, pieces).await?).await?;
        Ok(self.0.json(reply).await?)
    }

    /// That nothing was taken for so long.
    pub(crate) fn hangs(&self, limit: Duration) -> ClientError {
        ClientError::Hangs { socket: self.0.socket().to_owned(), limit }
    }

    /// Asks for something that has no answer but its acceptance.
    pub(crate) async fn tell(&self, path: &str) -> Result<(), ClientError> {
        self.is_awake().await?;
        let told =
            async { self.accepted(self.0.send::<()>(Method::POST, path, None).await?).await.map(drop) };
        self.within(self.patience(), told).await
    }

    /// A deployment as it is and becomes.
    pub(crate) async fn follow(&self, service: &str, id: &str) -> Result<Follow, ClientError> {
        self.lines(&format!("/v1/services/{service}/deployments/{id}/follow")).await
    }

    /// An answer that comes line by line.
    pub(crate) async fn lines<T>(&self, path: &str) -> Result<Lines<T>, ClientError> {
        self.0.warm_up().await?;
        let begun = async { self.accepted(self.0.send::<()>(Method::GET, path, None).await?).await };
        let reply = self.within(self.patience(), begun).await?;
        Ok(Lines { http: self.0.clone(), reply, partial: Vec::new(), of: PhantomData })
    }

    /// Runs a command over there; what comes back carries its streams.
    pub(crate) async fn exec(
        &self,
        path: &str,
        request: &ExecRequest,
    ) -> Result<Box<dyn Duplex>, ClientError> {
        self.is_awake().await?;
        let switched = async {
            match self.0.switch(path, request, exec::PROTOCOL).await? {
                Ok(stream) => Ok(stream),
                Err(reply) => {
                    let status = reply.status;
                    self.accepted(reply).await?;
                    let error =
                        format!("the controller answered {status} where it should have begun the command");
                    Err(ClientError::Refused(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error)))
                }
            }
        };
        self.within(self.patience(), switched).await
    }

    async fn accepted(&self, reply: Reply) -> Result<Reply, ClientError> {
        if reply.status.is_success() {
            return Ok(reply);
        }
        let status = reply.status;
        let problem = self.0.json::<Problem>(reply).await;
        let mut problem =
            problem.unwrap_or_else(|_| Problem::new(status, format!("the controller answered {status}")));
        problem.status = status.as_u16();
        self.tell_versions(&mut problem);
        Err(ClientError::Refused(problem))
    }
}

impl Client {
    /// What one version of cutover asks another may not know; that explains many a refusal.
    fn tell_versions(&self, problem: &mut Problem) {
        let (ours, theirs) = (env!("CARGO_PKG_VERSION"), self.0.tunnel().and_then(Tunnel::peer_version));
        let Some(theirs) = theirs.filter(|theirs| theirs != ours) else { return };
        let is_unknown =
            [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::UNPROCESSABLE_ENTITY];
        if is_unknown.iter().any(|status| status.as_u16() == problem.status) {
            let versions = format!("this is cutover {ours}, over there runs {theirs}");
            problem.hint = Some(match problem.hint.take() {
                Some(hint) => format!("{hint}; {versions}"),
                None => versions,
            });
        }
    }
}

/// The changes of a deployment.
pub(crate) type Follow = Lines<DeploymentView>;

/// Objects that come one by one.
pub(crate) struct Lines<T> {
    http: UnixHttp,
    reply: Reply,
    partial: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next object; `None` once whoever sends them has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.http.line(&mut self.reply, &mut self.partial).await? else { return Ok(None) };
        let object = serde_json::from_str(&line)
            .map_err(|source| UnixHttpError::Malformed { socket: self.http.socket().to_owned(), source })?;
        Ok(Some(object))
    }
}

impl ClientError {
    /// The status that a refusal came with.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(problem) => StatusCode::from_u16(problem.status).ok(),
            Self::Unreachable(_) | Self::NoWay(_) | Self::Hangs { .. } | Self::Lost(_) => None,
        }
    }
}
