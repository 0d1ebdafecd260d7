//! Smoke suites and the contraction of the schema over the API.

use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use cutover_core::gates::{Finding, Verdict};
use cutover_core::release::Release;
use cutover_core::service::{Clearing, Contraction, Slot};
use cutover_core::{Environment, ReleaseId, ServiceName, Version};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::environment::EnvironmentName;
use crate::api::moves::Recorded;
use crate::api::peer::Peer;
use crate::api::problem::Problem;
use crate::api::server::{Served, service_name, snapshots};
use crate::api::views::moment;

/// Which suites are to be run, and where.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SmokeRequest {
    pub(crate) environment: EnvironmentName,
    /// This one alone; all of them if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suite: Option<String>,
}

/// Which release the schema is to be contracted for: one that has become live since is not meant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContractRequest {
    pub(crate) release: ReleaseId,
}

/// What they have found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SmokeView {
    pub(crate) v: u32,
    pub(crate) success: bool,
    pub(crate) service: ServiceName,
    pub(crate) environment: Environment,
    pub(crate) version: Version,
    pub(crate) finding: Finding,
}

/// The last contraction of a schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContractionView {
    pub(crate) by: String,
    pub(crate) version: Version,
    pub(crate) at: String,
    /// What came of it; absent while it goes on.
    pub(crate) finding: Option<Finding>,
    /// Whether it has not begun: the proxy may still send something to the former release.
    #[serde(default)]
    pub(crate) waits: bool,
}

impl ContractionView {
    pub(crate) fn new(contraction: &Contraction, waits: bool) -> Self {
        Self {
            waits,
            by: contraction.by.clone(),
            version: contraction.version.clone(),
            at: moment(contraction.at),
            finding: contraction.finding.as_deref().cloned(),
        }
    }
}

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/v1/services/{service}/smoke", post(smoke))
        .route("/v1/services/{service}/contract", post(contract))
}

async fn smoke(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Result<Json<SmokeRequest>, JsonRejection>,
) -> Result<Json<SmokeView>, Problem> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let service = service_name(name)?;
    let state = snapshots(&served, &service).await?.borrow().state.clone();
    let (environment, release) = request.environment.release_of(&state)?;
    let slot = &state.environments[environment];
    if environment != state.live || state.stopped.is_some() {
        reachable(slot, environment, release)?;
    }
    let release = with_suites(release, request.suite.as_deref())?;
    let finding = served.manager.smoke(&service, environment, &release, &peer.actor).await?;
    let success = finding.verdict == Verdict::Pass;
    let version = release.version;
    Ok(Json(SmokeView { v: VERSION, success, service, environment, version, finding }))
}

/// Refuses in words what nobody could reach.
fn reachable(slot: &Slot, environment: Environment, release: &Release) -> Result<(), Problem> {
    let version = &release.version;
    let leaves = matches!(slot.clearing, Some(Clearing::Unrouting | Clearing::Retiring));
    let why = if slot.instances.is_empty() {
        format!("`{version}` on {environment} does not run")
    } else if leaves || !(slot.passed_gates || slot.private) {
        format!("`{version}` on {environment} cannot be reached now: it is being started, or stopped")
    } else {
        return Ok(());
    };
    let mut problem = Problem::new(StatusCode::CONFLICT, why);
    problem.hint = Some(
        "suites run while a deployment waits for its gates or its promote, and while the former release is warm"
            .to_owned(),
    );
    Err(problem)
}

/// The release with those of its suites that are wanted.
fn with_suites(release: &Release, named: Option<&str>) -> Result<Release, Problem> {
    let mut wanted = release.clone();
    let suites = &mut wanted.configuration.gates.smoke;
    let names: Vec<String> = suites.iter().map(|suite| format!("`{}`", suite.name)).collect();
    suites.retain(|suite| named.is_none_or(|named| suite.name == named));
    if !suites.is_empty() {
        return Ok(wanted);
    }
    let version = &release.version;
    let (error, hint) = match named {
        Some(named) if !names.is_empty() => {
            (format!("`{version}` has no suite `{named}`"), format!("its suites are {}", names.join(", ")))
        }
        _ => (
            format!("`{version}` has no smoke suite"),
            "`cutover init --smoke` writes a first one; it comes with the next deployment".to_owned(),
        ),
    };
    let mut problem = Problem::new(StatusCode::CONFLICT, error);
    problem.hint = Some(hint);
    Err(problem)
}

async fn contract(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Result<Json<ContractRequest>, JsonRejection>,
) -> Result<Json<Recorded>, Problem> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    served.manager.contract(&service_name(name)?, &peer.actor, &request.release).await?;
    Ok(Json(Recorded { success: true }))
}
