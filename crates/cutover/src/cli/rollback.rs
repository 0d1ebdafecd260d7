//! `cutover rollback`: back to the former release.

mod break_glass;
mod plan;
pub(crate) mod to;

use std::time::Duration;

use clap::Args;
use cutover_core::{DeploymentId, ServiceName};

use crate::api::client::Client;
use crate::api::views::{AbortRequest, Accepted, RollbackRequest};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::place::{self, Controller, Place};
use crate::cli::printer::Printer;
use crate::cli::rollback::break_glass::BreakGlass;
use crate::cli::several::on_each;

/// Switch back to the former release
#[derive(Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Go back to this release instead: a version, or the beginning of a release's identity
    ///
    /// Any that was live once, was not taken back and is still kept. One that is cold is started in the idle
    /// environment and checked there first; how long that will take is said before.
    #[arg(long, value_name = "VERSION", conflicts_with = "break_glass", group = "asked_about")]
    to: Option<String>,
    /// Stop following after this time; the rollback goes on
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Move traffic back by the proxy alone, when the controller is dead or hangs
    ///
    /// Only for when the plain command cannot: it needs neither the controller nor room on the disk, and asks nobody
    /// but the proxy of the state directory. All traffic goes to the other environment, at once; a controller that
    /// runs or comes back adopts that. It is refused if the proxy has no instance there, if its probes say that none
    /// is healthy, if the controller answers after all, or if the release there was itself taken back, by the journal
    /// or by the last time. Who did it is noted in `break-glass.jsonl` of the state directory.
    #[arg(long, group = "asked_about")]
    break_glass: bool,
    /// Do not ask whether `--to` or breaking the glass is meant; needed where nobody can be asked
    #[arg(long, requires = "asked_about")]
    yes: bool,
    /// Break the glass although the controller answers, no instance there is known to be healthy, or the release there
    /// was itself taken back
    #[arg(long, requires = "break_glass")]
    force: bool,
}

impl Rollback {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        if self.break_glass {
            let Self { place, service, yes, force, .. } = self;
            return BreakGlass { place, service, yes, force }.run(printer).await;
        }
        let Some(wanted) = &self.to else {
            return take_back(self.place, self.service, self.timeout, Back::Rollback, printer).await;
        };
        let service = place::service(self.service)?;
        let client = self.place.client()?;
        let former = to::choose(&client, &service, wanted).await?;
        to::ask(printer, &service, &former, self.yes)?;
        let request = RollbackRequest { to: Some(former.release) };
        let accepted = client.post(&format!("/v1/services/{service}/rollback"), Some(&request)).await?;
        follow_back(&client, &service, self.timeout, accepted, printer).await
    }
}

/// What is asked for where traffic is to be where it was.
pub(crate) enum Back {
    /// The former release, whatever is open.
    Rollback,
    /// The end of what is open, or of the one deployment that is named.
    Abort(Option<DeploymentId>),
}

/// Asks for the end of what is live or under way, and follows until traffic is where it was.
pub(crate) async fn take_back(
    place: Place,
    service: Option<String>,
    timeout: Duration,
    how: Back,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let service = place::service(service)?;
    let take_back = async |controller: &Controller, printer: &Printer| {
        take_back_on(&controller.client, &service, timeout, &how, printer).await
    };
    on_each(&place.controllers()?, printer, take_back).await
}

/// The same on one host.
pub(crate) async fn take_back_on(
    client: &Client,
    service: &ServiceName,
    timeout: Duration,
    how: &Back,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let accepted = match how {
        Back::Rollback => client.post::<(), _>(&format!("/v1/services/{service}/rollback"), None).await?,
        Back::Abort(deployment) => {
            let request = AbortRequest { only_queue: false, deployment: deployment.clone() };
            // Whoever knows no deployments by name need not be asked about one.
            let request = deployment.is_some().then_some(&request);
            client.post(&format!("/v1/services/{service}/abort"), request).await?
        }
    };
    follow_back(client, service, timeout, accepted, printer).await
}

async fn follow_back(
    client: &Client,
    service: &ServiceName,
    timeout: Duration,
    accepted: Accepted,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let deployment = accepted.deployment;
    let following = Following { client, printer, service, timeout };
    let Ended { exit, view, message } = following.follow(deployment.as_str(), Until::TakenBack).await?;
    let object = serde_json::json!({
        "v": crate::api::VERSION, "success": exit == Exit::Done,
        "status": view.as_ref().map_or("unknown", |view| view.status.label()),
        "duration_seconds": view.as_ref().map_or(0.0, crate::cli::follow::seconds_so_far),
        "message": message, "deployment": deployment,
    });
    printer.result(&object, || message.clone());
    Ok(exit)
}
