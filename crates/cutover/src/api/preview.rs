//! The link to a release that users do not get, over the API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use cutover_controller::ports::RouterError;
use cutover_core::release::Release;
use cutover_core::routing::{Listen, ServiceRoute, TableDocument};
use cutover_core::{Environment, ReleaseId, ServiceName, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::environment::EnvironmentName;
use crate::api::peer::Peer;
use crate::api::problem::Problem;
use crate::api::server::{Served, service_name, snapshots};
use crate::api::views::moment;

/// A link is good for so long at most.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is to be shown, and for how long.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewRequest {
    pub(crate) environment: EnvironmentName,
    pub(crate) seconds: u64,
}

/// The ways to a release for whoever has them. They are secrets.
#[derive(Serialize, Deserialize)]
pub(crate) struct PreviewView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    pub(crate) environment: Environment,
    pub(crate) version: Version,
    pub(crate) release: ReleaseId,
    /// For a browser.
    pub(crate) link: String,
    /// The same place for everything else, which sends `header`.
    pub(crate) url: String,
    /// Name and value of a field.
    pub(crate) header: String,
    pub(crate) until: String,
}

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/v1/services/{service}/preview", post(preview))
}

async fn preview(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    UrlPath(name): UrlPath<String>,
    request: Result<Json<PreviewRequest>, JsonRejection>,
) -> Result<Json<PreviewView>, Problem> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let PreviewRequest { environment: asked, seconds } = request;
    if seconds == 0 || seconds > LONGEST.as_secs() {
        let error = "a preview lasts between a second and 7 days";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    let service = service_name(name)?;
    let snapshot = std::sync::Arc::clone(&snapshots(&served, &service).await?.borrow());
    let (environment, release) = asked.release_of(&snapshot.state)?;
    let key = served.preview_key.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "there is no key to sign previews with; the controller's log says why",
        )
    })?;
    // By what is routed, not by what should be: a link that leads nowhere is given to nobody.
    let unreachable = |error: RouterError| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let table = served.router.table().await.map_err(unreachable)?;
    let seen = served.router.seen().await.map_err(unreachable)?;
    if seen.preview_key != Some(key.fingerprint()) {
        let error = "the proxy that runs does not know the key of this controller's previews";
        let mut problem = Problem::new(StatusCode::CONFLICT, error);
        let hint = "it was started before the key was made; `cutover shutdown` ends it, and the next `cutover serve` starts one that does";
        problem.hint = Some(hint.to_owned());
        return Err(problem);
    }
    let route = route(&table, &service, release, environment)?;
    let is_covered = |host: &str| {
        let tls = seen.tls.iter().flat_map(|tls| &tls.certificates);
        tls.flat_map(|shown| &shown.names).any(|name| is_for(name, host))
    };
    // The clock of the host, which is the proxy's.
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
    let until = now + Duration::from_secs(seconds);
    let token = key.sign(&service, release.id.as_str(), until);
    let (version, until) = (release.version.clone(), moment(until));
    tracing::info!(%service, %version, until, actor = peer.actor, "gave a link to a preview away");
    let url = url(route, &table.listen, is_covered);
    Ok(Json(PreviewView {
        v: VERSION,
        link: format!("{url}?cutover_preview={token}"),
        header: format!("X-Cutover-Preview: {token}"),
        url,
        environment,
        version,
        release: release.id.clone(),
        service,
        until,
    }))
}

/// The route of the service, if a token for the release would lead anywhere.
fn route<'t>(
    table: &'t TableDocument,
    service: &ServiceName,
    release: &Release,
    environment: Environment,
) -> Result<&'t ServiceRoute, Problem> {
    let route = table.services.iter().find(|route| route.name == *service);
    let leads_there = |route: &&ServiceRoute| {
        let preview = route.preview.iter().map(|preview| (&preview.tag, &*preview.instances));
        let slots = Environment::ALL.map(|slot| (&route.tags[slot], route.instances(slot)));
        let mut tagged = preview.chain(slots);
        tagged.any(|(tag, instances)| tag == release.id.as_str() && !instances.is_empty())
    };
    route.filter(leads_there).ok_or_else(|| {
        let version = &release.version;
        let error = format!("{version} in {environment} has no instance that can be reached");
        let mut problem = Problem::new(StatusCode::CONFLICT, error);
        problem.hint =
            Some(format!("`cutover status {service}` tells what runs; what has stopped is deployed again"));
        problem
    })
}

/// Whether a certificate with this name is for a host.
fn is_for(name: &str, host: &str) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    name == host || name.strip_prefix("*.").is_some_and(|named| Some(named) == parent)
}

/// Where the service is: at the host of its preview, at the first of its own, or where clients are accepted; with TLS where
/// there is a certificate.
fn url(route: &ServiceRoute, listen: &Listen, is_covered: impl Fn(&str) -> bool) -> String {
    let named = route.hosts.iter().find(|host| !host.starts_with("*."));
    let named = route.preview.as_ref().and_then(|preview| preview.host.as_ref()).or(named);
    let secure = listen.https.first().filter(|_| named.is_some_and(|host| is_covered(host)));
    let (scheme, usual) = if secure.is_some() { ("https", 443) } else { ("http", 80) };
    let listener = secure.or(listen.http.first()).copied();
    let listener = listener.unwrap_or_else(|| ([127, 0, 0, 1], 80).into());
    let host = named.cloned().unwrap_or_else(|| match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        IpAddr::V6(ip) => format!("[{ip}]"),
    });
    let port = if listener.port() == usual { String::new() } else { format!(":{}", listener.port()) };
    format!("{scheme}://{host}{port}{}", route.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(service: &str, listener: &str) -> TableDocument {
        let text = format!(
            "[listen]\nhttp = [\"{listener}\"]\n[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\n{service}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_link_names_the_host_by_which_the_service_is_reached() {
        let check = |service: &str, listener: &str, expected: &str| {
            let table = table(service, listener);
            assert_eq!(url(&table.services[0], &table.listen, |_| false), expected);
        };
        let preview = "hosts = [\"shop.example\"]\n[service.preview]\ntag = \"t\"\nenvironment = \"green\"\nhost = \"next.example\"";
        check(preview, "0.0.0.0:80", "http://next.example/");
        check(
            "hosts = [\"*.example\", \"shop.example\"]\npath = \"/a\"",
            "0.0.0.0:8080",
            "http://shop.example:8080/a",
        );
        check("hosts = [\"*.example\"]", "192.0.2.1:80", "http://192.0.2.1/");
        check("", "0.0.0.0:8080", "http://127.0.0.1:8080/");
        check("", "[::]:8080", "http://[::1]:8080/");
        check("", "[2001:db8::1]:80", "http://[2001:db8::1]/");
    }

    #[test]
    fn a_link_is_one_with_tls_where_there_is_a_certificate_for_its_host() {
        let mut table = table("hosts = [\"shop.example\"]", "0.0.0.0:80");
        table.listen.https = vec!["0.0.0.0:8443".parse().unwrap()];
        let with = |name: &str| url(&table.services[0], &table.listen, |host| is_for(name, host));
        assert_eq!(with("shop.example"), "https://shop.example:8443/");
        assert_eq!(with("*.example"), "https://shop.example:8443/");
        assert_eq!(with("other.example"), "http://shop.example/");
    }
}
