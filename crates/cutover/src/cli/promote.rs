//! `cutover promote`: traffic to what waits for a person's word.

use std::time::Duration;

use clap::Args;
use cutover_core::DeploymentId;

use crate::api::views::{Accepted, PromoteRequest, ServiceView};
use crate::cli::deploy::{Wait, tell};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::Following;
use crate::cli::place::{self, Controller, Place};
use crate::cli::printer::Printer;
use crate::cli::several::on_each;

/// Let the deployment that waits for it switch traffic to its release
#[derive(Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Only if it is this one that waits; told again it is no mistake
    #[arg(long, value_name = "ID")]
    deployment: Option<DeploymentId>,
    /// Follow until traffic has moved or until the bake is over [default: done on a terminal, live elsewhere]
    #[arg(long, value_enum)]
    wait: Option<Wait>,
    /// Stop following after this time; the deployment goes on
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Promote {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let controllers = self.place.controllers()?;
        if controllers.len() > 1 && self.deployment.is_some() {
            return Err(Failure::usage("a deployment has its id on one host alone")
                .hint("name that host with `--host`, or leave `--deployment` out"));
        }
        let named = self.deployment;
        let path = format!("/v1/services/{service}");
        let until = Wait::until(self.wait, printer);
        let promote = async |controller: &Controller, printer: &Printer| {
            let client = &controller.client;
            let view: ServiceView = client.get(&path).await?;
            // What is seen here is what is meant, whatever takes its place a moment later.
            let held = view.deployment.filter(|open| open.hold_until.is_some());
            let held = held.filter(|held| named.as_ref().is_none_or(|named| held.deployment == *named));
            if let Some(held) = &held {
                printer.talk(&format!(
                    "{service}   promoting {} (deployment {})",
                    held.version, held.deployment
                ));
            }
            let deployment = held.map(|held| held.deployment).or_else(|| named.clone());
            let request = PromoteRequest { deployment };
            let Accepted { deployment } = client.post(&format!("{path}/promote"), Some(&request)).await?;
            let following = Following { client, printer, service: &service, timeout: self.timeout };
            let ended = following.follow(deployment.as_str(), until).await?;
            tell(client, printer, service.as_str(), deployment.as_str(), ended).await
        };
        on_each(&controllers, printer, promote).await
    }
}
