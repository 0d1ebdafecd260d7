//! `cutover drill`: a deployment of one's own service, rehearsed under load before it is needed.
//!
//! A controller and a proxy of their own are started in a temporary directory, and the release that lies here is deployed
//! there: what is live on this host is not touched. What would reach beyond its instances is left out: workers, hooks, steps
//! of the database, certificates, notifications.

mod acts;
mod rehearsed;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::cli::proxy::ended_by_signal;
use crate::config;
use acts::Acts;
use rehearsed::Rehearsed;

/// Rehearse a deployment of this service under load: deploy, rollback, a failing release, a killed instance
///
/// Starts what lies here on free ports beside a controller and a proxy of its own; nothing that is live is touched. Workers,
/// hooks, steps of the database, certificates and notifications are left out. Exit code 0 only if no request failed.
#[derive(Args)]
pub(crate) struct Drill {
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "cutover.toml")]
    file: PathBuf,
    /// A path that clients ask for; may be repeated [default: /]
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Vec<String>,
    /// A path at which WebSockets are opened; they send a text now and then and expect an echo
    #[arg(long, value_name = "PATH", value_parser = path)]
    web_socket: Option<String>,
    /// A path at which events come
    #[arg(long, value_name = "PATH", value_parser = path)]
    events: Option<String>,
    /// Clients at the same time, for each path
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Wait of each client between two requests
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// Load in each act, at least
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    each: Duration,
}

/// What a client asks for.
fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path begins with `/`".to_owned()) }
}

impl Drill {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let loaded = config::load(&self.file)?;
        let resolved = config::resolve(
            &loaded,
            config::Overrides { version: Some("drill".to_owned()), elsewhere: false },
        )?;
        for warning in &resolved.warnings {
            printer.talk(&format!("warning: {warning}"));
        }
        let rehearsed = Rehearsed::of(resolved.spec);
        for note in rehearsed.notes() {
            printer.talk(&format!("note: {note}"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::bug(format!("cannot start a runtime: {error}")))?;
        runtime.block_on(self.play(rehearsed, printer))
    }

    async fn play(self, rehearsed: Rehearsed, printer: &Printer) -> Result<Exit, Failure> {
        printer.talk("starting a controller and a proxy in a temporary directory …");
        let mut acts = Acts::begin(rehearsed, printer).await?;
        let interrupted =
            ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
        let played = tokio::select! {
            played = acts.play(&self) => played,
            () = interrupted => Err(Failure::new(Exit::Unfinished, "the drill was interrupted")),
        };
        // Whatever happened, nothing of it stays behind.
        let ended = acts.end().await;
        let report = played?;
        ended?;
        printer.result(&report, || report.text());
        Ok(if report.failed == 0 { Exit::Done } else { Exit::TakenBack })
    }
}
