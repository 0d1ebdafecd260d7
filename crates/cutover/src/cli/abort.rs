//! `cutover abort`: the end of the open deployment.

use std::time::Duration;

use clap::Args;
use cutover_core::DeploymentId;
use serde_json::json;

use crate::api::VERSION;
use crate::api::views::{AbortRequest, Accepted, ServiceView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Controller, Place};
use crate::cli::printer::Printer;
use crate::cli::rollback::{Back, take_back};
use crate::cli::several::on_each;

/// End the open deployment and undo it
#[derive(Args)]
pub(crate) struct Abort {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Only drop what waits in the queue; the open deployment goes on
    #[arg(long)]
    only_queue: bool,
    /// Only end this deployment, open or waiting in the queue; what else waits goes on waiting
    #[arg(long, value_name = "ID", conflicts_with = "only_queue")]
    deployment: Option<DeploymentId>,
    /// Stop following after this time; the undo goes on
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Abort {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        if self.only_queue {
            return drop_queue(&self.place, self.service, printer).await;
        }
        if self.deployment.is_some() && self.place.controllers()?.len() > 1 {
            return Err(Failure::usage("a deployment has its id on one host alone")
                .hint("name that host with `--host`, or leave `--deployment` out"));
        }
        if self.deployment.is_none()
            && let Some(exit) = end_contraction(&self.place, self.service.clone(), printer).await?
        {
            return Ok(exit);
        }
        take_back(self.place, self.service, self.timeout, Back::Abort(self.deployment), printer).await
    }
}

/// Where no deployment is open and a schema is being contracted, that is what is meant.
async fn end_contraction(
    place: &Place,
    service: Option<String>,
    printer: &Printer,
) -> Result<Option<Exit>, Failure> {
    let service = place::service(service)?;
    let controllers = place.controllers()?;
    let [Controller { client, .. }] = controllers.as_slice() else { return Ok(None) };
    let path = format!("/v1/services/{service}");
    let Ok(view) = client.get::<ServiceView>(&path).await else { return Ok(None) };
    let is_open = view.deployment.as_ref().is_some_and(|newest| newest.ended_at.is_none());
    let Some(contraction) = view.contraction.filter(|one| !is_open && one.finding.is_none()) else {
        return Ok(None);
    };
    let request = AbortRequest { only_queue: false, deployment: None };
    let _: serde_json::Value = client.post(&format!("{path}/abort"), Some(&request)).await?;
    // Between the look and the word it may have begun.
    let after = client.get::<ServiceView>(&path).await?.contraction;
    let has_begun = after.is_some_and(|after| after.at == contraction.at);
    let version = contraction.version;
    let message = if has_begun {
        format!(
            "{service}   the contraction of the schema for {version} was ended; nobody knows how far it went, and there is \
             no rollback"
        )
    } else {
        format!("{service}   the contraction of the schema for {version} was taken back before it had begun")
    };
    printer.result(&json!({ "v": VERSION, "success": true, "message": message }), || message.clone());
    Ok(Some(Exit::Done))
}

async fn drop_queue(place: &Place, service: Option<String>, printer: &Printer) -> Result<Exit, Failure> {
    let service = place::service(service)?;
    let path = format!("/v1/services/{service}/abort");
    let drop = async |controller: &Controller, printer: &Printer| {
        let request = AbortRequest { only_queue: true, deployment: None };
        let accepted: Accepted = controller.client.post(&path, Some(&request)).await?;
        let open = &accepted.deployment;
        printer.result(&json!({ "v": VERSION, "success": true, "open": open }), || {
            format!("{service}   nothing waits any more; deployment {open} goes on")
        });
        Ok(Exit::Done)
    };
    on_each(&place.controllers()?, printer, drop).await
}
