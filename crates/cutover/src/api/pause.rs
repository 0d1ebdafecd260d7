//! Holds and maintenance over the API.

use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use cutover_controller::{PauseChange, WantedPause};
use cutover_core::routing::{Hold, Maintenance, Pause};
use cutover_core::service::Paused;
use cutover_core::{DeploymentId, ServiceName};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::peer::Peer;
use crate::api::problem::Problem;
use crate::api::server::{Served, service_name};
use crate::api::views::moment;

/// The longest hold, in seconds: whoever needs more sends requests away.
pub(crate) const LONGEST_HOLD: u64 = 600;

/// How long requests shall wait, and how many.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRequest {
    pub(crate) seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// Whether requests shall be sent away, and with which words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaintenanceRequest {
    pub(crate) on: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u32>,
}

/// Why requests do not go their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PauseView {
    /// `hold` or `maintenance`.
    pub(crate) kind: String,
    pub(crate) by: String,
    pub(crate) since: String,
    /// When a hold ends by itself.
    pub(crate) until: Option<String>,
    /// What those are told that are sent away, in seconds.
    pub(crate) retry_after: Option<u32>,
    /// Whether people get a page.
    pub(crate) page: bool,
    /// The deployment that it is part of, if it ends with the shift of one.
    pub(crate) deployment: Option<DeploymentId>,
    /// Requests that wait, as the proxy sees it; absent if it has not said.
    #[serde(default)]
    pub(crate) waiting: Option<u64>,
}

impl From<&Paused> for PauseView {
    fn from(paused: &Paused) -> Self {
        let (kind, until, retry_after, page) = match &paused.pause {
            Pause::Hold(hold) => ("hold", Some(moment(hold.until)), None, false),
            Pause::Maintenance(said) => ("maintenance", None, Some(said.retry_after), said.page.is_some()),
        };
        Self {
            kind: kind.to_owned(),
            by: paused.by.clone(),
            since: moment(paused.at),
            until,
            retry_after,
            page,
            deployment: paused.deployment.clone(),
            waiting: None,
        }
    }
}

/// What holds now.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PausedView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    pub(crate) pause: Option<PauseView>,
    /// What held before, if somebody had said so and it has not ended of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<PauseView>,
}

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/v1/services/{service}/hold", post(hold))
        .route("/v1/services/{service}/unhold", post(unhold))
        .route("/v1/services/{service}/maintenance", post(maintenance))
}

type Answer = Result<Json<PausedView>, Problem>;
type Body<T> = Result<Json<T>, JsonRejection>;

fn wrong(sentence: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, sentence)
}

async fn hold(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Body<HoldRequest>,
) -> Answer {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let HoldRequest { seconds, requests, bytes } = request;
    if !(seconds > 0.0 && seconds <= LONGEST_HOLD as f64) {
        return Err(wrong(format!("requests can be held for up to {LONGEST_HOLD} seconds")));
    }
    let wanted = WantedPause::Hold {
        time: Duration::from_secs_f64(seconds),
        requests: requests.unwrap_or(Hold::REQUESTS),
        bytes: bytes.unwrap_or(Hold::BYTES),
    };
    pause(&served, &peer, name, wanted).await
}

async fn unhold(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
) -> Answer {
    pause(&served, &peer, name, WantedPause::Unhold).await
}

async fn maintenance(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Body<MaintenanceRequest>,
) -> Answer {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let MaintenanceRequest { on, page, retry_after } = request;
    if page.as_ref().is_some_and(|page| page.len() > Maintenance::LONGEST_PAGE) {
        let most = Maintenance::LONGEST_PAGE / 1024;
        return Err(wrong(format!(
            "a page for maintenance has {most} KiB at most: it is part of the route table"
        )));
    }
    let wanted = if on {
        WantedPause::Maintenance(Maintenance { page, retry_after: retry_after.unwrap_or(60).max(1) })
    } else {
        WantedPause::EndMaintenance
    };
    pause(&served, &peer, name, wanted).await
}

async fn pause(served: &Served, peer: &Peer, name: String, wanted: WantedPause) -> Answer {
    let service = service_name(name)?;
    let PauseChange { before, now } = served.manager.pause(&service, &peer.actor, wanted).await?;
    let view = |paused: Option<Paused>| paused.as_ref().map(PauseView::from);
    Ok(Json(PausedView { v: VERSION, service, pause: view(now), before: view(before) }))
}
