//! The controller's API on its Unix socket.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use cutover_adapters::embedded::EmbeddedRouter;
use cutover_adapters::release_store::uploads::Uploads;
use cutover_controller::ports::{Console, EvidenceSource, InstanceLogs, Meter, Rehearsal};
use cutover_controller::{CertificateKeeper, DeploymentManager, Snapshot};
use cutover_core::ServiceName;
use cutover_core::preview::PreviewKey;
use cutover_core::service::Status;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::api::calendar::{FreezeRequest, FrozenView, NotifyTroubleView};
use crate::api::evidence::Window;
use crate::api::follow::waiting_for;
use crate::api::peer::{self, Peer};
use crate::api::plain::check_reason;
use crate::api::problem::Problem;
use crate::api::views::{
    AbortRequest, Accepted, ControllerView, DeployAnswer, DeployRequest, DeploymentView, HistoryView,
    PromoteRequest, ResolveRequest, RollbackRequest, ServiceView, ServicesView, WaysView, moment,
};
use crate::api::{
    VERSION, artifacts, certificates, exec, follow, gates, logs, metrics, moves, pause, plan, preview,
};

/// Seconds by which the host's clock has to be elsewhere before people are told.
const NOTABLE_DRIFT: u64 = 60;

/// Deployments that a history holds at most.
pub(super) const HISTORY: usize = 200;

/// What every request is served from.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) manager: Arc<DeploymentManager>,
    pub(crate) controller: ControllerView,
    /// Somebody asked for the end of everything.
    pub(crate) shutdown: mpsc::Sender<()>,
    /// What instances have written.
    pub(crate) logs: Arc<dyn InstanceLogs>,
    /// Runs commands of people.
    pub(crate) console: Arc<dyn Console>,
    /// Makes releases to be looked at.
    pub(crate) rehearsal: Arc<dyn Rehearsal>,
    /// Says what instances use.
    pub(crate) meter: Arc<dyn Meter>,
    /// Artifacts that come from elsewhere.
    pub(crate) uploads: Uploads,
    /// What is routed, as the proxy says.
    pub(crate) router: EmbeddedRouter,
    /// What previews are signed with; `None` if it could be neither read nor made.
    pub(crate) preview_key: Option<PreviewKey>,
    /// What looks after certificates.
    pub(crate) certificates: CertificateKeeper,
    /// One for each that may read logs now.
    pub(crate) log_readers: Arc<Semaphore>,
    /// One for each upload that may come now.
    pub(crate) senders: Arc<Semaphore>,
    window: Window,
}

/// What requests are served from beside the manager.
pub(crate) struct Outside {
    pub(crate) logs: Arc<dyn InstanceLogs>,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) rehearsal: Arc<dyn Rehearsal>,
    pub(crate) meter: Arc<dyn Meter>,
    pub(crate) uploads: Uploads,
    pub(crate) router: EmbeddedRouter,
    pub(crate) preview_key: Option<PreviewKey>,
    pub(crate) certificates: CertificateKeeper,
}

impl Served {
    pub(crate) fn new(
        manager: Arc<DeploymentManager>,
        controller: ControllerView,
        shutdown: mpsc::Sender<()>,
        outside: Outside,
    ) -> Self {
        let Outside { logs, console, rehearsal, meter, uploads, router, preview_key, certificates } = outside;
        let window = Window::default();
        let log_readers = Arc::new(Semaphore::new(super::logs::READERS));
        let senders = Arc::new(Semaphore::new(super::artifacts::SENDERS));
        Self {
            manager,
            controller,
            shutdown,
            logs,
            console,
            rehearsal,
            meter,
            uploads,
            router,
            preview_key,
            certificates,
            log_readers,
            senders,
            window,
        }
    }
}

/// Serves the API on `socket` until the task is dropped.
pub(crate) async fn serve(
    socket: UnixListener,
    served: Served,
    evidence: Arc<dyn EvidenceSource>,
) -> io::Result<()> {
    let sampling = tokio::spawn(served.window.clone().follow(evidence));
    let router = Router::new()
        .route("/v1/controller", get(controller))
        .route("/v1/services", get(services))
        .route("/v1/services/{service}", get(service))
        .route("/v1/services/{service}/deployments", get(history).post(deploy))
        .route("/v1/services/{service}/deployments/{id}", get(deployment))
        .route("/v1/services/{service}/rollback", post(rollback))
        .route("/v1/services/{service}/abort", post(abort))
        .route("/v1/services/{service}/promote", post(promote))
        .route("/v1/services/{service}/resolve", get(ways).post(resolve))
        .route("/v1/services/{service}/freeze", post(freeze))
        .route("/v1/services/{service}/unfreeze", post(unfreeze))
        .route("/v1/freeze", post(freeze_all))
        .route("/v1/unfreeze", post(unfreeze_all))
        .route("/v1/shutdown", post(shut_down))
        .merge(artifacts::routes())
        .merge(logs::routes())
        .merge(exec::routes())
        .merge(follow::routes())
        .merge(moves::routes())
        .merge(gates::routes())
        .merge(plan::routes())
        .merge(preview::routes())
        .merge(certificates::routes())
        .merge(metrics::routes())
        .merge(pause::routes())
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .layer(axum::middleware::from_fn(peer::hear))
        .with_state(served);
    let result = axum::serve(socket, router.into_make_service_with_connect_info::<Peer>()).await;
    sampling.abort();
    result
}

/// Binds the socket, replacing one that a former controller left; the caller holds the controller's lock.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

type Answer<T> = Result<Json<T>, Problem>;

pub(super) fn service_name(text: String) -> Result<ServiceName, Problem> {
    ServiceName::try_from(text)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

async fn controller(State(served): State<Served>) -> Json<ControllerView> {
    Json(served.controller)
}

async fn services(State(served): State<Served>) -> Answer<ServicesView> {
    Ok(Json(ServicesView { v: VERSION, services: shown_services(&served).await }))
}

/// All of them but what was removed, which is told of by its history alone.
pub(super) async fn shown_services(served: &Served) -> Vec<ServiceView> {
    let mut services = Vec::new();
    for snapshot in served.manager.services().await.iter().filter(|snapshot| !is_gone(snapshot)) {
        services.push(view(served, snapshot).await);
    }
    services
}

/// Whether it was removed, and nothing has begun it anew.
fn is_gone(snapshot: &Snapshot) -> bool {
    snapshot.state.removal.as_ref().is_some_and(|removal| removal.done)
}

async fn service(State(served): State<Served>, UrlPath(name): UrlPath<String>) -> Answer<ServiceView> {
    let name = service_name(name)?;
    let snapshots = snapshots(&served, &name).await?;
    let snapshot = Arc::clone(&snapshots.borrow());
    if let Some(removal) = snapshot.state.removal.as_ref().filter(|_| is_gone(&snapshot)) {
        let mut problem = Problem::new(
            StatusCode::NOT_FOUND,
            format!("service `{name}` was removed by {} at {}", removal.by, moment(removal.at)),
        );
        problem.hint = Some(format!("`cutover history {name}` tells what it was; a deploy begins it anew"));
        return Err(problem);
    }
    Ok(Json(view(&served, &snapshot).await))
}

async fn view(served: &Served, snapshot: &Snapshot) -> ServiceView {
    let name = &snapshot.state.name;
    let mut past_trouble = None;
    let newest = match &snapshot.state.deployment {
        Some(open) => {
            let waiting_for = waiting_for(snapshot, open);
            Some(DeploymentView { waiting_for, ..DeploymentView::new(name, open) })
        }
        // Nothing newer can have undone it.
        None => match served.manager.history(name, 1).await {
            Ok(history) => history.first().map(|newest| DeploymentView::new(name, newest)),
            // One service whose past cannot be read does not keep the others from being told of.
            Err(error) => {
                past_trouble = Some(error.to_string());
                None
            }
        },
    };
    let clock = served.manager.clock();
    let mut view = ServiceView::new(snapshot, newest, clock.now());
    let ahead = clock.drift() / 1000;
    view.clock_ahead_seconds = (ahead.unsigned_abs() >= NOTABLE_DRIFT).then_some(ahead);
    view.journal_trouble = view.journal_trouble.or(past_trouble);
    served.window.complete(&mut view);
    let live = snapshot.state.environments[snapshot.state.live].release.as_ref();
    let hosts = live.map(|release| release.configuration.route.hosts.as_slice()).unwrap_or_default();
    view.certificates = certificates::of_service(served, name, hosts);
    if let Some(live) = live {
        view.tls_notes = certificates::notes(served, &live.configuration).await;
    }
    view.notify_trouble = served.manager.notify_trouble(name).iter().map(NotifyTroubleView::new).collect();
    view
}

/// A service as it is and becomes.
pub(super) async fn snapshots(
    served: &Served,
    name: &ServiceName,
) -> Result<watch::Receiver<Arc<Snapshot>>, Problem> {
    let unknown = || cutover_controller::RequestError::UnknownService(name.clone());
    Ok(served.manager.watch(name).await.ok_or_else(unknown)?)
}

async fn history(State(served): State<Served>, UrlPath(name): UrlPath<String>) -> Answer<HistoryView> {
    let service = service_name(name)?;
    snapshots(&served, &service).await?;
    let history = served.manager.history(&service, HISTORY).await?;
    let deployments = DeploymentView::history(&service, &history);
    Ok(Json(HistoryView { v: VERSION, service, deployments }))
}

async fn deployment(
    State(served): State<Served>,
    UrlPath((name, id)): UrlPath<(String, String)>,
) -> Answer<DeploymentView> {
    let name = service_name(name)?;
    find(&served, &name, &id).await.map(Json)
}

pub(super) async fn find(served: &Served, name: &ServiceName, id: &str) -> Result<DeploymentView, Problem> {
    let history = served.manager.history(name, HISTORY).await?;
    let found =
        DeploymentView::history(name, &history).into_iter().find(|view| view.deployment.as_str() == id);
    let snapshot = served.manager.watch(name).await.map(|snapshots| Arc::clone(&snapshots.borrow()));
    let found = found.map(|view| {
        let snapshot = snapshot.as_ref();
        let open =
            snapshot.and_then(|snapshot| snapshot.state.deployment.as_ref().map(|open| (snapshot, open)));
        let open = open.filter(|(_, open)| open.id == view.deployment);
        let waiting_for = open.and_then(|(snapshot, open)| waiting_for(snapshot, open));
        DeploymentView { waiting_for, ..view }
    });
    found.ok_or_else(|| {
        let mut problem =
            Problem::new(StatusCode::NOT_FOUND, format!("service `{name}` has no deployment `{id}`"));
        problem.hint = Some("`cutover history` lists them".to_owned());
        problem
    })
}

async fn deploy(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Result<Json<DeployRequest>, JsonRejection>,
) -> Answer<DeployAnswer> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    if request.spec.service.as_str() != name {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "path and body name different services"));
    }
    check_reason(request.override_freeze.as_deref().unwrap_or_default())?;
    let (spec, options) = request.into_parts();
    let submitted = served.manager.submit(&spec, &peer.actor, options).await?;
    Ok(Json(submitted.into()))
}

async fn rollback(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> Answer<Accepted> {
    let request =
        if body.is_empty() { Ok(RollbackRequest::default()) } else { serde_json::from_slice(&body) };
    let RollbackRequest { to } =
        request.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let service = service_name(name)?;
    let deployment = match to {
        Some(release) => served.manager.rollback_to(&service, &peer.actor, &release).await?,
        None => served.manager.rollback(&service, &peer.actor).await?,
    };
    Ok(Json(Accepted { deployment }))
}

async fn abort(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> Answer<Accepted> {
    let request = if body.is_empty() { Ok(AbortRequest::default()) } else { serde_json::from_slice(&body) };
    let AbortRequest { only_queue, deployment } =
        request.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let service = service_name(name)?;
    let deployment = served.manager.abort(&service, &peer.actor, only_queue, deployment).await?;
    Ok(Json(Accepted { deployment }))
}

async fn promote(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> Answer<Accepted> {
    let request = if body.is_empty() { Ok(PromoteRequest::default()) } else { serde_json::from_slice(&body) };
    let PromoteRequest { deployment } =
        request.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let deployment = served.manager.promote(&service_name(name)?, &peer.actor, deployment).await?;
    Ok(Json(Accepted { deployment }))
}

async fn ways(State(served): State<Served>, UrlPath(name): UrlPath<String>) -> Answer<WaysView> {
    let service = service_name(name)?;
    let snapshot = Arc::clone(&snapshots(&served, &service).await?.borrow());
    let stuck = snapshot.state.deployment.as_ref().filter(|open| open.status == Status::Stuck);
    let stuck = stuck.map(|stuck| stuck.reason.clone().unwrap_or_default());
    Ok(Json(WaysView { v: VERSION, service, stuck, ways: snapshot.state.ways_out() }))
}

async fn resolve(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Result<Json<ResolveRequest>, JsonRejection>,
) -> Answer<Accepted> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let deployment = served.manager.resolve(&service_name(name)?, &peer.actor, request.way).await?;
    Ok(Json(Accepted { deployment }))
}

async fn freeze(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Result<Json<FreezeRequest>, JsonRejection>,
) -> Answer<FrozenView> {
    freeze_these(&served, Some(service_name(name)?), &peer, request).await
}

async fn freeze_all(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Result<Json<FreezeRequest>, JsonRejection>,
) -> Answer<FrozenView> {
    freeze_these(&served, None, &peer, request).await
}

async fn freeze_these(
    served: &Served,
    service: Option<ServiceName>,
    peer: &Peer,
    request: Result<Json<FreezeRequest>, JsonRejection>,
) -> Answer<FrozenView> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let until = request.until().ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "`until` must be a moment in RFC 3339, or `seconds` given",
        )
    })?;
    check_reason(&request.reason)?;
    let frozen = served.manager.freeze(service.as_ref(), &peer.actor, until, &request.reason).await;
    let (told, freeze) = frozen?;
    Ok(Json(FrozenView::new(told, Some(&freeze))))
}

async fn unfreeze(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
) -> Answer<FrozenView> {
    let told = served.manager.unfreeze(Some(&service_name(name)?), &peer.actor).await?;
    Ok(Json(FrozenView::new(told, None)))
}

async fn unfreeze_all(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Answer<FrozenView> {
    let told = served.manager.unfreeze(None, &peer.actor).await?;
    Ok(Json(FrozenView::new(told, None)))
}

async fn shut_down(State(served): State<Served>) -> StatusCode {
    // A full channel holds the same wish already.
    let _ = served.shutdown.try_send(());
    StatusCode::ACCEPTED
}
