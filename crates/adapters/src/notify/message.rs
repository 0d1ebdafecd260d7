//! What is told, in the forms that receivers read.

use cutover_controller::ports::News;
use cutover_core::Timestamp;
use cutover_core::release::NewsKind;
use cutover_core::service::DeploymentKind;
use serde_json::{Value, json};

/// The name of this host, which is told with everything.
#[derive(Debug, Clone)]
pub(super) struct HostName(String);

impl HostName {
    pub(super) fn of_this_host() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self(name)
    }
}

/// Version 1 of the object that webhooks and commands get; within it, keys are only added.
pub(super) fn object(news: &News, host: &HostName) -> Value {
    let deployment = &news.deployment;
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "v": 1,
        "id": news.id,
        "event": news.kind.label(),
        "at": news.at.to_string(),
        "service": news.service,
        "deployment": deployment.id,
        "kind": deployment.kind,
        "status": deployment.status.label(),
        "version": deployment.version,
        "from": deployment.from,
        "environment": deployment.environment,
        "actor": deployment.actor,
        "taken_back_by": deployment.taken_back_by,
        "reason": deployment.reason,
        "started_at": deployment.started_at.to_string(),
        "cutover_at": moment(deployment.cutover_at),
        "ended_at": moment(deployment.ended_at),
        "origin": deployment.origin,
        "host": host.0,
        "text": sentence(news, host),
    })
}

/// What a Slack-compatible receiver shows.
pub(super) fn slack(news: &News, host: &HostName) -> Value {
    let mark = match news.kind {
        NewsKind::Live => ":white_check_mark:",
        NewsKind::RolledBack => ":leftwards_arrow_with_hook:",
        NewsKind::Failed => ":x:",
        NewsKind::Stuck => ":rotating_light:",
    };
    // Slack reads these three as markup.
    let text = sentence(news, host).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": format!("{mark} {text}") })
}

/// The news in one sentence.
fn sentence(news: &News, host: &HostName) -> String {
    let deployment = &news.deployment;
    let (service, version, host) = (&news.service, &deployment.version, &host.0);
    let reason = deployment.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let from = deployment.from.as_ref().map(|from| format!(" instead of {from}")).unwrap_or_default();
    match (news.kind, deployment.kind) {
        (NewsKind::Live, _) => {
            format!("{service} {version} is live on {host}{from}, deployed by {}", deployment.actor)
        }
        (NewsKind::RolledBack, DeploymentKind::Rollback) if deployment.cutover_at.is_some() => {
            format!("{service} is back on {version} on {host}{from}, rolled back by {}", deployment.actor)
        }
        (NewsKind::RolledBack, _) => format!("{service} {version} was taken back on {host}{reason}"),
        (NewsKind::Failed, _) => format!("{service} {version} has failed on {host}{reason}"),
        (NewsKind::Stuck, _) => {
            format!(
                "{service} {version} is stuck on {host}{reason}; `cutover resolve {service}` shows the ways out"
            )
        }
    }
}
