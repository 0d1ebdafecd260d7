//! What the instances of a service have written, line by line.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cutover_controller::Snapshot;
use cutover_controller::ports::{LogLine, LogOrigin, LogQuery, WantedOrigin};
use cutover_core::{Environment, InstanceId, ReleaseId, Timestamp, Version};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::api::VERSION;
use crate::api::environment::EnvironmentName;
use crate::api::problem::Problem;
use crate::api::server::{Served, service_name, snapshots};
use crate::api::views::moment;

/// How many may read logs at once.
pub(super) const READERS: usize = 64;

/// Which lines are wanted.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsRequest {
    /// Of the release in this environment; without it of the newest release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<EnvironmentName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) release: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<InstanceId>,
    /// At most so many, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<usize>,
    /// Milliseconds since 1970: nothing that was written before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<u64>,
    #[serde(default)]
    pub(crate) follow: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogLineView {
    pub(crate) v: u32,
    /// Absent in what was written by an older version.
    pub(crate) at: Option<String>,
    pub(crate) instance: InstanceId,
    pub(crate) environment: Option<Environment>,
    pub(crate) version: Option<Version>,
    /// `out` or `err`; absent as `at` is.
    pub(crate) stream: Option<String>,
    pub(crate) line: String,
}

impl From<LogLine> for LogLineView {
    fn from(line: LogLine) -> Self {
        let LogOrigin { instance, environment, version, .. } = &*line.origin;
        Self {
            v: VERSION,
            at: line.at.map(moment),
            instance: instance.clone(),
            environment: *environment,
            version: version.clone(),
            stream: line.stream.map(|stream| stream.label().to_owned()),
            line: line.text,
        }
    }
}

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/v1/services/{service}/logs", get(logs))
}

async fn logs(
    State(served): State<Served>,
    Path(name): Path<String>,
    Query(request): Query<LogsRequest>,
) -> Result<Response, Problem> {
    let service = service_name(name)?;
    let snapshots = snapshots(&served, &service).await?;
    // Each keeps files open, of which a controller has only so many.
    let reader = Arc::clone(&served.log_readers).try_acquire_owned().map_err(|_| too_many())?;
    // Who follows may wait for the release that comes.
    if let Some(environment) = request.environment.filter(|_| !request.follow) {
        environment.release_of(&snapshots.borrow().state)?;
    }
    let newest = served.manager.history(&service, 1).await?;
    let newest = newest.into_iter().map(|newest| newest.release).collect();
    let wanted = wanted(&request, snapshots, newest);
    let since = request.since.map(Timestamp::from_millis);
    let query = LogQuery { service, wanted, lines: request.lines, since, follow: request.follow };
    let lines = served.logs.read(query).await;
    let lines = lines.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.reason))?;
    let lines = futures_util::stream::unfold((lines, reader), |(mut lines, reader)| async move {
        // What is there already travels together.
        let mut several = Vec::new();
        if lines.recv_many(&mut several, 64).await == 0 {
            return None;
        }
        let mut bytes = Vec::new();
        for line in several {
            serde_json::to_writer(&mut bytes, &LogLineView::from(line)).ok()?;
            bytes.push(b'\n');
        }
        Some((Ok::<_, io::Error>(Bytes::from(bytes)), (lines, reader)))
    });
    Ok(Body::from_stream(lines).into_response())
}

fn too_many() -> Problem {
    let message = format!("{READERS} others read logs already");
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, message);
    problem.hint = Some("end one of them, or try again later".to_owned());
    problem
}

/// What a request means, asked for each log and again while it is followed.
fn wanted(
    request: &LogsRequest,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    newest: HashSet<ReleaseId>,
) -> WantedOrigin {
    let LogsRequest { environment, release, instance, .. } = request.clone();
    let newest = Mutex::new(newest);
    Arc::new(move |origin: &LogOrigin| {
        let is = |wanted: bool, named: bool| wanted || !named;
        let by_name = is(origin.version == release, release.is_some())
            && is(instance.as_ref() == Some(&origin.instance), instance.is_some());
        let state = &snapshots.borrow().state;
        let Some(environment) = environment else {
            // Each release that is deployed while somebody follows is the newest in its turn.
            let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest.extend(state.deployment.as_ref().map(|open| open.release.clone()));
            let is_newest = origin.release.as_ref().is_some_and(|release| newest.contains(release));
            return by_name && (is_newest || release.is_some() || instance.is_some());
        };
        let environment = environment.resolve(state.live);
        let present = state.environments[environment].release.as_ref().map(|release| &release.id);
        let is_present = release.is_some() || origin.release.as_ref() == present;
        by_name && origin.environment == Some(environment) && is_present
    })
}
