//! `cutover serve`: the controller and its proxy.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cutover_adapters::process::Parent;
use cutover_controller::ports::KeepReleases;
use cutover_controller::{Keep, Retention};
use cutover_core::routing::Clients;
use cutover_proxy::handed;

use crate::api::views::ControllerView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::proxy::{default_workers, ended_by_signal};
use crate::config::clients;
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
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", value_parser = address)]
    http: Vec<SocketAddr>,
    /// Where clients are accepted with TLS; may be repeated [default: port 443 beside a port 80, if it is free]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    https: Vec<SocketAddr>,
    /// Whom the proxy believes, what a client may cost, and your pages for what the proxy answers itself, in TOML
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// Where figures are given to Prometheus, at /metrics, without asking who it is [default: nowhere]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    metrics: Option<SocketAddr>,
    /// Threads of the proxy [default: one per core]
    #[arg(long)]
    workers: Option<usize>,
    /// Ports that instances are given
    #[arg(long, value_name = "FROM-TO", default_value = "20000-29999", value_parser = port_range)]
    instance_ports: RangeInclusive<u16>,
    /// Deployments of each service that stay in the history whatever their age
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    keep_deployments: usize,
    /// Deployments that ended within this time stay in the history however many there are
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = humantime::parse_duration)]
    keep_history: Duration,
    /// Releases of each service that stay on the disk besides those that are needed
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    keep_releases: usize,
    /// Releases that were asked for within this time stay on the disk however many there are
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    keep_release_age: Duration,
    /// How often what is older is removed
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    tidy_every: Duration,
    /// A unit of systemd that is the proxy: it is asked to start it, instead of starting one itself
    #[arg(long, value_name = "UNIT")]
    proxy_unit: Option<String>,
    /// Where instances run: as transient units of systemd, or below the controller [default: systemd if that is what
    /// started this controller, as root]
    #[arg(long, value_enum, value_name = "WHERE")]
    instances: Option<Instances>,
}

/// Where instances run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Instances {
    /// Each in a transient unit of its own
    Systemd,
    /// As children of the controller, which they outlive
    Direct,
}

impl Instances {
    fn parent(self) -> Parent {
        match self {
            Self::Systemd => Parent::Systemd,
            Self::Direct => Parent::Controller,
        }
    }

    /// As a unit of the system's own manager, what it starts would be in the unit's control group and sandbox.
    fn here() -> Self {
        let started =
            std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if started && rustix::process::geteuid().is_root() { Self::Systemd } else { Self::Direct }
    }
}

/// What is being done on a thread when the controller ends gets this time.
const LAST_DEEDS: Duration = Duration::from_secs(2);
/// Ended instances of each service whose logs stay.
const KEEP_ENDED_INSTANCES: usize = 10;

/// `:443` is port 443 of every address of IPv4; `[::]:443` is that of IPv6 too.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let every = text.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
    every.as_deref().unwrap_or(text).parse().map_err(|_| {
        let port = text.strip_prefix(':').unwrap_or(text);
        let port = port.parse::<u16>().map_or_else(|_| "8080".to_owned(), |port| port.to_string());
        format!(
            "an address with its port is needed, such as 127.0.0.1:{port}, or 0.0.0.0:{port} for everybody"
        )
    })
}

/// As people would type them.
fn listeners(controller: &ControllerView) -> String {
    let http = controller.http.iter().map(ToString::to_string);
    let https = controller.https.iter().map(|address| format!("{address} (TLS)"));
    http.chain(https).collect::<Vec<_>>().join(", ")
}

fn read_clients(path: &std::path::Path) -> Result<Clients, Failure> {
    clients::read(path).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
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
        #[cfg(feature = "crash-points")]
        crate::cli::crash_points::arm()?;
        crate::cli::restore::refuse_to_serve(&self.place.here("cutover serve")?)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::bug(format!("cannot start a runtime: {error}")))?;
        if let Some(both) =
            self.https.iter().find(|address| address.port() != 0 && self.http.contains(address))
        {
            return Err(Failure::usage(format!("{both} is named by `--http` and by `--https`"))
                .hint("each needs a port of its own"));
        }
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| Failure::bug(format!("cannot find this program's file: {error}")))?;
        let settings = ServeSettings {
            state: self.place.here("cutover serve")?,
            http: self.http,
            https: self.https,
            handed: handed::from_environment().map_err(|error| {
                let reason = format!("the sockets that systemd handed in cannot be used: {error}");
                Failure::new(Exit::Refused, reason)
                    .hint("each is to be a `ListenStream=` with an address or a port")
            })?,
            clients: self.clients.as_deref().map(read_clients).transpose()?.unwrap_or_default(),
            metrics: self.metrics,
            workers: self.workers.unwrap_or_else(default_workers),
            instance_ports: self.instance_ports,
            program,
            keep: Keep {
                history: Retention { keep_deployments: self.keep_deployments, keep_for: self.keep_history },
                releases: KeepReleases { count: self.keep_releases, age: self.keep_release_age },
                ended_instances: KEEP_ENDED_INSTANCES,
            },
            tidy_every: self.tidy_every,
            proxy_unit: self.proxy_unit,
            parent: self.instances.unwrap_or_else(Instances::here).parent(),
        };
        let ended = runtime.block_on(async {
            let stop =
                ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
            let world = World::build(settings).await?;
            let controller = world.controller.clone();
            printer.result(&controller, || {
                let (listeners, state) = (listeners(&controller), &controller.state_directory);
                format!("serving on {listeners}; state in {state}")
            });
            match world.serve(stop).await? {
                Ending::ControllerOnly => printer.talk(
                    "the controller has ended; the proxy and all instances go on\n  \
                     hint: `cutover serve` takes over again, `cutover shutdown` then ends everything",
                ),
                Ending::Deposed { reason } => {
                    let hint = "two controllers are one too many: see who runs the other one";
                    return Err(Failure::new(Exit::Refused, reason).hint(hint));
                }
                Ending::Everything { instances } => {
                    let plural = if instances == 1 { "" } else { "s" };
                    let words = format!("{instances} instance{plural}");
                    printer.talk(&format!("everything has ended: the proxy, {words}, the controller"));
                }
            }
            Ok(Exit::Done)
        });
        // A worker may take long to finish what it does; whoever asked it to stop need not stay for that.
        runtime.shutdown_timeout(LAST_DEEDS);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_host_is_answered_with_one() {
        assert_eq!(address("127.0.0.1:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(address(":443"), Ok("0.0.0.0:443".parse().unwrap()));
        for (typed, expected) in
            [("8080", "127.0.0.1:8080,"), (":x", "127.0.0.1:8080,"), ("x", "127.0.0.1:8080,")]
        {
            assert!(address(typed).unwrap_err().contains(expected), "{typed}");
        }
    }
}
