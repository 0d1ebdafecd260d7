//! `cutover traffic`: how the traffic of a service is shared out, and what becomes of it.

use std::fmt::Write;

use clap::Args;
use cutover_core::Environment;
use serde_json::json;

use crate::api::VERSION;
use crate::api::views::{EnvironmentView, ServiceView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// The weights of the two environments, and the requests, errors and latency of each
#[derive(Args)]
#[command(after_help = "Example: cutover traffic shop")]
pub(crate) struct Traffic {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
}

impl Traffic {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let view: ServiceView = self.place.client()?.get(&format!("/v1/services/{service}")).await?;
        show(&view, printer);
        Ok(Exit::Done)
    }
}

/// Shows how it is shared out.
fn show(view: &ServiceView, printer: &Printer) {
    let environment = |color: Environment| {
        let view = &view.environments[color];
        json!({
            "weight": view.weight, "version": view.version, "in_flight": in_flight(view), "traffic": view.traffic,
        })
    };
    let object = json!({
        "v": VERSION, "service": view.service, "live": view.live, "environments": {
            "blue": environment(Environment::Blue), "green": environment(Environment::Green),
        },
    });
    printer.result(&object, || {
        let mut text = format!("{}\n", view.service);
        for color in Environment::ALL {
            let _ = writeln!(text, "{}", line(&view.environments[color], color == view.live));
        }
        text
    });
}

fn line(view: &EnvironmentView, live: bool) -> String {
    let color = view.color.label();
    let Some(version) = &view.version else { return format!("  {color:<6} {:>3} %   empty", view.weight) };
    let mut text = format!("  {color:<6} {:>3} %   {version:<12}", view.weight);
    let _ = match &view.traffic {
        Some(traffic) => write!(
            text,
            " {:>8.1} req/s   {:.1} % errors   p95 {}   {} in flight",
            traffic.requests_per_second,
            traffic.error_rate * 100.0,
            traffic.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.1} ms")),
            in_flight(view),
        ),
        None => write!(text, " nothing is known of its requests yet"),
    };
    if live {
        text.push_str("   live");
    }
    text
}

fn in_flight(view: &EnvironmentView) -> u64 {
    view.instances.iter().filter_map(|instance| instance.in_flight).sum()
}
