//! `cutover serve`: the controller and its proxy.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::proxy::{default_workers, ended_by_signal};
use crate::wiring::{Ending, ServeSettings, World};

/// Run the controller and its proxy
///
/// SIGTERM ends the controller alone: the proxy and all instances go on, and the next `serve` finds them again.
/// `cutover shutdown` ends everything.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    place: Place,
    /// Where clients are accepted; may be repeated
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    http: Vec<SocketAddr>,
    /// Threads of the proxy [default: one per core]
    #[arg(long)]
    workers: Option<usize>,
    /// Ports that instances are given
    #[arg(long, value_name = "FROM-TO", default_value = "20000-29999", value_parser = port_range)]
    instance_ports: RangeInclusive<u16>,
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parsed = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match parsed {
        Some((from, to)) if from > 0 && from <= to => Ok(from..=to),
        _ => Err("two port numbers such as 20000-29999 are needed".to_owned()),
    }
}

impl Serve {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::bug(format!("cannot start a runtime: {error}")))?;
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| Failure::bug(format!("cannot find this program's file: {error}")))?;
        let settings = ServeSettings {
            state: self.place.state_directory(),
            http: self.http,
            workers: self.workers.unwrap_or_else(default_workers),
            instance_ports: self.instance_ports,
            program,
        };
        runtime.block_on(async {
            let stop =
                ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
            let world = World::build(settings).await?;
            let controller = world.controller.clone();
            let http: Vec<String> = controller.http.iter().map(ToString::to_string).collect();
            let http = http.join(", ");
            printer.result(&controller, || {
                format!("serving on {http}; state in {}", controller.state_directory)
            });
            match world.serve(stop).await? {
                Ending::ControllerOnly => printer.talk(
                    "the controller has ended; the proxy and all instances go on\n  \
                     hint: `cutover serve` takes over again, `cutover shutdown` then ends everything",
                ),
                Ending::Everything { instances } => {
                    let plural = if instances == 1 { "" } else { "s" };
                    let words = format!("{instances} instance{plural}");
                    printer.talk(&format!("everything has ended: the proxy, {words}, the controller"));
                }
            }
            Ok(Exit::Done)
        })
    }
}
