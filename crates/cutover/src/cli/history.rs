//! `cutover history`: the deployments of a service.

use std::fmt::Write;

use clap::Args;

use crate::api::moves::FormerView;
use crate::api::views::{DeploymentView, HistoryView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::foreign;
use crate::cli::place::{self, Controller, Place};
use crate::cli::printer::Printer;
use crate::cli::rollback::to::list;
use crate::cli::several::on_each;

/// The deployments of a service
#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// How many at most, newest first
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

impl History {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let path = format!("/v1/services/{service}/deployments");
        let look = async |controller: &Controller, printer: &Printer| {
            let mut history: HistoryView = controller.client.get(&path).await?;
            history.deployments.truncate(usize::from(self.limit));
            // A controller that cannot say it, or a key that may not ask, keeps nobody from the history.
            let former = format!("/v1/services/{service}/releases");
            let former = controller.client.get::<FormerView>(&former).await.ok();
            printer.result(&history, || {
                if history.deployments.is_empty() {
                    return format!("{service} has no deployment yet");
                }
                let mut lines: Vec<String> = history.deployments.iter().map(line).collect();
                if let Some(former) = former.filter(|former| !former.releases.is_empty()) {
                    let list = list(&former.releases);
                    lines.push(format!("`cutover rollback --to VERSION` goes back to {list}"));
                }
                lines.join("\n")
            });
            Ok(Exit::Done)
        };
        on_each(&self.place.controllers()?, printer, look).await
    }
}

fn line(view: &DeploymentView) -> String {
    let kind = view.kind.label();
    let started = view.started_at.get(..19).unwrap_or(&view.started_at).replace('T', " ");
    let started = format!("{started} UTC");
    let status = view.status.label();
    let mut text = format!(
        "{started}  {:<8} {kind:<8} {:<12} {:<5} {status:<12} by {}",
        view.deployment, view.version, view.environment, view.actor
    );
    let commit = view.origin.as_ref().and_then(|origin| origin.commit.as_deref());
    // A version that is the commit says it already.
    let commit = commit.and_then(|commit| commit.get(..7));
    if let Some(commit) = commit.filter(|commit| !view.version.as_str().starts_with(commit)) {
        let _ = write!(text, "  from {commit}");
    }
    if let Some(overrode) = &view.overrode {
        let _ = write!(text, "  overrode: {}", foreign::line(overrode));
    }
    if let Some(reason) = &view.reason {
        let _ = write!(text, "  {}", foreign::line(reason));
    }
    if let Some(by) = &view.undone_by {
        let _ = write!(text, "  undone by {by}");
    }
    text
}
