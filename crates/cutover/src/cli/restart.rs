//! `cutover restart`: fresh instances of what is live, one at a time.

use std::time::Duration;

use clap::Args;

use crate::api::client::Client;
use crate::api::moves::RestartRequest;
use crate::api::views::Accepted;
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Exchange the instances of what is live for fresh ones, one at a time, or start what was stopped
///
/// Each replacement is started beside the others and has to become healthy before it gets requests and the one that
/// it replaces is waited for and stopped. If one does not become healthy, everything stays as it is. Workers
/// are started afresh when all of them are exchanged.
#[derive(Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

/// What may be in the way of a restart or a scale.
#[derive(Args)]
pub(crate) struct Terms {
    /// End the bake of the deployment before; its former release stays warm as after any bake
    #[arg(long)]
    pub(crate) end_bake: bool,
    /// Go on although the host seems to have no room
    #[arg(long)]
    pub(crate) force: bool,
    /// Stop following after this time; it goes on
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

impl Restart {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let client = self.place.client()?;
        let Terms { end_bake, force, timeout } = self.terms;
        let path = format!("/v1/services/{service}/restart");
        let accepted = client.post(&path, Some(&RestartRequest { end_bake, force })).await?;
        follow(&client, printer, &service, &accepted, timeout).await
    }
}

/// Follows it to its end and says how it ended.
pub(crate) async fn follow(
    client: &Client,
    printer: &Printer,
    service: &cutover_core::ServiceName,
    accepted: &Accepted,
    timeout: Duration,
) -> Result<Exit, Failure> {
    let following = Following { client, printer, service, timeout };
    let Ended { exit, view, message } = following.follow(accepted.deployment.as_str(), Until::Live).await?;
    let object = serde_json::json!({
        "v": crate::api::VERSION, "success": exit == Exit::Done,
        "status": view.as_ref().map_or("unknown", |view| view.status.label()),
        "duration_seconds": view.as_ref().map_or(0.0, crate::cli::follow::seconds_so_far),
        "message": message, "deployment": accepted.deployment,
    });
    printer.result(&object, || message.clone());
    Ok(exit)
}
