//! How the command line asks a controller.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_adapters::unix_http::{Reply, UnixHttp, UnixHttpError};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::problem::Problem;
use crate::api::views::{ControllerView, DeploymentView};

/// A controller that has not told something by then hangs.
const ANSWER: Duration = Duration::from_secs(5);
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
            UnixHttpError::Broken { .. } | UnixHttpError::Malformed { .. } => Self::Lost(error),
        }
    }
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self(UnixHttp::new(socket))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let got = async {
            let reply = self.accepted(self.0.send::<()>(Method::GET, path, None).await?).await?;
            Ok(self.0.json(reply).await?)
        };
        self.within(ANSWER, got).await
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

    /// Asks for something that has no answer but its acceptance.
    pub(crate) async fn tell(&self, path: &str) -> Result<(), ClientError> {
        self.is_awake().await?;
        let told =
            async { self.accepted(self.0.send::<()>(Method::POST, path, None).await?).await.map(drop) };
        self.within(ANSWER, told).await
    }

    /// A deployment as it is and becomes.
    pub(crate) async fn follow(&self, service: &str, id: &str) -> Result<Follow, ClientError> {
        let path = format!("/v1/services/{service}/deployments/{id}/follow");
        let begun = async { self.accepted(self.0.send::<()>(Method::GET, &path, None).await?).await };
        let reply = self.within(ANSWER, begun).await?;
        Ok(Follow { http: self.0.clone(), reply, partial: Vec::new() })
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
        Err(ClientError::Refused(problem))
    }
}

/// The changes of a deployment.
pub(crate) struct Follow {
    http: UnixHttp,
    reply: Reply,
    partial: Vec<u8>,
}

impl Follow {
    /// The next change; `None` once the deployment has ended or the controller has.
    pub(crate) async fn next(&mut self) -> Result<Option<DeploymentView>, ClientError> {
        let Some(line) = self.http.line(&mut self.reply, &mut self.partial).await? else { return Ok(None) };
        let view = serde_json::from_str(&line)
            .map_err(|source| UnixHttpError::Malformed { socket: self.http.socket().to_owned(), source })?;
        Ok(Some(view))
    }
}

impl ClientError {
    /// The status that a refusal came with.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(problem) => StatusCode::from_u16(problem.status).ok(),
            Self::Unreachable(_) | Self::Hangs { .. } | Self::Lost(_) => None,
        }
    }
}
