//! `cutover demo`: the whole thing on this machine, under load, in half a minute.
//!
//! Nothing is simulated: a real controller and proxy as processes of their own, real releases, real requests.

mod report;
mod stage;

use std::time::{Duration, Instant};

use clap::Args;
use cutover_core::service::Status;
use cutover_load::Report as LoadReport;

use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::cli::proxy::ended_by_signal;
use report::Report;
use stage::{Application, Stage};

/// Show it all on this machine, under load, in half a minute
///
/// Starts a controller and a proxy in a temporary directory on free loopback ports, deploys v1 and v2 of a small
/// application while clients send requests, rolls back, deploys v3, and v4, which never becomes healthy. Exit
/// code 0 only if no request failed.
#[derive(Args)]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::bug(format!("cannot start a runtime: {error}")))?;
        runtime.block_on(play(printer))
    }
}

async fn play(printer: &Printer) -> Result<Exit, Failure> {
    printer.talk("starting a controller and a proxy in a temporary directory …");
    let mut stage = Stage::build(printer).await?;
    printer.talk(&format!("clients are served on http://{}", stage.address()));
    let interrupted =
        ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
    let played = tokio::select! {
        played = acts(printer, &mut stage) => played,
        () = interrupted => Err(Failure::new(Exit::Unfinished, "the demo was interrupted")),
    };
    // Whatever happened, nothing of it stays behind.
    let struck = stage.strike().await;
    let (report, load) = played?;
    struck?;
    printer.result(&report, || report.table(&load));
    Ok(if report.failed == 0 { Exit::Done } else { Exit::TakenBack })
}

async fn acts(printer: &Printer, stage: &mut Stage<'_>) -> Result<(Report, LoadReport), Failure> {
    let say = |line: &str| printer.talk(line);
    say("\ndeploying v1, the first release");
    stage.deploy(&Application::good("v1", Duration::ZERO), Status::Live).await?;
    say("\nfrom now on under load: GET on kept and on fresh connections, POST with bodies, slow answers");
    stage.start_load();
    stage.let_traffic_flow().await?;

    say("\ndeploying v2");
    stage.deploy(&Application::good("v2", Duration::from_secs(60)), Status::Live).await?;
    stage.let_traffic_flow().await?;

    say("\nrolling back, as somebody does who was paged");
    let asked = Instant::now();
    stage.rollback().await?;
    let rollback = asked.elapsed();
    stage.let_traffic_flow().await?;

    say("\ndeploying v3");
    stage.deploy(&Application::good("v3", Duration::from_secs(1)), Status::Live).await?;
    stage.let_traffic_flow().await?;
    stage.wait_for_the_end_of_the_bake().await?;

    say("\ndeploying v4, which never becomes healthy");
    stage.deploy(&Application::never_healthy("v4"), Status::RolledBack).await?;
    stage.let_traffic_flow().await?;

    let load = stage.stop_load().await?;
    let report = Report::new(&load, &stage.history().await?, rollback, stage.live_version().await?);
    Ok((report, load))
}
