//! `cutover hold`, `unhold` and `maintenance`: requests wait, or are sent away, while something is done that bears no
//! traffic.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use cutover_core::routing::{Hold as Bounds, Maintenance as Said};
use serde_json::json;

use crate::api::pause::{HoldRequest, LONGEST_HOLD, MaintenanceRequest, PauseView, PausedView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::freeze::to_the_second;
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Let new requests wait; they go on with `unhold`, and by themselves when the time is over
#[derive(Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// How long at most, up to 10m
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Duration,
    /// Requests that wait at most; the next one gets 503
    #[arg(long, value_name = "COUNT", default_value_t = Bounds::REQUESTS, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Bytes of heads and bodies that those keep in memory at most
    #[arg(long, value_name = "COUNT", default_value_t = Bounds::BYTES, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
}

/// Let the requests that wait go on
#[derive(Args)]
pub(crate) struct Unhold {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
}

/// Send requests away with 503, with a page for people; those for the health path and those with a preview's token pass
#[derive(Subcommand)]
pub(crate) enum Maintenance {
    On(On),
    Off(Off),
}

/// Send requests away with 503 until `maintenance off`
#[derive(Args)]
pub(crate) struct On {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// An HTML page for people, up to 32 KiB; programs are told in a sentence
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// What `Retry-After` says
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    retry_after: Duration,
}

/// Let requests go their way again
#[derive(Args)]
pub(crate) struct Off {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
}

/// How long requests may wait.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|error| format!("{error}; a time such as `30s` is meant"))?;
    if time.is_zero() || time > Duration::from_secs(LONGEST_HOLD) {
        return Err(
            "requests wait for more than nothing and up to 10m; `cutover maintenance on` sends them away for longer".to_owned()
        );
    }
    Ok(time)
}

impl Hold {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let request = HoldRequest {
            seconds: self.time.as_secs_f64(),
            requests: Some(self.requests),
            bytes: Some(self.bytes),
        };
        let path = format!("/v1/services/{service}/hold");
        let view: PausedView = self.place.client()?.post(&path, Some(&request)).await?;
        printer.result(&view, || {
            let until = view.pause.as_ref().and_then(|pause| pause.until.as_deref()).map(to_the_second);
            let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
            let time = humantime::format_duration(self.time);
            format!(
                "new requests for {service} wait for {time} at most{until}{}; `cutover unhold {service}` lets them go on \
                 before",
                instead(&view)
            )
        });
        Ok(Exit::Done)
    }
}

impl Unhold {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let path = format!("/v1/services/{service}/unhold");
        let view: PausedView = self.place.client()?.post(&path, Some(&json!({}))).await?;
        printer.result(&view, || format!("requests for {service} go on"));
        Ok(Exit::Done)
    }
}

impl Maintenance {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        match self {
            Self::On(on) => on.run(printer).await,
            Self::Off(off) => off.run(printer).await,
        }
    }
}

impl On {
    async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let page = self.page.map(|file| read(&file)).transpose()?;
        let retry_after = u32::try_from(self.retry_after.as_secs().max(1)).unwrap_or(u32::MAX);
        let request = MaintenanceRequest { on: true, page, retry_after: Some(retry_after) };
        let view = tell(&self.place, &service, &request).await?;
        printer.result(&view, || {
            format!(
                "requests for {service} are sent away{}; `cutover maintenance off {service}` lets them in again",
                instead(&view)
            )
        });
        Ok(Exit::Done)
    }
}

impl Off {
    async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let request = MaintenanceRequest { on: false, page: None, retry_after: None };
        let view = tell(&self.place, &service, &request).await?;
        printer.result(&view, || format!("requests for {service} go their way again"));
        Ok(Exit::Done)
    }
}

async fn tell(
    place: &Place,
    service: &cutover_core::ServiceName,
    request: &MaintenanceRequest,
) -> Result<PausedView, Failure> {
    let path = format!("/v1/services/{service}/maintenance");
    Ok(place.client()?.post(&path, Some(request)).await?)
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::usage(format!("the page `{}` cannot be used: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if length > Said::LONGEST_PAGE as u64 {
        return Err(failed(format!("it has more than {} KiB", Said::LONGEST_PAGE / 1024)));
    }
    std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))
}

/// What the pause replaces, which somebody else may have meant.
fn instead(view: &PausedView) -> String {
    let Some(before) = &view.before else { return String::new() };
    let (by, is_hold) = (&before.by, view.pause.as_ref().is_some_and(|pause| pause.until.is_some()));
    match &before.until {
        Some(until) if is_hold => format!(", instead of until {} as {by} had said", to_the_second(until)),
        Some(_) => format!(", those too that waited on the word of {by}"),
        None => format!(", as they were since {} on the word of {by}", to_the_second(&before.since)),
    }
}

/// A pause in one line of `status`.
pub(crate) fn line(pause: &PauseView) -> String {
    let by = match &pause.deployment {
        Some(deployment) => format!("for the switch of deployment {deployment}"),
        None => format!("by {}", pause.by),
    };
    let waiting = match pause.waiting {
        None => String::new(),
        Some(1) => ", 1 waits now".to_owned(),
        Some(waiting) => format!(", {waiting} wait now"),
    };
    match &pause.until {
        Some(until) => format!("new requests wait until {} ({by}){waiting}", to_the_second(until)),
        None => format!("in maintenance ({by}): requests are sent away with 503"),
    }
}
