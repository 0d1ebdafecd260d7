//! `cutover top`: every service at a glance, again and again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use cutover_core::service::Status;
use cutover_core::{Environment, InstanceId};
use indicatif::HumanBytes;
use serde::Serialize;
use serde_json::json;

use crate::api::VERSION;
use crate::api::client::{Client, ClientError};
use crate::api::plan::UsageView;
use crate::api::views::{EnvironmentView, ServiceView, ServicesView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::foreign;
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::terminal::{self, RawMode};

const EVERY: Duration = Duration::from_secs(1);
/// Between the two looks that processor time is told from, where there is only one table.
const GLANCE: Duration = Duration::from_millis(500);

/// All services live: traffic, weights, processor and memory; `q` quits
#[derive(Args)]
#[command(after_help = "Example: cutover top --json    the same once, for a script")]
pub(crate) struct Top {
    #[command(flatten)]
    place: Place,
}

/// What one look has found.
struct Look {
    services: ServicesView,
    usage: UsageView,
    at: Instant,
}

/// What an instance uses.
#[derive(Debug, Clone, Copy, Serialize)]
struct Load {
    memory: u64,
    /// Of one processor, in percent; absent before the second look.
    cpu_percent: Option<f64>,
}

impl Top {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let client = self.place.client()?;
        let mut former = look(&client).await?;
        let has_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        if printer.is_json() || !has_terminal {
            tokio::time::sleep(GLANCE).await;
            let now = look(&client).await?;
            let loads = loads(&former, &now);
            let object = json!({
                "v": VERSION, "services": now.services.services, "available_memory": now.usage.available,
                "instances": loads,
            });
            printer.result(&object, || table(&now, &loads));
            return Ok(Exit::Done);
        }
        let raw =
            RawMode::enter().map_err(|error| Failure::bug(format!("cannot take the terminal: {error}")))?;
        let shown = watch(&client, &mut former, printer).await;
        printer.frame("\u{1b}[?25h\u{1b}[?1049l");
        drop(raw);
        shown.map(|()| Exit::Done)
    }
}

async fn watch(client: &Client, former: &mut Look, printer: &Printer) -> Result<(), Failure> {
    printer.frame("\u{1b}[?1049h\u{1b}[?25l");
    let mut quit = keys();
    let mut text = table(former, &BTreeMap::new());
    loop {
        let (rows, columns) = terminal::size();
        let lines = text.lines().take(usize::from(rows).saturating_sub(1));
        let cut: Vec<String> =
            lines.map(|line| foreign::line(line).chars().take(columns.into()).collect()).collect();
        printer.frame(&format!("\u{1b}[H\u{1b}[2J{}", cut.join("\r\n")));
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = &mut quit => return Ok(()),
        }
        match look(client).await {
            Ok(now) => {
                text = table(&now, &loads(former, &now));
                *former = now;
            }
            // Whoever watches wants to see it come back.
            Err(error) => text = format!("{error}\n\n`q` quits"),
        }
    }
}

/// Answered once somebody wants no more; on a thread that nobody waits for.
fn keys() -> tokio::sync::oneshot::Receiver<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        use std::io::Read;
        const CTRL_C: u8 = 3;
        let mut key = [0];
        while std::io::stdin().read(&mut key).is_ok_and(|count| count > 0) {
            if matches!(key[0], b'q' | b'Q' | CTRL_C) {
                break;
            }
        }
        let _ = tell.send(());
    });
    told
}

async fn look(client: &Client) -> Result<Look, ClientError> {
    let services = client.get("/v1/services").await?;
    let usage = client.get("/v1/usage").await?;
    Ok(Look { services, usage, at: Instant::now() })
}

fn loads(former: &Look, now: &Look) -> BTreeMap<InstanceId, Load> {
    let span = now.at.duration_since(former.at).as_secs_f64();
    let load = |(id, used): (&InstanceId, &crate::api::plan::InstanceUsageView)| {
        // What was started again counts from nothing.
        let before = former.usage.instances.get(id).filter(|before| before.cpu_ms <= used.cpu_ms);
        let percent = |before: &crate::api::plan::InstanceUsageView| {
            (used.cpu_ms - before.cpu_ms) as f64 / (span * 1000.0) * 100.0
        };
        (id.clone(), Load { memory: used.memory, cpu_percent: before.map(percent) })
    };
    now.usage.instances.iter().map(load).collect()
}

fn table(look: &Look, loads: &BTreeMap<InstanceId, Load>) -> String {
    let mut text = format!(
        "{:<16} {:<6} {:<14} {:>6} {:>9} {:>8} {:>10} {:>7} {:>6} {:>11}\n",
        "SERVICE", "ENV", "VERSION", "WEIGHT", "REQ/S", "ERRORS", "P95", "FLIGHT", "CPU", "MEMORY"
    );
    for service in &look.services.services {
        for color in Environment::ALL {
            let environment = &service.environments[color];
            if environment.version.is_some() {
                row(&mut text, service, environment, loads);
            }
        }
        if let Some(bake) = bake(service) {
            let _ = writeln!(text, "{:<16} {bake}", "");
        }
    }
    if look.services.services.is_empty() {
        text.push_str("no service yet\n");
    }
    let _ = write!(text, "{} of memory are available", HumanBytes(look.usage.available));
    text
}

fn row(
    text: &mut String,
    service: &ServiceView,
    environment: &EnvironmentView,
    loads: &BTreeMap<InstanceId, Load>,
) {
    let own: Vec<&Load> = environment.instances.iter().filter_map(|it| loads.get(&it.id)).collect();
    let memory: u64 = own.iter().map(|load| load.memory).sum();
    let known: Vec<f64> = own.iter().filter_map(|load| load.cpu_percent).collect();
    let cpu = if known.is_empty() { "-".to_owned() } else { format!("{:.0} %", known.iter().sum::<f64>()) };
    let in_flight: u64 = environment.instances.iter().filter_map(|instance| instance.in_flight).sum();
    let traffic = environment.traffic.as_ref();
    let [rate, errors, p95] = [
        traffic.map(|traffic| format!("{:.1}", traffic.requests_per_second)),
        traffic.map(|traffic| format!("{:.1} %", traffic.error_rate * 100.0)),
        traffic.and_then(|traffic| traffic.p95_ms).map(|p95| format!("{p95:.1} ms")),
    ]
    .map(|figure| figure.unwrap_or_else(|| "-".to_owned()));
    let version = environment.version.as_ref().map(ToString::to_string).unwrap_or_default();
    // Once for each service.
    let is_second = environment.color == Environment::Green && service.environments.blue.version.is_some();
    let name = if is_second { "" } else { service.service.as_str() };
    let memory = if own.is_empty() { "-".to_owned() } else { HumanBytes(memory).to_string() };
    let _ = writeln!(
        text,
        "{name:<16} {:<6} {version:<14} {:>4} % {rate:>9} {errors:>8} {p95:>10} {in_flight:>7} {cpu:>6} {memory:>11}",
        environment.color.label(),
        environment.weight,
    );
}

fn bake(service: &ServiceView) -> Option<String> {
    let open = service.deployment.as_ref().filter(|open| open.ended_at.is_none())?;
    if open.status != Status::Live {
        return Some(format!("deployment {} of {}: {}", open.deployment, open.version, open.status.label()));
    }
    let until = humantime::parse_rfc3339(open.bake_until.as_deref()?).ok()?;
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
    Some(format!("{} bakes, {left} left", open.version))
}
