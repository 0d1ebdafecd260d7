//! `cutover rollback`: back to the former release.

use std::time::Duration;

use clap::Args;

use crate::api::views::Accepted;
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Switch back to the former release
#[derive(Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Stop following after this time; the rollback goes on
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Rollback {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        take_back(self.place, self.service, self.timeout, "rollback", printer).await
    }
}

/// Asks for the end of what is live or under way, and follows until traffic is where it was.
pub(crate) async fn take_back(
    place: Place,
    service: Option<String>,
    timeout: Duration,
    verb: &str,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let service = place::service(service)?;
    let client = place.client();
    let Accepted { deployment } =
        client.post::<(), _>(&format!("/v1/services/{service}/{verb}"), None).await?;
    let following = Following { client: &client, printer, service: &service, timeout };
    let Ended { exit, view, message } = following.follow(deployment.as_str(), Until::TakenBack).await?;
    let object = serde_json::json!({
        "v": crate::api::VERSION, "success": exit == Exit::Done,
        "status": view.as_ref().map_or("unknown", |view| view.status.label()),
        "message": message, "deployment": deployment,
    });
    printer.result(&object, || message.clone());
    Ok(exit)
}
