//! `cutover deploy`: a release to the idle environment, and traffic to it.

mod everywhere;
mod submit;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use cutover_controller::DeploymentManager;
use cutover_core::ServiceName;
use cutover_core::artifact::ArtifactSource;
use cutover_core::service::WhenOpen;

use crate::api::client::Client;
use crate::api::views::{DeployAnswer, DeployRequest, ServiceView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::proxy::ended_by_signal;
use crate::cli::spinner::Spinner;
use crate::config;

use everywhere::Everywhere;
use submit::submit;

/// Bring a release to the idle environment, validate it there, switch traffic to it
#[derive(Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    place: Place,
    /// The name of the release [default: the short git commit]
    version: Option<String>,
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "cutover.toml")]
    file: PathBuf,
    /// Wait for the end of the deployment that is open, and of those that wait already
    #[arg(long, group = "terms")]
    queue: bool,
    /// Replace the deployment that is open: take it back, or end its bake if it is live; drop what waits
    #[arg(long, group = "terms")]
    supersede: bool,
    /// End the bake of the deployment before, giving up that its former release is warm
    #[arg(long, group = "terms")]
    end_bake: bool,
    /// Once it has passed its gates, wait this long for `cutover promote` before traffic is switched
    #[arg(long, value_name = "DURATION", value_parser = hold)]
    hold_before_switch: Option<Duration>,
    /// Switch while new requests wait, this long at most: for a change that bears no two releases at once. Requests that are
    /// under way end first; the hook `before_shift` runs while nothing does
    #[arg(long, value_name = "DURATION", value_parser = hold_time, num_args = 0..=1, default_missing_value = "30s")]
    hold: Option<Duration>,
    /// Deploy in spite of a freeze or outside of `[windows]`; the reason is recorded
    #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    override_freeze: Option<String>,
    /// Deploy although the host seems to have no room
    #[arg(long)]
    force: bool,
    /// Send the artifact also to a controller of this host, which then need not be able to read it where it lies
    #[arg(long)]
    upload: bool,
    /// Follow until traffic has moved or until the bake is over [default: done on a terminal, live elsewhere]
    #[arg(long, value_enum)]
    wait: Option<Wait>,
    /// Stop following after this time; the deployment goes on
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Until traffic has moved
    Live,
    /// Until the end of the bake
    Done,
}

impl Wait {
    /// Where following ends if that was said, or nothing was.
    pub(crate) fn until(wait: Option<Self>, printer: &Printer) -> Until {
        match wait {
            Some(Self::Live) => Until::Live,
            Some(Self::Done) => Until::Done,
            None if printer.is_terminal() => Until::Done,
            None => Until::Live,
        }
    }
}

/// How long requests wait at most for the shift.
fn hold_time(text: &str) -> Result<Duration, String> {
    if text.starts_with(|first: char| !first.is_ascii_digit()) {
        return Err(
            "a time such as `30s` comes first, or nothing: `cutover deploy VERSION --hold`".to_owned()
        );
    }
    crate::cli::hold::time(text)
}

/// How long a person has to make up their mind.
fn hold(text: &str) -> Result<Duration, String> {
    let hold = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    if hold.is_zero() || hold > week {
        return Err("it is between `1s` and `7days`; without it nobody is waited for".to_owned());
    }
    Ok(hold)
}

impl Deploy {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let loaded = config::load(&self.file)?;
        let controllers = self.place.controllers_beside(&self.file)?;
        let elsewhere = controllers.iter().any(|controller| controller.host.is_elsewhere());
        let mut resolved = config::resolve(&loaded, config::Overrides { version: self.version, elsewhere })?;
        for warning in &resolved.warnings {
            printer.talk(&format!("warning: {warning}"));
        }
        resolved.spec.rollout.hold = self.hold_before_switch.or(resolved.spec.rollout.hold);
        let service = resolved.spec.service.clone();
        let when_open = match (self.queue, self.supersede, self.end_bake) {
            (true, ..) => WhenOpen::Queue,
            (_, true, _) => WhenOpen::Supersede,
            (.., true) => WhenOpen::EndBake,
            _ => WhenOpen::Refuse,
        };
        let request = DeployRequest {
            spec: resolved.spec,
            deployment: Some(DeploymentManager::new_deployment_id()),
            when_open,
            force: self.force,
            override_freeze: self.override_freeze,
            hold_requests: self.hold,
        };
        let until = Wait::until(self.wait, printer);
        let upload = elsewhere || self.upload;
        let order = Order { service, request, upload, until, timeout: self.timeout };
        match controllers.as_slice() {
            [only] => order.on(&only.client, printer).await,
            several => {
                let (across, begun) = (resolved.across, std::time::Instant::now());
                Everywhere { order, across, controllers: several, printer, begun }.run().await
            }
        }
    }
}

/// What is to be deployed, and how far it is followed.
struct Order {
    service: ServiceName,
    request: DeployRequest,
    /// The controller cannot read the artifact where it lies.
    upload: bool,
    until: Until,
    timeout: Duration,
}

impl Order {
    /// Deploys on one host.
    async fn on(&self, client: &Client, printer: &Printer) -> Result<Exit, Failure> {
        let Self { service, request, until, timeout, .. } = self;
        let Some(answer) = self.answered(client, printer).await? else { return Ok(Exit::Unfinished) };
        let deployment = match answer {
            DeployAnswer::AlreadyLive { version, baking: Some(deployment) } if *until == Until::Done => {
                printer.talk(&format!(
                    "{service}   {version} is live with identical content: following its bake"
                ));
                deployment
            }
            DeployAnswer::AlreadyLive { version, .. } => {
                let asked = &request.spec.version;
                let known = if version == *asked { String::new() } else { format!(", known as {version}") };
                printer.result(&outcome(true, "live", 0.0, "already live", None), || {
                    format!(
                        "{service}   {asked} is already live, with identical content{known}: nothing to do"
                    )
                });
                return Ok(Exit::Done);
            }
            DeployAnswer::Following { deployment } => {
                printer
                    .talk(&format!("{service}   the same release is being deployed already: following it"));
                deployment
            }
            DeployAnswer::Opened { deployment, notes } => {
                for note in notes {
                    printer.talk(&format!("note: {note}"));
                }
                deployment
            }
        };
        let following = Following { client, printer, service, timeout: *timeout };
        let ended = following.follow(deployment.as_str(), *until).await?;
        tell(client, printer, service.as_str(), deployment.as_str(), ended).await
    }

    /// What the controller answers, which takes as long as it needs to fetch and unpack; nothing if that was not waited
    /// for.
    async fn answered(&self, client: &Client, printer: &Printer) -> Result<Option<DeployAnswer>, Failure> {
        let signal =
            ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
        let service = &self.service;
        let mut spinner = Spinner::new(printer);
        if let ArtifactSource::Url { .. } = &self.request.spec.artifact {
            spinner.show("artifact    the controller fetches it");
        }
        let answer = tokio::select! {
            answer = submit(client, printer, self) => Some(answer?),
            () = signal => None,
        };
        spinner.clear();
        if answer.is_none() {
            let message = "waiting ended by a signal, before the controller had answered";
            printer.talk(&format!(
                "{message}\n  hint: `cutover status {service}` tells whether a deployment has begun; the same command \
                 goes on from there, and what has arrived already is not fetched or sent again"
            ));
            if printer.is_json() {
                printer.result(&outcome(false, "unknown", 0.0, message, None), String::new);
            }
        }
        Ok(answer)
    }
}

/// Says how it ended, and how one would go back.
pub(crate) async fn tell(
    client: &Client,
    printer: &Printer,
    service: &str,
    deployment: &str,
    ended: Ended,
) -> Result<Exit, Failure> {
    let Ended { exit, view, message } = ended;
    let status = view.as_ref().map_or("unknown", |view| view.status.label());
    let seconds = view.as_ref().map_or(0.0, crate::cli::follow::seconds_so_far);
    let object = outcome(exit == Exit::Done, status, seconds, &message, Some(deployment));
    let back = match exit {
        Exit::Done => way_back(client, service).await,
        _ => None,
    };
    printer.result(&object, || match back {
        Some(back) => format!("{message}; {back}"),
        None => message.clone(),
    });
    Ok(exit)
}

fn outcome(
    success: bool,
    status: &str,
    seconds: f64,
    message: &str,
    deployment: Option<&str>,
) -> serde_json::Value {
    serde_json::json!({
        "v": crate::api::VERSION, "success": success, "status": status, "duration_seconds": seconds,
        "message": message, "deployment": deployment,
    })
}

/// How one would go back, in words; nothing if the controller cannot say.
async fn way_back(client: &Client, service: &str) -> Option<String> {
    let view: ServiceView = client.get(&format!("/v1/services/{service}")).await.ok()?;
    let rollback = &view.rollback;
    let idle = view.live.other();
    match (&rollback.to, rollback.ready) {
        (Some(to), true) if rollback.warm => {
            Some(format!("`cutover rollback` goes back to {to} (ready, {idle} is warm)"))
        }
        (Some(to), true) => Some(format!(
            "`cutover rollback` goes back to {to} (it has to be started, about {:.0} s)",
            rollback.seconds.ceil()
        )),
        _ => Some(format!(
            "no rollback is possible: {}",
            rollback.why_not.as_deref().unwrap_or("no reason is known")
        )),
    }
}
