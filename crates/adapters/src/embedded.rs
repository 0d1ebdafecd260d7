//! The router that comes with cutover: a client of the proxy's admin socket.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::ports::{
    Applied, CertificateFront, ChallengeAnswer, ChallengeAnswers, EvidenceSource, Held, PortError, Routed,
    RouterError, TrafficRouter,
};
use cutover_core::drain::Departure;
use cutover_core::receipt::{Receipt, ShiftReport};
use cutover_core::routing::{Https, Replay, ServicePatch, ServiceRoute, TableDocument};
use cutover_core::service::ObservedRoute;
use cutover_core::statistics::Statistics;
use cutover_core::{Epoch, InstanceId, PerEnvironment, ServiceName};
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::unix_http::{Reply, UnixHttp, UnixHttpError};

/// A proxy that has not answered after this time counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(3);

/// The kernel has connected within this time, or does not.
const HOLDER: Duration = Duration::from_millis(500);

/// The data plane behind an admin socket.
#[derive(Debug, Clone)]
pub struct EmbeddedRouter {
    api: UnixHttp,
    admin: PathBuf,
}

/// What the proxy says when it refuses.
#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl From<UnixHttpError> for RouterError {
    fn from(error: UnixHttpError) -> Self {
        match error {
            UnixHttpError::Malformed { .. } => Self::Refused(error.to_string()),
            UnixHttpError::Unreachable { .. } | UnixHttpError::Broken { .. } | UnixHttpError::Tunnel(_) => {
                Self::Unreachable(error.to_string())
            }
        }
    }
}

impl EmbeddedRouter {
    /// The data plane whose admin socket this is.
    #[must_use]
    pub fn new(admin: PathBuf) -> Self {
        Self { api: UnixHttp::new(admin.clone()), admin }
    }

    /// The process that has the admin socket, whether or not it answers.
    pub async fn holder(&self) -> Option<u32> {
        // The kernel connects for a process that does nothing any more, as long as there is room for one who waits.
        let connecting = UnixStream::connect(&self.admin);
        let stream = tokio::time::timeout(HOLDER, connecting).await.ok()?.ok()?;
        stream.peer_cred().ok()?.pid().and_then(|pid| u32::try_from(pid).ok())
    }

    /// The table in force.
    ///
    /// # Errors
    /// If the proxy does not answer.
    pub async fn table(&self) -> Result<TableDocument, RouterError> {
        self.get("/v1/table").await
    }

    /// What the proxy has seen.
    ///
    /// # Errors
    /// If the proxy does not answer.
    pub async fn seen(&self) -> Result<Statistics, RouterError> {
        self.get("/v1/stats").await
    }

    /// Changes the weights of one service, whatever else its route says; with an epoch, only if nothing as new is
    /// in force.
    ///
    /// # Errors
    /// If the proxy refused it or does not answer.
    pub async fn change_weights(&self, patch: &ServicePatch) -> Result<Receipt, RouterError> {
        let receipts = self.change(Method::PATCH, &[patch]).await?;
        receipts.into_iter().next().ok_or_else(without_receipt)
    }

    /// Has the proxy accept clients, if it holds its listeners; answered when it does.
    ///
    /// # Errors
    /// If the proxy does not answer, as when its port was taken meanwhile.
    pub async fn accept_clients(&self) -> Result<(), RouterError> {
        within(async {
            let reply = self.api.send::<()>(Method::POST, "/v1/listen", None).await?;
            if reply.status == StatusCode::OK { Ok(()) } else { Err(self.refusal(reply).await) }
        })
        .await
    }

    /// Asks the proxy to finish what is in flight and end.
    ///
    /// # Errors
    /// If the proxy does not answer.
    pub async fn shut_down(&self) -> Result<(), RouterError> {
        within(async {
            let reply = self.api.send::<()>(Method::POST, "/v1/shutdown", None).await?;
            if reply.status == StatusCode::ACCEPTED { Ok(()) } else { Err(self.refusal(reply).await) }
        })
        .await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RouterError> {
        within(async {
            let reply = self.api.send::<()>(Method::GET, path, None).await?;
            if reply.status != StatusCode::OK {
                return Err(self.refusal(reply).await);
            }
            Ok(self.api.json(reply).await?)
        })
        .await
    }

    async fn change<B: Serialize + Sync>(
        &self,
        method: Method,
        services: &B,
    ) -> Result<Vec<Receipt>, RouterError> {
        within(async {
            let reply = self.api.send(method, "/v1/services", Some(services)).await?;
            if reply.status != StatusCode::OK {
                return Err(self.refusal(reply).await);
            }
            Ok(self.api.json(reply).await?)
        })
        .await
    }

    /// Asks for something that is answered without words.
    async fn ask<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(), PortError> {
        let asked = within(async {
            let reply = self.api.send(method, path, body).await?;
            if reply.status.is_success() { Ok(()) } else { Err(self.refusal(reply).await) }
        });
        asked.await.map_err(|error| PortError::new(error.to_string()))
    }

    async fn refusal(&self, reply: Reply) -> RouterError {
        let status = reply.status;
        match self.api.json::<Problem>(reply).await {
            Ok(problem) => RouterError::Refused(format!("the proxy refused: {}", problem.error)),
            Err(_) => RouterError::Refused(format!("the proxy answered {status}")),
        }
    }
}

fn without_receipt() -> RouterError {
    RouterError::Refused("the proxy answered without a receipt".to_owned())
}

/// A proxy that is stopped or stalled is one that cannot be reached.
async fn within<T>(asking: impl Future<Output = Result<T, RouterError>>) -> Result<T, RouterError> {
    let silent = || RouterError::Unreachable(format!("the proxy has not answered within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(silent()))
}

/// A route without what a proxy does not know. Of what it would mean nothing is lost: nobody gets to a release by a token
/// that nobody can check, and what is not sent once more fails as it did before. A pause that is not known is refused.
fn known_to(seen: &Statistics, route: &ServiceRoute) -> ServiceRoute {
    let mut known = route.clone();
    if seen.preview_key.is_none() {
        (known.preview, known.unlisted) = (None, false);
    }
    if seen.table_format < 1 {
        known.replay = Replay::default();
    }
    known
}

#[async_trait]
impl TrafficRouter for EmbeddedRouter {
    async fn apply(&self, route: &ServiceRoute) -> Result<Applied, RouterError> {
        let mut route = Cow::Borrowed(route);
        // Where no TLS is spoken nobody is sent to it.
        let means_nothing = route.https.clients.is_none() && !route.https.is_default();
        let seen = if means_nothing { Some(self.seen().await?) } else { None };
        if seen.is_some_and(|seen| seen.tls.is_none()) {
            route.to_mut().https = Https::default();
        }
        let receipts = match self.change(Method::PUT, &[route.as_ref()]).await {
            // A proxy from before something was known, which may run for long beside a newer controller, refuses it.
            Err(refused @ RouterError::Refused(_)) => {
                let known = known_to(&self.seen().await?, &route);
                if known == *route {
                    return Err(refused);
                }
                self.change(Method::PUT, &[&known]).await?
            }
            answer => answer?,
        };
        receipts.into_iter().next().map(Applied::Routed).ok_or_else(without_receipt)
    }

    async fn forget(&self, service: &ServiceName, epoch: Epoch) -> Result<(), RouterError> {
        within(async {
            let path = format!("/v1/services/{service}?epoch={}", epoch.get());
            let reply = self.api.send::<()>(Method::DELETE, &path, None).await?;
            // One that it does not know is forgotten already.
            if matches!(reply.status, StatusCode::OK | StatusCode::NOT_FOUND) {
                return Ok(());
            }
            Err(self.refusal(reply).await)
        })
        .await
    }

    async fn observe(&self) -> Result<Vec<Routed>, RouterError> {
        let observed = |route: ServiceRoute| {
            let ids = |environment| {
                route.instances(environment).iter().map(|instance| instance.id.clone()).collect()
            };
            let instances = Some(PerEnvironment::from_fn(ids));
            let ServiceRoute { name, epoch, weights, .. } = route;
            let route = ObservedRoute { epoch: epoch.unwrap_or_default(), weights, instances };
            Routed { service: name, route }
        };
        Ok(self.table().await?.services.into_iter().map(observed).collect())
    }

    async fn held(&self, instances: &[InstanceId]) -> Result<Held, RouterError> {
        let seen = self.seen().await?;
        let of = seen.instances.iter().filter(|instance| instances.contains(&instance.id));
        Ok(of.fold(Held::default(), |held, instance| {
            let lasting: u64 = instance.lasting.values().sum();
            let requests = held.requests + instance.in_flight.saturating_sub(lasting);
            Held { requests, lasting: held.lasting + lasting }
        }))
    }

    async fn drain(&self, departure: &Departure) -> Result<(), RouterError> {
        within(async {
            let reply = self.api.send(Method::POST, "/v1/drain", Some(departure)).await?;
            if reply.status.is_success() { Ok(()) } else { Err(self.refusal(reply).await) }
        })
        .await
    }

    async fn shift_report(&self, service: &ServiceName) -> Result<Option<ShiftReport>, RouterError> {
        within(async {
            let path = format!("/v1/services/{service}/shift");
            let reply = self.api.send::<()>(Method::GET, &path, None).await?;
            match reply.status {
                StatusCode::OK => Ok(Some(self.api.json(reply).await?)),
                // One from before shifts were looked at, or one that does not know the service.
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
                _ => Err(self.refusal(reply).await),
            }
        })
        .await
    }
}

#[async_trait]
impl EvidenceSource for EmbeddedRouter {
    async fn statistics(&self) -> Result<Statistics, PortError> {
        self.seen().await.map_err(|error| PortError::new(error.to_string()))
    }
}

/// What an authority looks for, as the proxy is told.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Shown<'a> {
    Http { host: &'a str, token: &'a str, content: &'a str },
    TlsAlpn { host: &'a str, certificate: &'a str, key: &'a str },
}

impl<'a> From<&'a ChallengeAnswer> for Shown<'a> {
    fn from(answer: &'a ChallengeAnswer) -> Self {
        match answer {
            ChallengeAnswer::Http { host, token, content } => Self::Http { host, token, content },
            ChallengeAnswer::TlsAlpn { host, certificate, key } => {
                Self::TlsAlpn { host, certificate, key: key.expose() }
            }
        }
    }
}

#[async_trait]
impl ChallengeAnswers for EmbeddedRouter {
    async fn show(&self, answers: &[ChallengeAnswer]) -> Result<(), PortError> {
        let shown: Vec<Shown<'_>> = answers.iter().map(Shown::from).collect();
        self.ask(Method::POST, "/v1/challenges", Some(&shown)).await
    }

    async fn withdraw(&self, answers: &[ChallengeAnswer]) -> Result<(), PortError> {
        let shown: Vec<Shown<'_>> = answers.iter().map(Shown::from).collect();
        self.ask(Method::DELETE, "/v1/challenges", Some(&shown)).await
    }
}

#[async_trait]
impl CertificateFront for EmbeddedRouter {
    async fn look_again(&self) -> Result<(), PortError> {
        self.ask::<()>(Method::POST, "/v1/certificates", None).await
    }
}
