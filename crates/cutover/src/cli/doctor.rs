//! `cutover doctor`: what may be wrong with a host, with advice.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use cutover_adapters::embedded::EmbeddedRouter;
use serde_json::{Value, json};

use crate::api::VERSION;
use crate::api::views::ControllerView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{Host, Place};
use crate::cli::printer::Printer;
use crate::doctor::{Grade, Running, examine};
use crate::state_directory::StateDirectory;

/// What does not answer within this time counts as not there.
const PATIENCE: Duration = Duration::from_secs(3);

/// Look at this host, or another with `--host`, for what keeps cutover from working well
///
/// State directory, controller and proxy, units of systemd, ports, limits, disk, memory, clock. Changes nothing. Exit
/// code 0 if nothing is bad, 1 if something is.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    place: Place,
}

impl Doctor {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        if let Host::There(remote) = self.place.host()? {
            return Ok(Exit::of(remote.run(vec!["doctor".into()], printer, false).await?));
        }
        let state = self.place.state_directory();
        let running = running(&self.place, &state).await?;
        let found = tokio::task::spawn_blocking(move || examine(&state, &running)).await;
        let found = found.map_err(|error| Failure::bug(error.to_string()))?;
        let worst = found.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok);
        let object =
            json!({ "v": VERSION, "success": worst < Grade::Bad, "grade": worst, "findings": found });
        printer.result(&object, || {
            let mut text = String::new();
            for finding in &found {
                let sign = match finding.grade {
                    Grade::Ok => "✓",
                    Grade::Warn => "!",
                    Grade::Bad => "✗",
                };
                let _ = writeln!(text, "{sign} {:<20} {}", finding.what, finding.seen);
                if let Some(advice) = &finding.advice {
                    let _ = writeln!(text, "  {:<20} → {advice}", "");
                }
            }
            let count = |grade: Grade| found.iter().filter(|finding| finding.grade == grade).count();
            let _ = match (count(Grade::Bad), count(Grade::Warn)) {
                (0, 0) => writeln!(text, "nothing is wrong"),
                (bad, warn) => writeln!(text, "{bad} bad, {warn} to look at"),
            };
            text
        });
        Ok(if worst < Grade::Bad { Exit::Done } else { Exit::TakenBack })
    }
}

/// What the parts that run say of themselves.
async fn running(place: &Place, state: &StateDirectory) -> Result<Running, Failure> {
    let client = place.client()?;
    let controller = tokio::time::timeout(PATIENCE, client.get::<ControllerView>("/v1/controller")).await;
    let router = EmbeddedRouter::new(state.proxy_socket());
    let proxy = tokio::time::timeout(PATIENCE, async {
        let seen = router.seen().await.ok()?;
        Some((seen.pid, router.table().await.ok()?.listen.http))
    });
    let proxy = proxy.await.ok().flatten();
    let silent_proxy = if proxy.is_none() { router.holder().await } else { None };
    let mut running = Running { proxy, silent_proxy, ..Running::default() };
    if let Ok(Ok(controller)) = controller {
        running.controller = Some(controller);
    }
    for instance in std::fs::read_dir(state.path().join("instances")).into_iter().flatten().flatten() {
        let record = std::fs::read(instance.path().join("program.json")).unwrap_or_default();
        let pid = serde_json::from_slice::<Value>(&record).ok().and_then(|record| record["pid"].as_u64());
        running.instances.extend(pid.and_then(|pid| u32::try_from(pid).ok()));
    }
    Ok(running)
}
