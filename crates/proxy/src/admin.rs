//! The admin socket: who may open it may change the table.
//!
//! `PUT /v1/table`, `GET /v1/table`, `GET /v1/stats`, `PATCH /v1/services/NAME/weights`, `PATCH /v1/services` (weights
//! of several), `PUT /v1/services` (whole routes of several), `DELETE /v1/services/NAME[?epoch=N]`, `GET /v1/services/{name}/shift`
//! (what became of the last change of its weights), `POST /v1/drain`
//! (asks those that last to leave instances), `POST /v1/listen` (ends a hold of the
//! listeners), `POST` and `DELETE /v1/challenges` (what authorities look for), `POST /v1/certificates` (looks at their files
//! now), `POST /v1/tickets` (a new key for them), `POST /v1/shutdown`.
//! A change is answered with its receipts when no new request can go to a target of weight 0.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use cutover_core::drain::Departure;
use cutover_core::receipt::ShiftReport;
use cutover_core::routing::{Change, Refused, ServicePatch, ServiceRoute, TableDocument};
use cutover_core::{Epoch, ServiceName, Weights};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::plane::Plane;
use crate::tls::ChallengeAnswer;

#[derive(Clone)]
struct Administration {
    plane: Arc<Plane>,
    /// Somebody asked for the end of the process.
    shutdown: mpsc::Sender<()>,
}

/// The routes of the admin socket.
pub(crate) fn router(plane: Arc<Plane>, shutdown: mpsc::Sender<()>) -> Router {
    Router::new()
        .route("/v1/table", get(table).put(put_table))
        .route("/v1/stats", get(statistics))
        .route("/v1/services", patch(patch_services).put(put_services))
        .route("/v1/services/{name}", axum::routing::delete(remove_service))
        .route("/v1/services/{name}/weights", patch(patch_weights))
        .route("/v1/services/{name}/shift", get(shift))
        .route("/v1/drain", post(drain))
        .route("/v1/listen", post(listen))
        .route("/v1/challenges", post(show_challenges).delete(withdraw_challenges))
        .route("/v1/certificates", post(look_at_certificates))
        .route("/v1/tickets", post(replace_tickets))
        .route("/v1/shutdown", post(end))
        .fallback(not_found)
        .with_state(Administration { plane, shutdown })
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

/// An answer that is not the wanted one: status and one sentence.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::OlderEpoch { .. } | Refused::SameEpochOtherContent { .. } => StatusCode::CONFLICT,
            Refused::UnknownService(_) => StatusCode::NOT_FOUND,
            Refused::NamedTwice(_)
            | Refused::SameRoute { .. }
            | Refused::SameInstance { .. }
            | Refused::BadRoute { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self(status, refused.to_string())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

type Wanted<T> = Result<Json<T>, JsonRejection>;

async fn table(State(admin): State<Administration>) -> Json<TableDocument> {
    Json(admin.plane.document())
}

async fn statistics(State(admin): State<Administration>) -> Response {
    Json(admin.plane.statistics()).into_response()
}

async fn put_table(
    State(admin): State<Administration>,
    document: Wanted<TableDocument>,
) -> Result<Response, Refusal> {
    let Json(document) = document?;
    if document.listen != *admin.plane.listen() {
        let sentence = "the listeners of a running proxy cannot be changed; start another one";
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, sentence.to_owned()));
    }
    changed(&admin, Change::Replace(document.services))
}

async fn put_services(
    State(admin): State<Administration>,
    routes: Wanted<Vec<ServiceRoute>>,
) -> Result<Response, Refusal> {
    changed(&admin, Change::Put(routes?.0))
}

async fn patch_services(
    State(admin): State<Administration>,
    patches: Wanted<Vec<ServicePatch>>,
) -> Result<Response, Refusal> {
    changed(&admin, Change::Weights(patches?.0))
}

/// `{"blue":0,"green":100}` and optionally `"epoch"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightsChange {
    blue: u8,
    green: u8,
    epoch: Option<Epoch>,
}

async fn patch_weights(
    State(admin): State<Administration>,
    Path(name): Path<String>,
    change: Wanted<WeightsChange>,
) -> Result<Response, Refusal> {
    let Json(change) = change?;
    let unprocessable = |reason: String| Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason);
    let name = service_name(name)?;
    let weights =
        Weights::new(change.blue, change.green).map_err(|error| unprocessable(error.to_string()))?;
    let patch = ServicePatch { name, epoch: change.epoch, weights };
    let receipts = admin.plane.change(Change::Weights(vec![patch]))?;
    Ok(Json(receipts.into_iter().next()).into_response())
}

async fn remove_service(
    State(admin): State<Administration>,
    Path(name): Path<String>,
    Query(Removal { epoch }): Query<Removal>,
) -> Result<Response, Refusal> {
    changed(&admin, Change::Remove(vec![(service_name(name)?, epoch)]))
}

/// `?epoch=N`: not if what is in force is newer.
#[derive(Deserialize)]
struct Removal {
    epoch: Option<Epoch>,
}

fn service_name(text: String) -> Result<ServiceName, Refusal> {
    ServiceName::try_from(text).map_err(|error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

fn changed(admin: &Administration, change: Change) -> Result<Response, Refusal> {
    Ok(Json(admin.plane.change(change)?).into_response())
}

#[derive(Serialize)]
struct Listening {
    listening: bool,
}

/// What became of the last change of a service's weights.
async fn shift(
    State(admin): State<Administration>,
    Path(name): Path<String>,
) -> Result<Json<ShiftReport>, Refusal> {
    let name = service_name(name)?;
    let report = admin.plane.shift_report(&name);
    report.map(Json).ok_or_else(|| Refused::UnknownService(name).into())
}

/// Those that last are asked to leave instances that get no more requests; the same word again gives no more time.
async fn drain(
    State(admin): State<Administration>,
    wanted: Wanted<Departure>,
) -> Result<StatusCode, Refusal> {
    let Json(wanted) = wanted?;
    admin.plane.drain(&wanted).map_err(|instance| {
        Refusal(
            StatusCode::CONFLICT,
            format!("instance `{instance}` has traffic, so nobody is asked to leave it"),
        )
    })?;
    Ok(StatusCode::ACCEPTED)
}

/// Answered when clients are accepted, by this word or by a former one.
async fn listen(State(admin): State<Administration>) -> Json<Listening> {
    admin.plane.accept_clients().await;
    Json(Listening { listening: true })
}

async fn show_challenges(
    State(admin): State<Administration>,
    answers: Wanted<Vec<ChallengeAnswer>>,
) -> Result<StatusCode, Refusal> {
    let Json(answers) = answers?;
    let shown = admin.plane.tls.challenges.show(answers);
    shown.map_err(|reason| Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn withdraw_challenges(
    State(admin): State<Administration>,
    answers: Wanted<Vec<ChallengeAnswer>>,
) -> Result<StatusCode, Refusal> {
    admin.plane.tls.challenges.withdraw(&answers?.0);
    Ok(StatusCode::NO_CONTENT)
}

async fn look_at_certificates(State(admin): State<Administration>) -> StatusCode {
    admin.plane.tls.asked.notify_one();
    StatusCode::ACCEPTED
}

async fn replace_tickets(State(admin): State<Administration>) -> StatusCode {
    admin.plane.tls.replace_tickets();
    StatusCode::NO_CONTENT
}

async fn end(State(admin): State<Administration>) -> StatusCode {
    // A full channel holds the same wish already.
    let _ = admin.shutdown.try_send(());
    StatusCode::ACCEPTED
}

async fn not_found() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "there is nothing at this path".to_owned())
}
