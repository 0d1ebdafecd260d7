//! `cutover status`: what is live, what is idle, whether a rollback is possible.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use clap::Args;
use cutover_core::service::Status as DeploymentStatus;
use cutover_core::{Environment, ServiceName};
use hyper::StatusCode;
use serde_json::json;

use crate::api::VERSION;
use crate::api::views::{EnvironmentView, ServiceView, ServicesView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// What is live, what is idle, how they are, whether a rollback is possible
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here, else all]
    service: Option<String>,
    /// Show it again every second until Ctrl-C
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let client = self.place.client();
        let named = self.service.is_some();
        let one = named || std::path::Path::new("cutover.toml").exists();
        let service = if one { Some(place::service(self.service)?) } else { None };
        loop {
            match &service {
                Some(service) => match client.get::<ServiceView>(&format!("/v1/services/{service}")).await {
                    Err(error) if !named && error.status() == Some(StatusCode::NOT_FOUND) => {
                        return Ok(never_deployed(printer, service));
                    }
                    view => {
                        let view = view?;
                        show(printer, self.watch, &view, || service_text(&view));
                    }
                },
                None => {
                    let view: ServicesView = client.get("/v1/services").await?;
                    show(printer, self.watch, &view, || services_text(&view));
                }
            }
            if !self.watch {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// The service of the cutover.toml here is not known yet: that is no mistake.
fn never_deployed(printer: &Printer, service: &ServiceName) -> Exit {
    let object = json!({ "v": VERSION, "service": service, "status": DeploymentStatus::NotStarted });
    printer.result(&object, || {
        format!("{service}   not deployed yet; `cutover deploy` makes its first release live")
    });
    Exit::Done
}

fn show(printer: &Printer, watch: bool, view: &impl serde::Serialize, text: impl FnOnce() -> String) {
    const HOME_AND_CLEAR: &str = "\u{1b}[H\u{1b}[2J";
    let clear = if watch && printer.is_terminal() { HOME_AND_CLEAR } else { "" };
    printer.result(view, || format!("{clear}{}", text()));
}

fn services_text(view: &ServicesView) -> String {
    if view.services.is_empty() {
        return "no service yet; `cutover deploy` beside a cutover.toml makes the first".to_owned();
    }
    view.services.iter().map(service_text).collect::<Vec<_>>().join("\n")
}

/// A service in a few lines.
pub(crate) fn service_text(view: &ServiceView) -> String {
    let mut text = String::new();
    let live = &view.environments[view.live];
    let headline = match &live.version {
        Some(version) => {
            let since = live.last_deployed.as_deref().map(|moment| format!(" for {}", age(moment)));
            format!("{version} live on {}{}", view.live, since.unwrap_or_default())
        }
        None => "nothing is live".to_owned(),
    };
    let _ = writeln!(text, "{}   {headline:<34} {}", view.service, rollback_text(view));
    for color in Environment::ALL {
        let _ = writeln!(text, "{}", environment_text(&view.environments[color]));
    }
    if let Some(deployment) = &view.deployment {
        let open = deployment.ended_at.is_none();
        let reason = deployment.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let worth_telling = open || !matches!(deployment.status, DeploymentStatus::Live);
        if worth_telling {
            let _ = writeln!(
                text,
                "  deployment {} of {} {}{reason}{}",
                deployment.deployment,
                deployment.version,
                if open { "is open" } else { "has ended" },
                status_text(deployment.status, deployment.bake_until.as_deref().filter(|_| open)),
            );
        }
    }
    if let Some(wait) = view.deployment.as_ref().and_then(|deployment| deployment.waiting_for.as_ref()) {
        let _ = writeln!(text, "  it waits: {wait}");
    }
    if let Some(trouble) = &view.journal_trouble {
        let _ = writeln!(text, "  nothing can be decided now: {trouble}");
    }
    text
}

fn status_text(status: DeploymentStatus, bake_until: Option<&str>) -> String {
    let words = match status {
        DeploymentStatus::Live => "live, baking",
        DeploymentStatus::NotStarted => "not started",
        DeploymentStatus::RollingBack => "being taken back",
        DeploymentStatus::RolledBack => "taken back",
        DeploymentStatus::Deploying
        | DeploymentStatus::Migrating
        | DeploymentStatus::Validating
        | DeploymentStatus::Shifting
        | DeploymentStatus::Failed
        | DeploymentStatus::Stuck => status.label(),
    };
    let left = bake_until.and_then(|until| humantime::parse_rfc3339(until).ok());
    let left = left.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
    let left = left.map(|left| format!(", {} left", seconds(left))).unwrap_or_default();
    format!(" ({words}{left})")
}

fn rollback_text(view: &ServiceView) -> String {
    let rollback = &view.rollback;
    let before_cutover =
        view.deployment.as_ref().filter(|open| open.ended_at.is_none() && open.cutover_at.is_none());
    if let (Some(open), Some(to), true) = (before_cutover, &rollback.to, rollback.ready) {
        return format!("a rollback takes {} back, {to} stays live", open.version);
    }
    match (&rollback.to, rollback.ready) {
        (Some(to), true) if rollback.warm => {
            format!("rollback ready: {to} warm on {}", view.live.other())
        }
        (Some(to), true) => {
            format!("rollback possible: {to} must be started, about {:.0} s", rollback.seconds.ceil())
        }
        _ => format!("no rollback: {}", rollback.why_not.as_deref().unwrap_or("no reason is known")),
    }
}

fn environment_text(view: &EnvironmentView) -> String {
    let Some(version) = &view.version else {
        return format!("  {:<7} empty", view.color);
    };
    let total = view.instances.len();
    let health = match (total, view.health.as_str()) {
        (0, _) => "stopped".to_owned(),
        (_, "healthy") => format!("{total}/{total} healthy"),
        (_, health) => format!("{total} {health}"),
    };
    let mut text = format!("  {:<7} {version:<10} {:>3} %   {health:<14}", view.color, view.weight);
    if let Some(traffic) = &view.traffic {
        let _ = write!(text, " {:>6.0} req/s", traffic.requests_per_second);
        if let Some(p95) = traffic.p95_ms {
            let _ = write!(text, "   {:.1} % errors   p95 {p95:.1} ms", traffic.error_rate * 100.0);
        }
    }
    if view.rolled_back {
        text.push_str("   was taken back");
    }
    for reason in view.health_reason.iter().chain(&view.trouble) {
        let _ = write!(text, "\n          {reason}");
    }
    text.trim_end().to_owned()
}

fn age(moment: &str) -> String {
    let then = humantime::parse_rfc3339(moment).unwrap_or(SystemTime::UNIX_EPOCH);
    seconds(SystemTime::now().duration_since(then).unwrap_or_default())
}

/// The two largest units: `3m 4s`, `2h 5m`, `9days 1h`.
fn seconds(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
