//! Certificates over the API: how each stands, and that one is wanted now.

use std::time::SystemTime;

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use cutover_core::certificates::{CertificateFacts, LeftOut, SourceKind, Standing};
use cutover_core::release::Configuration;
use cutover_core::statistics::CertificateReport;
use cutover_core::tls::CertificateSource;
use cutover_core::{ServiceName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::problem::Problem;
use crate::api::server::Served;
use crate::api::views::moment;

/// For whoever expects TLS where there is none.
pub(crate) const NOT_SPOKEN: &str =
    "TLS is not spoken here: `cutover shutdown`, then `cutover serve` with `--https :443`, begins it";

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
    /// Those of the hosts that the one that is served is not for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) uncovered: Vec<String>,
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
    /// Files that the proxy reads itself and cannot use: those of the whole host, authorities of clients and of instances.
    #[serde(default)]
    pub(crate) problems: Vec<ProblemView>,
}

/// A file that the proxy cannot use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProblemView {
    pub(crate) file: String,
    pub(crate) problem: String,
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
            uncovered: served.map(|served| uncovered(served, &standing.hosts)).unwrap_or_default(),
            expires: served.map(|served| moment(served.not_after)),
            issuer: served.map(|served| served.issuer.clone()),
            fingerprint: served.map(|served| served.fingerprint.clone()),
            renew_at: standing.renew_at.map(moment),
            last_attempt: standing.last_attempt.map(moment),
            last_error: standing.last_error.clone(),
            // What nobody waits for is not tried again.
            next_attempt: standing.next_attempt.filter(|_| standing.why(now()).is_some()).map(moment),
            failures: standing.failures,
            wanted: standing.wanted,
        }
    }
}

fn uncovered(served: &CertificateFacts, hosts: &[String]) -> Vec<String> {
    hosts.iter().filter(|host| !served.covers(host)).cloned().collect()
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
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

/// What the proxy says of files; nothing if it does not answer.
pub(super) async fn problems(served: &Served) -> Vec<ProblemView> {
    let seen = served.router.seen().await.ok().and_then(|seen| seen.tls).unwrap_or_default();
    let told = |report: CertificateReport| {
        let problem = report.problem?;
        Some(ProblemView { file: report.file.display().to_string(), problem })
    };
    seen.certificates.into_iter().filter_map(told).collect()
}

async fn certificates(State(served): State<Served>) -> Json<CertificatesView> {
    Json(CertificatesView {
        v: VERSION,
        spoken: !served.controller.https.is_empty(),
        certificates: served.certificates.standings().iter().map(CertificateView::from).collect(),
        left_out: served.certificates.left_out().into_iter().map(LeftOutView::from).collect(),
        problems: problems(&served).await,
    })
}

/// What people have to know of a release's TLS besides its certificates.
pub(super) async fn notes(served: &Served, configuration: &Configuration) -> Vec<String> {
    let mut notes = Vec::new();
    let tls = &configuration.tls;
    let wanted = matches!(tls.certificates, CertificateSource::Acme(_) | CertificateSource::Files(_));
    if (wanted || tls.clients.is_some()) && served.controller.https.is_empty() {
        notes.push(NOT_SPOKEN.to_owned());
    }
    let clients = tls.clients.iter().flat_map(|clients| [Some(&clients.ca), clients.crl.as_ref()]);
    let instances = configuration.upstream.tls.iter();
    let instances = instances.flat_map(|tls| [tls.ca.as_ref(), tls.certificate.as_ref(), tls.key.as_ref()]);
    let files: Vec<String> =
        clients.chain(instances).flatten().map(|file| file.display().to_string()).collect();
    if files.is_empty() {
        return notes;
    }
    let problems = problems(served).await;
    notes.extend(
        problems.into_iter().filter(|problem| files.contains(&problem.file)).map(|problem| problem.problem),
    );
    notes
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
