//! Certificates over the API: how each stands, and that one is wanted now.

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use cutover_core::ServiceName;
use cutover_core::certificates::{LeftOut, SourceKind, Standing};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::problem::Problem;
use crate::api::server::Served;
use crate::api::views::moment;

/// How a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateView {
    pub(crate) name: String,
    /// The first service that wants it.
    pub(crate) service: ServiceName,
    /// What it shall be for.
    pub(crate) hosts: Vec<String>,
    pub(crate) source: SourceKind,
    /// The authority's directory, or the file.
    pub(crate) from: String,
    /// Until when the one that is served may be used; absent if there is none.
    pub(crate) expires: Option<String>,
    pub(crate) issuer: Option<String>,
    /// SHA-256, in hexadecimal digits.
    pub(crate) fingerprint: Option<String>,
    pub(crate) renew_at: Option<String>,
    pub(crate) last_attempt: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) next_attempt: Option<String>,
    pub(crate) failures: u32,
    /// Whether a live release still wants it.
    pub(crate) wanted: bool,
}

/// All of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CertificatesView {
    pub(crate) v: u32,
    /// Whether TLS is spoken at all.
    pub(crate) spoken: bool,
    pub(crate) certificates: Vec<CertificateView>,
    /// Hosts for which there is none, and why.
    pub(crate) left_out: Vec<LeftOutView>,
}

/// A host for which no certificate is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LeftOutView {
    pub(crate) service: ServiceName,
    /// Absent for every host.
    pub(crate) host: Option<String>,
    pub(crate) reason: String,
}

impl From<&Standing> for CertificateView {
    fn from(standing: &Standing) -> Self {
        let served = standing.served.as_ref();
        Self {
            name: standing.name.clone(),
            service: standing.service.clone(),
            hosts: standing.hosts.clone(),
            source: standing.source,
            from: standing.from.clone(),
            expires: served.map(|served| moment(served.not_after)),
            issuer: served.map(|served| served.issuer.clone()),
            fingerprint: served.map(|served| served.fingerprint.clone()),
            renew_at: standing.renew_at.map(moment),
            last_attempt: standing.last_attempt.map(moment),
            last_error: standing.last_error.clone(),
            next_attempt: standing.next_attempt.map(moment),
            failures: standing.failures,
            wanted: standing.wanted,
        }
    }
}

impl From<LeftOut> for LeftOutView {
    fn from(left: LeftOut) -> Self {
        let LeftOut { service, host, reason } = left;
        Self { service, host, reason }
    }
}

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/v1/certificates", get(certificates))
        .route("/v1/certificates/{name}/renew", post(renew))
}

async fn certificates(State(served): State<Served>) -> Json<CertificatesView> {
    Json(CertificatesView {
        v: VERSION,
        spoken: !served.controller.https.is_empty(),
        certificates: served.certificates.standings().iter().map(CertificateView::from).collect(),
        left_out: served.certificates.left_out().into_iter().map(LeftOutView::from).collect(),
    })
}

/// Those of a service's hosts: also where another service has asked for them first.
pub(super) fn of_service(served: &Served, service: &ServiceName, hosts: &[String]) -> Vec<CertificateView> {
    let standings = served.certificates.standings();
    let concerns = |standing: &&Standing| {
        standing.wanted
            && (standing.service == *service || standing.hosts.iter().any(|host| hosts.contains(host)))
    };
    standings.iter().filter(concerns).map(CertificateView::from).collect()
}

async fn renew(State(served): State<Served>, UrlPath(name): UrlPath<String>) -> Result<StatusCode, Problem> {
    if served.certificates.ask(&name).await {
        return Ok(StatusCode::ACCEPTED);
    }
    let mut problem =
        Problem::new(StatusCode::NOT_FOUND, format!("no certificate `{name}` is had from an authority"));
    problem.hint = Some("`cutover certificates` tells which there are".to_owned());
    Err(problem)
}
