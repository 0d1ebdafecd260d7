//! `cutover stop`: the end of what is warm, or of every instance of a service.

use std::time::Duration;

use clap::Args;
use cutover_core::Environment;
use cutover_core::service::StopScope;
use serde_json::json;

use crate::api::VERSION;
use crate::api::moves::{Recorded, StopRequest};
use crate::api::views::ServiceView;
use crate::cli::confirm::confirm;
use crate::cli::ending::{stopping, wait_for_end};
use crate::cli::environment::Target;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;

/// Stop what is kept warm (ENV `idle`), or every instance of the service
///
/// Requests in flight are waited for. A stopped service answers 503, and nothing but `cutover restart` or
/// `cutover deploy` starts it again.
#[derive(Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    target: Target,
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

impl Stop {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let (service, environment) = self.target.resolve()?;
        let client = self.place.client()?;
        let path = format!("/v1/services/{service}");
        let view: ServiceView = client.get(&path).await?;
        let idle = view.live.other();
        let scope = match environment {
            None => StopScope::Service,
            Some(environment) if environment.resolve(view.live) == idle => StopScope::Idle,
            Some(_) => {
                let reason = format!("{} is live: it is not stopped without the service", view.live);
                return Err(Failure::usage(reason).hint(format!(
                    "`cutover stop {service}` stops the whole service, `cutover stop {service} idle` what is warm"
                )));
            }
        };
        let said = what_is_lost(&view, scope);
        if self.yes {
            printer.talk(&said);
        } else {
            confirm(printer, &said, "nothing was stopped")?;
        }
        let environment = (scope == StopScope::Idle).then_some(idle);
        let request = StopRequest { scope, environment, end_bake: self.end_bake };
        let _: Recorded = client.post(&format!("{path}/stop"), Some(&request)).await?;
        let message = match scope {
            StopScope::Idle => format!("{service}   {idle} is stopped"),
            StopScope::Service => {
                format!("{service}   stopped; `cutover restart {service}` starts it again")
            }
        };
        let exit =
            wait_for_end(&client, printer, &path, self.timeout, |view| Ok(left(&view?, scope))).await?;
        let message = match exit {
            Exit::Done => message,
            _ => {
                format!("{service}   instances are still being stopped; `cutover status` tells how far it is")
            }
        };
        let object =
            json!({ "v": VERSION, "success": exit == Exit::Done, "service": service, "message": message });
        printer.result(&object, || message.clone());
        Ok(exit)
    }
}

/// What it means, before it is done.
fn what_is_lost(view: &ServiceView, scope: StopScope) -> String {
    let (service, idle) = (&view.service, view.live.other());
    match (scope, &view.rollback.to) {
        (StopScope::Idle, Some(to)) if view.rollback.ready => format!(
            "{service}   stopping {idle}: a rollback to {to} is possible after that, but has to start it first"
        ),
        (StopScope::Idle, _) => format!("{service}   stopping {idle}"),
        (StopScope::Service, _) => {
            let count: usize =
                Environment::ALL.iter().map(|color| view.environments[*color].instances.len()).sum();
            let noun = if count == 1 { "instance" } else { "instances" };
            format!(
                "{service}   stopping all of it, {count} {noun}: its clients get 503 until it is started again"
            )
        }
    }
}

/// What still runs of it, if anything does.
fn left(view: &ServiceView, scope: StopScope) -> Option<String> {
    let count = |color: Environment| {
        let environment = &view.environments[color];
        environment.instances.len() + environment.leaving
    };
    let count = match scope {
        StopScope::Idle => count(view.live.other()),
        StopScope::Service => Environment::ALL.into_iter().map(count).sum(),
    };
    (count > 0).then(|| stopping(count))
}
