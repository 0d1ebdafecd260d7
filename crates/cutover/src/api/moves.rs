//! Restart, scale, stop, remove and the share of the traffic over the API, and the releases that can be gone back to.

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use cutover_controller::{FormerRelease, MoveOptions, RequestError};
use cutover_core::service::StopScope;
use cutover_core::{DeploymentId, Environment, ReleaseId, ServiceName, Version, Weights};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::environment::EnvironmentName;
use crate::api::peer::Peer;
use crate::api::problem::Problem;
use crate::api::server::{Served, service_name};
use crate::api::views::{Accepted, moment};

/// How a restart is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartRequest {
    #[serde(default)]
    pub(crate) end_bake: bool,
    #[serde(default)]
    pub(crate) force: bool,
}

/// How many instances are wanted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleRequest {
    pub(crate) instances: u32,
    #[serde(default)]
    pub(crate) end_bake: bool,
    #[serde(default)]
    pub(crate) force: bool,
}

/// The share of one environment; the other one gets the rest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrafficRequest {
    pub(crate) environment: EnvironmentName,
    pub(crate) percent: u8,
}

/// What is to be stopped.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopRequest {
    pub(crate) scope: StopScope,
    /// The environment that the idle one is taken for: it is not stopped if it is live by then.
    #[serde(default)]
    pub(crate) environment: Option<Environment>,
    #[serde(default)]
    pub(crate) end_bake: bool,
}

/// How a removal is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveRequest {
    #[serde(default)]
    pub(crate) end_bake: bool,
}

/// The releases that a service can go back to, the one that was live last first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FormerView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    pub(crate) releases: Vec<FormerReleaseView>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FormerReleaseView {
    pub(crate) version: Version,
    pub(crate) release: ReleaseId,
    pub(crate) live_at: String,
    pub(crate) warm: bool,
    /// How long going back would take; absent if that is not known.
    pub(crate) seconds: Option<f64>,
}

/// Whether it is recorded; it goes on from there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) success: bool,
}

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/v1/services/{service}/restart", post(restart))
        .route("/v1/services/{service}/scale", post(scale))
        .route("/v1/services/{service}/traffic", post(traffic))
        .route("/v1/services/{service}/stop", post(stop))
        .route("/v1/services/{service}/remove", post(remove))
        .route("/v1/services/{service}/releases", get(releases))
}

type Answer<T> = Result<Json<T>, Problem>;
type Body<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

fn body<T>(request: Body<T>) -> Result<T, Problem> {
    request.map(|Json(request)| request).map_err(|error| Problem::new(error.status(), error.body_text()))
}

fn accepted(deployment: DeploymentId) -> Answer<Accepted> {
    Ok(Json(Accepted { deployment }))
}

async fn restart(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Body<RestartRequest>,
) -> Answer<Accepted> {
    let RestartRequest { end_bake, force } = body(request)?;
    let options = MoveOptions { end_bake, force };
    accepted(served.manager.restart(&service_name(name)?, &peer.actor, options).await?)
}

async fn scale(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Body<ScaleRequest>,
) -> Answer<Accepted> {
    const MOST: u32 = 1000;
    let ScaleRequest { instances, end_bake, force } = body(request)?;
    if instances > MOST {
        let reason = format!("{instances} instances are more than the {MOST} that a service may have");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let options = MoveOptions { end_bake, force };
    accepted(served.manager.scale(&service_name(name)?, &peer.actor, instances, options).await?)
}

async fn traffic(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Body<TrafficRequest>,
) -> Answer<Accepted> {
    let TrafficRequest { environment, percent } = body(request)?;
    let service = service_name(name)?;
    let live = match served.manager.watch(&service).await {
        Some(snapshots) => snapshots.borrow().state.live,
        None => return Err(RequestError::UnknownService(service).into()),
    };
    let rest = 100_u8.saturating_sub(percent);
    let weights = match environment.resolve(live) {
        Environment::Blue => Weights::new(percent, rest),
        Environment::Green => Weights::new(rest, percent),
    };
    let weights = weights.map_err(|_| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{percent} is no share: it is 0 to 100 percent"),
        )
    })?;
    accepted(served.manager.share_traffic(&service, &peer.actor, weights, live).await?)
}

async fn stop(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Body<StopRequest>,
) -> Answer<Recorded> {
    let StopRequest { scope, environment, end_bake } = body(request)?;
    served.manager.stop(&service_name(name)?, &peer.actor, scope, environment, end_bake).await?;
    Ok(Json(Recorded { success: true }))
}

async fn remove(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Option<Json<RemoveRequest>>,
) -> Answer<Recorded> {
    let RemoveRequest { end_bake } = request.map(|Json(request)| request).unwrap_or_default();
    served.manager.remove(&service_name(name)?, &peer.actor, end_bake).await?;
    Ok(Json(Recorded { success: true }))
}

async fn releases(State(served): State<Served>, UrlPath(name): UrlPath<String>) -> Answer<FormerView> {
    let service = service_name(name)?;
    let view = |former: FormerRelease| FormerReleaseView {
        version: former.version,
        release: former.release,
        live_at: moment(former.live_at),
        warm: former.warm,
        seconds: former.takes.map(|takes| takes.as_secs_f64()),
    };
    let releases = served.manager.former_releases(&service).await?.into_iter().map(view).collect();
    Ok(Json(FormerView { v: VERSION, service, releases }))
}
