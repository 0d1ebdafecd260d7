//! `cutover status`: what is live, what is idle, whether a rollback is possible.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use clap::Args;
use cutover_core::gates::Verdict;
use cutover_core::routing::Lasting;
use cutover_core::service::Status as DeploymentStatus;
use cutover_core::{Environment, ServiceName, Version, WorkerName};
use hyper::StatusCode;
use serde_json::json;

use crate::api::VERSION;
use crate::api::calendar::NotifyTroubleView;
use crate::api::client::Client;
use crate::api::gates::ContractionView;
use crate::api::views::{
    DeploymentView, DrainingView, EnvironmentView, RecoveryView, ServiceView, ServicesView, WorkersView,
};
use crate::cli::certificates;
use crate::cli::exit::{Exit, Failure};
use crate::cli::foreign;
use crate::cli::freeze::here;
use crate::cli::hold;
use crate::cli::place::{self, Controller, Place};
use crate::cli::printer::Printer;
use crate::cli::several;

const HOME_AND_CLEAR: &str = "\u{1b}[H\u{1b}[2J";
/// Lines shown of an instance whose program keeps ending.
const LAST_LINES: usize = 5;

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
        let controllers = self.place.controllers()?;
        let named = self.service.is_some();
        let one = named || std::path::Path::new("cutover.toml").exists();
        let service = if one { Some(place::service(self.service)?) } else { None };
        loop {
            let look = async |controller: &Controller, printer: &Printer| {
                look(&controller.client, service.as_ref(), named, self.watch, printer).await
            };
            let exit = match controllers.as_slice() {
                [only] => look(only, printer).await?,
                several => {
                    let parts = several::all(several, printer, look).await;
                    let disagreement = several::disagreement(&parts);
                    let clear = if self.watch && printer.is_terminal() { HOME_AND_CLEAR } else { "" };
                    printer.stream().write_all(clear.as_bytes()).ok();
                    // Who has not answered has not agreed.
                    let all_answered = parts.iter().all(|part| part.result.is_ok());
                    let agree = (disagreement.is_some() || all_answered).then_some(disagreement.is_none());
                    let about = json!({ "agree": agree });
                    several::show(printer, &parts, about, disagreement.as_deref())
                }
            };
            if !self.watch {
                return Ok(exit);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn look(
    client: &Client,
    service: Option<&ServiceName>,
    named: bool,
    watch: bool,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let Some(service) = service else {
        let view: ServicesView = client.get("/v1/services").await?;
        show(printer, watch, &view, || services_text(&view));
        return Ok(Exit::Done);
    };
    match client.get::<ServiceView>(&format!("/v1/services/{service}")).await {
        Err(error) if !named && error.status() == Some(StatusCode::NOT_FOUND) => {
            return Ok(never_deployed(printer, service));
        }
        view => {
            let view = view?;
            show(printer, watch, &view, || service_text(&view));
        }
    }
    Ok(Exit::Done)
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
    if watch && printer.is_terminal() {
        printer.frame(HOME_AND_CLEAR);
    }
    printer.result(view, text);
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
    let stopped =
        view.stopped.as_ref().map(|stopped| format!("stopped by {} {} ago", stopped.by, age(&stopped.at)));
    let is_stopped = stopped.is_some();
    let headline = match &live.version {
        Some(version) if stopped.is_some() => format!("{version} {}", stopped.unwrap_or_default()),
        Some(version) => {
            let since = live.last_deployed.as_deref().map(|moment| format!(" for {}", age(moment)));
            format!("{version} live on {}{}", view.live, since.unwrap_or_default())
        }
        None if is_unknown(view) => "nothing is known to be live".to_owned(),
        None => "nothing is live".to_owned(),
    };
    let _ = writeln!(text, "{}   {headline:<34} {}", view.service, rollback_text(view));
    for color in Environment::ALL.into_iter().filter(|_| !is_unknown(view)) {
        let _ = writeln!(text, "{}", environment_text(&view.environments[color]));
    }
    if is_stopped {
        let _ = writeln!(text, "  `cutover restart {}` starts it again", view.service);
    }
    if let Some(deployment) = &view.deployment {
        let open = deployment.ended_at.is_none();
        let reason = deployment
            .reason
            .as_deref()
            .map(|reason| format!(": {}", foreign::line(reason)))
            .unwrap_or_default();
        let worth_telling = open || !matches!(deployment.status, DeploymentStatus::Live);
        if worth_telling {
            // While it is taken back, nobody waits for the end of its bake.
            let baking = open && matches!(deployment.status, DeploymentStatus::Live);
            let _ = writeln!(
                text,
                "  deployment {} of {} {}{reason}{}",
                deployment.deployment,
                deployment.version,
                if open { "is open" } else { "has ended" },
                status_text(deployment.status, deployment.bake_until.as_deref().filter(|_| baking)),
            );
        }
    }
    let held = view.deployment.as_ref().and_then(held_text);
    let wait = view.deployment.as_ref().and_then(|deployment| deployment.waiting_for.as_ref());
    let wait = held.as_ref().filter(|_| view.journal_trouble.is_none()).or(wait);
    // What nothing can be decided for is told below.
    if let Some(wait) = wait.filter(|wait| view.journal_trouble.as_ref() != Some(*wait)) {
        let _ = writeln!(text, "  it waits: {wait}");
    }
    for queued in &view.queue {
        let (id, version, actor) = (&queued.deployment, &queued.version, &queued.actor);
        let _ = writeln!(text, "  {version} waits (deployment {id} by {actor}, for {})", age(&queued.since));
    }
    if let Some(open) = view.deployment.as_ref().filter(|open| open.status == DeploymentStatus::Stuck) {
        let _ = writeln!(text, "  `cutover resolve` shows the ways out of deployment {}", open.deployment);
    }
    // What was decided before the newest deployment began is about another one.
    let began = view.deployment.as_ref().map(|newest| newest.started_at.as_str()).unwrap_or_default();
    let told = |recovery: &&RecoveryView| is_news(&recovery.at) && recovery.at.as_str() >= began;
    if let Some(recovery) = view.recovery.as_ref().filter(told) {
        let _ = writeln!(text, "  {} ago: {}", age(&recovery.at), recovery.decision);
    }
    if let Some(ahead) = view.clock_ahead_seconds {
        let by = seconds(Duration::from_secs(ahead.unsigned_abs()));
        let side = if ahead > 0 { "behind" } else { "ahead of" };
        let _ = writeln!(
            text,
            "  times here are {by} {side} the host's clock, which was set; the next start of the controller follows it"
        );
    }
    if let Some(freeze) = &view.freeze {
        let all = if freeze.all { "frozen with every other service" } else { "frozen" };
        let _ = writeln!(
            text,
            "  {all} by {} until {}: {}",
            freeze.by,
            here(&freeze.until),
            foreign::line(&freeze.reason)
        );
    }
    if let Some(pause) = &view.pause {
        let _ = writeln!(text, "  {}", hold::line(pause));
    }
    for certificate in &view.certificates {
        let _ = writeln!(text, "  tls     {}", certificates::line(certificate));
    }
    for note in &view.tls_notes {
        let _ = writeln!(text, "  tls     {}", foreign::line(note));
    }
    for trouble in &view.notify_trouble {
        let _ = writeln!(text, "  {}", notify_trouble_text(trouble));
    }
    if let Some(contraction) = &view.contraction {
        let _ = writeln!(text, "  {}", contraction_text(contraction, live.version.as_ref()));
    }
    if let Some(trouble) = &view.journal_trouble {
        let _ = writeln!(text, "  nothing can be decided now: {trouble}");
    }
    text
}

fn contraction_text(contraction: &ContractionView, live: Option<&Version>) -> String {
    let ContractionView { version, by, at, finding, waits } = contraction;
    let by = foreign::line(by);
    match finding {
        None if *waits => format!(
            "the schema is to be contracted for {version} ({by}), once the proxy sends the former release nothing more; \
             asked for {} ago",
            age(at)
        ),
        None => format!("the schema is being contracted for {version} ({by}), for {}", age(at)),
        Some(finding) if finding.verdict == Verdict::Pass => {
            format!("the schema was contracted for {version} {} ago ({by})", age(at))
        }
        Some(finding) => {
            let again = if live == Some(version) { "; `cutover contract` tries it again" } else { "" };
            format!(
                "the contraction of the schema for {version} has not passed: {}{again}",
                foreign::line(&finding.reason)
            )
        }
    }
}

fn notify_trouble_text(trouble: &NotifyTroubleView) -> String {
    let mut text = format!(
        "notifications to the {} fail since {}: {}",
        trouble.receiver,
        here(&trouble.since),
        trouble.reason
    );
    match trouble.waiting {
        0 => {}
        1 => text.push_str(" (1 waits)"),
        waiting => {
            let _ = write!(text, " ({waiting} wait)");
        }
    }
    if trouble.given_up > 0 {
        let _ = write!(text, " ({} given up)", trouble.given_up);
    }
    text
}

/// Whether the controller could not read what it is, and leaves it as it is: its environments are not empty then.
fn is_unknown(view: &ServiceView) -> bool {
    let is_empty = |color| view.environments[color].version.is_none();
    view.journal_trouble.is_some() && Environment::ALL.into_iter().all(is_empty)
}

/// What waits for a person: since when, for how long still, and what settles it.
fn held_text(open: &DeploymentView) -> Option<String> {
    let until = open.hold_until.as_deref().and_then(|until| humantime::parse_rfc3339(until).ok())?;
    let left = seconds(until.duration_since(SystemTime::now()).unwrap_or_default());
    let since = open.steps.iter().rev().find(|step| step.name == "promote");
    let since = since.map(|step| format!(" for {}", age(&step.started_at))).unwrap_or_default();
    let service = &open.service;
    Some(format!(
        "to be promoted{since}; `cutover promote {service}` switches traffic to {}, and in {left} it is taken back",
        open.version
    ))
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
            let (on, seconds) = (view.live.other(), rollback.seconds.ceil());
            format!("rollback possible: {to} cold on {on}, about {seconds:.0} s")
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
        let _ = write!(text, "\n          {}", foreign::line(reason));
    }
    for line in view.last_lines.iter().rev().take(LAST_LINES).rev() {
        let _ = write!(text, "\n          | {}", foreign::line(line));
    }
    if let Some(draining) = &view.draining {
        let _ = write!(text, "\n          {}", draining_text(draining));
    }
    if let Some(workers) = &view.workers {
        text.push_str(&workers_text(workers));
    }
    text.trim_end().to_owned()
}

/// What is left of those who were with it, and until when they may stay.
fn draining_text(view: &DrainingView) -> String {
    let DrainingView { requests, connections, asked, until } = view;
    let mut parts = Vec::new();
    if *requests > 0 {
        parts.push(format!("{requests} request{}", if *requests == 1 { "" } else { "s" }));
    }
    parts.extend(connections.iter().map(|(kind, count)| {
        let word = match (kind, count) {
            (Lasting::WebSocket, 1) => "WebSocket",
            (Lasting::WebSocket, _) => "WebSockets",
            (Lasting::EventStream, 1) => "event stream",
            (Lasting::EventStream, _) => "event streams",
            (Lasting::Grpc, 1) => "gRPC call",
            (Lasting::Grpc, _) => "gRPC calls",
            (Lasting::Tunnel, 1) => "other upgrade",
            (Lasting::Tunnel, _) => "other upgrades",
        };
        format!("{count} {word}")
    }));
    let left = parts.join(", ");
    match until {
        None => format!("still has {left}; nobody is asked to leave"),
        Some(_) if connections.is_empty() => format!("still has {left}"),
        Some(until) => {
            let end = humantime::parse_rfc3339(until).unwrap_or(SystemTime::UNIX_EPOCH);
            let rest = end.duration_since(SystemTime::now()).unwrap_or_default();
            format!("still has {left}; {asked} were asked to leave, the rest is cut off in {}", seconds(rest))
        }
    }
}

/// A line for each worker and what its copies do, then what is wrong with them.
fn workers_text(view: &WorkersView) -> String {
    let mut counts: BTreeMap<(&WorkerName, &str), usize> = BTreeMap::new();
    for instance in &view.instances {
        *counts.entry((&instance.worker, instance.state.as_str())).or_default() += 1;
    }
    let mut text = String::new();
    for ((worker, state), count) in counts {
        let _ = write!(text, "\n          worker {worker}: {count} {state}");
    }
    if let Some(reason) = &view.reason {
        let _ = write!(text, "\n          {}", foreign::line(reason));
    }
    for line in view.last_lines.iter().rev().take(LAST_LINES).rev() {
        let _ = write!(text, "\n          | {}", foreign::line(line));
    }
    text
}

/// What was decided within the last hour is worth a line.
fn is_news(moment: &str) -> bool {
    let then = humantime::parse_rfc3339(moment).unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(then).unwrap_or_default() < Duration::from_secs(3600)
}

fn age(moment: &str) -> String {
    let then = humantime::parse_rfc3339(moment).unwrap_or(SystemTime::UNIX_EPOCH);
    seconds(SystemTime::now().duration_since(then).unwrap_or_default())
}

/// The two largest units: `3m 4s`, `2h 5m`, `9days 1h`.
pub(crate) fn seconds(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service whose deployment is in its bake, which ends in the year 9999.
    fn view(change: impl Fn(&mut serde_json::Value)) -> ServiceView {
        let environment = |color: &str| {
            json!({
                "color": color, "version": "v2", "release": null, "health": "healthy", "health_reason": null,
                "weight": 0, "last_deployed": null, "instances": [], "trouble": null, "rolled_back": false,
                "traffic": null,
            })
        };
        let mut view = json!({
            "v": 1, "service": "shop", "status": "live", "live": "green",
            "environments": { "blue": environment("blue"), "green": environment("green") },
            "rollback": {
                "ready": false, "to": null, "seconds": 0.0, "warm": false, "why_not": "x", "warm_until": null,
            },
            "deployment": {
                "v": 1, "deployment": "k3f9", "service": "shop", "kind": "deploy", "version": "v2",
                "release": "0123456789abcdef", "from": "v1", "environment": "green", "status": "live",
                "reason": null, "waiting_for": null, "last_lines": [], "actor": "a", "taken_back_by": null,
                "started_at": "2026-01-01T00:00:00Z", "cutover_at": "2026-01-01T00:00:00Z",
                "bake_until": "9999-01-01T00:00:00Z", "ended_at": null, "duration_seconds": null, "steps": [],
                "receipts": [],
            },
            "journal_trouble": null,
        });
        change(&mut view);
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn what_is_left_of_the_bake_is_told_only_while_it_bakes() {
        let baking = service_text(&view(|_| ()));
        assert!(baking.contains("(live, baking, ") && baking.contains(" left)"), "{baking}");
        let text = service_text(&view(|view| view["deployment"]["status"] = json!("rolling_back")));
        assert!(text.contains("(being taken back)"), "{text}");
    }

    #[test]
    fn workers_are_told_by_name_with_what_they_do_and_what_is_wrong() {
        let worker = |worker: &str, state: &str| json!({ "worker": worker, "id": "x", "state": state });
        let text = service_text(&view(|view| {
            view["environments"]["green"]["workers"] = json!({
                "instances": [worker("mail", "running"), worker("mail", "running"), worker("report", "starting")],
                "health": "unhealthy", "reason": "worker `x` keeps ending", "last_lines": ["no queue"],
            });
        }));
        let expected = "\n          worker mail: 2 running\n          worker report: 1 starting\
                        \n          worker `x` keeps ending\n          | no queue\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_stands_in_the_way_is_told_once() {
        let trouble = |wait: &'static str| {
            service_text(&view(|view| {
                view["journal_trouble"] = json!("the disk is full");
                view["deployment"]["waiting_for"] = json!(wait);
            }))
        };
        let text = trouble("the disk is full");
        assert_eq!(text.matches("the disk is full").count(), 1, "{text}");
        assert!(text.contains("nothing can be decided now"), "{text}");
        let text = trouble("2 of 3 instances");
        assert!(text.contains("it waits: 2 of 3 instances") && text.contains("the disk is full"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_is_not_said_to_be_empty() {
        let text = service_text(&view(|view| {
            view["deployment"] = json!(null);
            view["journal_trouble"] = json!("it cannot be read");
            for color in ["blue", "green"] {
                view["environments"][color]["version"] = json!(null);
            }
        }));
        assert!(text.contains("nothing is known to be live") && !text.contains("empty"), "{text}");
    }
}
