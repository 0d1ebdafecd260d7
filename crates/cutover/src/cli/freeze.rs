//! `cutover freeze`: nothing is deployed until a moment. Rollback and abort are not its business.

mod until;

use clap::Args;
use cutover_core::ServiceName;
use serde_json::json;

use crate::api::calendar::{FreezeRequest, FrozenView, MissedView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

use until::Until;
pub(crate) use until::{here, to_the_second};

/// Refuse deployments until a moment; rollback and abort go on to work
#[derive(Args)]
pub(crate) struct Freeze {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Every service, and those that are made until then
    #[arg(long, conflicts_with = "service")]
    all: bool,
    /// `2h`, `2026-12-24T18:00` (local time, or with a zone: `2026-12-24T18:00 Europe/Vienna`), or RFC 3339
    #[arg(long, value_name = "T")]
    until: String,
    /// Why; whoever is refused is told
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// End a freeze
#[derive(Args)]
pub(crate) struct Unfreeze {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Every service that is frozen
    #[arg(long, conflicts_with = "service")]
    all: bool,
}

/// The path for one service, or for all.
fn path(service: Option<String>, all: bool, verb: &str) -> Result<String, Failure> {
    if all {
        return Ok(format!("/v1/{verb}"));
    }
    Ok(format!("/v1/services/{}/{verb}", place::service(service)?))
}

impl Freeze {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let Until { moment: until, seconds, remark } = until::parse(&self.until)?;
        let reason = self.reason.trim().to_owned();
        if reason.is_empty() {
            return Err(Failure::usage("a freeze needs a reason")
                .hint("`--reason TEXT` says it to whoever is refused"));
        }
        if let Some(remark) = remark {
            printer.talk(&format!("note: {remark}"));
        }
        let path = path(self.service, self.all, "freeze")?;
        let request = FreezeRequest { until, seconds, reason };
        let frozen: FrozenView = self.place.client()?.post(&path, Some(&request)).await?;
        printer.result(&frozen, || {
            let until = frozen.freeze.as_ref().map(|freeze| here(&freeze.until)).unwrap_or_default();
            let names: Vec<&str> = frozen.services.iter().map(ServiceName::as_str).collect();
            let are = if names.len() == 1 { "is" } else { "are" };
            let unfreeze = if self.all { "--all".to_owned() } else { names.join(" ") };
            format!(
                "{} {are} frozen until {until}; `cutover unfreeze {unfreeze}` ends it before",
                names.join(", ")
            )
        });
        Ok(tell_of(&frozen.missed, "not frozen", printer))
    }
}

impl Unfreeze {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let path = path(self.service, self.all, "unfreeze")?;
        let freed: FrozenView = self.place.client()?.post(&path, Some(&json!({}))).await?;
        printer.result(&freed, || {
            let names: Vec<&str> = freed.services.iter().map(ServiceName::as_str).collect();
            match names.as_slice() {
                [] => "nothing was frozen".to_owned(),
                [one] => format!("{one} is frozen no more"),
                many => format!("{} are frozen no more", many.join(", ")),
            }
        });
        Ok(tell_of(&freed.missed, "frozen as before", printer))
    }
}

/// Says which services are as they were. What is done only in part ends as if it had been asked of them alone.
fn tell_of(missed: &[MissedView], how: &str, printer: &Printer) -> Exit {
    for MissedView { service, reason } in missed {
        printer.talk(&format!("{service} is {how}: {reason}"));
    }
    if missed.is_empty() { Exit::Done } else { Exit::Refused }
}
