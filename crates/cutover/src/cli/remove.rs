//! `cutover remove`: a service taken away, with its history kept.

use std::time::Duration;

use clap::Args;
use cutover_core::Environment;
use hyper::StatusCode;
use serde_json::json;

use crate::api::VERSION;
use crate::api::client::ClientError;
use crate::api::moves::{Recorded, RemoveRequest};
use crate::api::views::ServiceView;
use crate::cli::confirm::confirm;
use crate::cli::ending::{stopping, wait_for_end};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Take a service away: requests in flight are waited for, its instances stopped, its route removed
///
/// Its history stays; a later deploy of its name begins it anew.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    place: Place,
    /// The service; it has to be named
    service: String,
    /// Do not ask whether it is meant; needed where nobody can be asked
    #[arg(long)]
    yes: bool,
    /// End the bake of the deployment before
    #[arg(long)]
    end_bake: bool,
    /// Stop waiting for the end of it after this time; it goes on
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Remove {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(Some(self.service))?;
        let client = self.place.client()?;
        let path = format!("/v1/services/{service}");
        let view: ServiceView = client.get(&path).await?;
        let live = view.environments[view.live].version.as_ref();
        let live = live.map_or_else(|| "no release".to_owned(), |version| format!("{version} live"));
        let said = format!(
            "{service}   removing it, with {live}: its clients get errors, and there is no way back but a deploy"
        );
        if self.yes {
            printer.talk(&said);
        } else {
            confirm(printer, &said, "nothing was removed")?;
        }
        let _: Recorded =
            client.post(&format!("{path}/remove"), Some(&RemoveRequest { end_bake: self.end_bake })).await?;
        let exit = wait_for_end(&client, printer, &path, self.timeout, left).await?;
        let message = match exit {
            Exit::Done => format!("{service}   removed; `cutover history {service}` still tells of it"),
            _ => {
                format!("{service}   is still being removed; `cutover status {service}` tells how far it is")
            }
        };
        let object =
            json!({ "v": VERSION, "success": exit == Exit::Done, "service": service, "message": message });
        printer.result(&object, || message.clone());
        Ok(exit)
    }
}

/// What is still there of it; nothing once the controller tells of it no more.
fn left(seen: Result<ServiceView, ClientError>) -> Result<Option<String>, ClientError> {
    let view = match seen {
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return Ok(None),
        seen => seen?,
    };
    let environments = Environment::ALL.map(|color| &view.environments[color]);
    let count =
        environments.iter().map(|environment| environment.instances.len() + environment.leaving).sum();
    Ok(Some(if count == 0 { "its route is being removed".to_owned() } else { stopping(count) }))
}
