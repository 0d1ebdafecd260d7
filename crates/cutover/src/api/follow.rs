//! A deployment as it happens, over the API, and what it waits for.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cutover_controller::Snapshot;
use cutover_core::service::Deployment;
use cutover_core::{DeploymentId, ServiceName};
use tokio::sync::watch;

use crate::api::problem::Problem;
use crate::api::server::{HISTORY, Served, find, service_name, snapshots};
use crate::api::views::{DeploymentView, moment};

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/v1/services/{service}/deployments/{id}/follow", get(follow))
}

/// One line of JSON for each change of a deployment, until it has ended.
async fn follow(
    State(served): State<Served>,
    UrlPath((name, id)): UrlPath<(String, String)>,
) -> Result<Response, Problem> {
    let service = service_name(name)?;
    let id = DeploymentId::try_from(id)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    find(&served, &service, id.as_str()).await?;
    let mut snapshots = snapshots(&served, &service).await?;
    snapshots.mark_changed();
    let following = Following { served, service, id, snapshots, told: None, ended: false };
    let lines = futures_util::stream::unfold(following, |mut following| async move {
        let view = following.next().await?;
        let mut line = serde_json::to_vec(&view).ok()?;
        line.push(b'\n');
        Some((Ok::<_, io::Error>(Bytes::from(line)), following))
    });
    Ok(Body::from_stream(lines).into_response())
}

/// What a deployment waits for, as far as that is worth telling.
pub(super) fn waiting_for(snapshot: &Snapshot, deployment: &Deployment) -> Option<String> {
    let state = &snapshot.state;
    if let (Some(ahead), Some(open)) = (state.ahead_of(&deployment.id), &state.deployment) {
        let behind = match ahead {
            0 | 1 => String::new(),
            more => format!(", and {} more before it", more - 1),
        };
        let baking = if open.is_baking() { ", which is in its bake" } else { "" };
        return Some(format!("deployment `{}` of `{}`{baking}{behind}", open.id, open.version));
    }
    if let Some(until) = deployment.hold_until.filter(|_| snapshot.journal_trouble.is_none()) {
        let (service, until) = (&state.name, moment(until));
        return Some(format!(
            "`cutover promote {service}` switches traffic to it; if nobody asks for that, it is taken back at {until}"
        ));
    }
    if deployment.ended_at.is_some() {
        return None;
    }
    let told = snapshot.waiting_for.clone();
    // The gate that is asked now, by its own name.
    let asked = deployment.gates.first().filter(|gate| {
        deployment.steps.iter().any(|step| step.outcome.is_none() && step.name == gate.label())
    });
    let told = match asked {
        Some(gate) => {
            let told = told.map_or_else(String::new, |told| format!(": {told}"));
            Some(format!("the gate `{}`{told}", gate.label()))
        }
        None => told,
    };
    snapshot.journal_trouble.clone().or(told)
}

struct Following {
    served: Served,
    service: ServiceName,
    id: DeploymentId,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    told: Option<DeploymentView>,
    ended: bool,
}

impl Following {
    /// The next state of the deployment that differs from the last one told.
    async fn next(&mut self) -> Option<DeploymentView> {
        while !self.ended {
            self.snapshots.changed().await.ok()?;
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            let is_it = |deployment: &&Deployment| deployment.id == self.id;
            let state = &snapshot.state;
            let here = state.deployment.iter().chain(&state.queue).chain(&snapshot.last_closed).find(is_it);
            let view = match here {
                Some(deployment) => DeploymentView {
                    waiting_for: waiting_for(&snapshot, deployment),
                    ..DeploymentView::new(&self.service, deployment)
                },
                None => {
                    let history = self.served.manager.history(&self.service, HISTORY).await.ok()?;
                    let found = history.iter().find(|deployment| deployment.id == self.id)?;
                    DeploymentView::new(&self.service, found)
                }
            };
            self.ended = view.ended_at.is_some();
            if self.told.as_ref() != Some(&view) {
                self.told = Some(view.clone());
                return Some(view);
            }
        }
        None
    }
}
