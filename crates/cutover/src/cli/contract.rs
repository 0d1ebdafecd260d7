//! `cutover contract`: what only the former release needed leaves the schema.

use std::time::Duration;

use clap::Args;
use cutover_core::gates::Verdict;
use serde_json::json;

use crate::api::VERSION;
use crate::api::client::ClientError;
use crate::api::gates::ContractRequest;
use crate::api::moves::Recorded;
use crate::api::views::ServiceView;
use crate::cli::confirm::confirm;
use crate::cli::ending::wait_for_end;
use crate::cli::exit::{Exit, Failure};
use crate::cli::findings;
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Run the `contract` step of what is live: from then on there is no rollback to what was live before it
#[derive(Args)]
pub(crate) struct Contract {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Do not ask whether it is meant; needed where nobody can be asked
    #[arg(long)]
    yes: bool,
    /// Stop waiting for the end of it after this time; it goes on
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Contract {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let client = self.place.client()?;
        let path = format!("/v1/services/{service}");
        let view: ServiceView = client.get(&path).await?;
        let live = view.environments[view.live].version.as_ref();
        let live = live.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let lost = view.rollback.to.as_ref().filter(|_| view.rollback.ready);
        let lost = lost.map_or_else(String::new, |to| format!(": there will be no rollback to {to}"));
        let said = format!("{service}   the schema is to be contracted for {live}{lost}");
        // What would be refused is not asked about.
        let open = view.deployment.as_ref().is_some_and(|newest| newest.ended_at.is_none());
        let refused = open || view.environments[view.live].release.is_none();
        if self.yes || refused {
            printer.talk(&said);
        } else {
            confirm(printer, &said, "nothing was contracted")?;
        }
        let before = asked_at(&view);
        let release = view.environments[view.live].release.clone();
        let release = release.ok_or_else(|| Failure::new(Exit::Refused, "nothing is live"))?;
        let request = ContractRequest { release };
        let _: Recorded = client.post(&format!("{path}/contract"), Some(&request)).await?;
        let exit = wait_for_end(&client, printer, &path, self.timeout, under_way).await?;
        let view: ServiceView = client.get(&path).await?;
        let finding = view.contraction.as_ref().and_then(|contraction| contraction.finding.as_ref());
        let is_withdrawn = asked_at(&view) == before;
        let (exit, message) = match finding {
            _ if is_withdrawn => (
                Exit::TakenBack,
                format!(
                    "{service}   the contraction for {live} was taken back before it had begun: nothing has changed"
                ),
            ),
            Some(finding) if finding.verdict == Verdict::Pass => {
                (Exit::Done, format!("{service}   the schema was contracted for {live}"))
            }
            Some(finding) => (
                Exit::TakenBack,
                format!(
                    "{service}   the contraction for {live} has not passed: {}\n{}  it can be asked for again; there is \
                     no rollback, because nobody knows how far it went",
                    finding.reason,
                    findings::of_what_failed(finding)
                ),
            ),
            None => (exit, format!("{service}   goes on; `cutover status {service}` tells how far it is")),
        };
        let object =
            json!({ "v": VERSION, "success": exit == Exit::Done, "service": service, "message": message });
        printer.result(&object, || message.clone());
        Ok(exit)
    }
}

/// When the last contraction was asked for.
fn asked_at(view: &ServiceView) -> Option<String> {
    view.contraction.as_ref().map(|contraction| contraction.at.clone())
}

fn under_way(seen: Result<ServiceView, ClientError>) -> Result<Option<String>, ClientError> {
    let contraction = seen?.contraction.filter(|contraction| contraction.finding.is_none());
    Ok(contraction.map(|contraction| format!("contracting the schema for {}", contraction.version)))
}
