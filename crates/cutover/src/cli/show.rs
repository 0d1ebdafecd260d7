//! `cutover show`: one deployment with everything that is known of it.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use cutover_core::gates::Finding;
use cutover_core::release::Origin;
use cutover_core::service::Outcome;

use crate::api::client::{Client, ClientError};
use crate::api::views::{DeploymentView, HistoryView, StepView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;
use crate::cli::progress::step_line;
use crate::cli::receipt;
use crate::cli::{findings, foreign};

/// One deployment with its steps, reasons and receipts
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    place: Place,
    /// The deployment's id, as `deploy` and `history` tell it, or the version of its newest one [default: latest]
    deployment: Option<String>,
    /// The service [default: that of the cutover.toml here]
    #[arg(long)]
    service: Option<String>,
    /// Write the report as a file in JUnit's form too, for CI to show
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Show {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let client = self.place.client()?;
        let all = format!("/v1/services/{service}/deployments");
        let view = match self.deployment.as_deref() {
            None | Some("latest") => {
                let newest = newest(&client, &all, |_| true).await?.ok_or_else(|| {
                    Failure::usage(format!("{service} has no deployment yet"))
                        .hint("`cutover deploy` makes one")
                })?;
                // A history does not tell what is waited for.
                client.get(&format!("{all}/{}", newest.deployment)).await?
            }
            Some(word) => match client.get(&format!("{all}/{word}")).await {
                Err(ClientError::Refused(problem)) if problem.status == 404 => {
                    let of_version = newest(&client, &all, |view| view.version.as_str() == word).await?;
                    of_version.ok_or(ClientError::Refused(problem))?
                }
                answer => answer?,
            },
        };
        if let Some(file) = &self.junit {
            std::fs::write(file, junit(&view)).map_err(|error| {
                Failure::new(Exit::Refused, format!("cannot write `{}`: {error}", file.display()))
            })?;
            printer.talk(&format!("wrote the report to `{}`", file.display()));
        }
        printer.result(&view, || text(&view));
        Ok(Exit::Done)
    }
}

/// The newest deployment of which this is true.
async fn newest(
    client: &Client,
    path: &str,
    is_meant: impl Fn(&DeploymentView) -> bool,
) -> Result<Option<DeploymentView>, Failure> {
    let history: HistoryView = client.get(path).await?;
    Ok(history.deployments.into_iter().find(is_meant))
}

/// Every step as a suite: a gate with its checks, anything else as one test.
fn junit(view: &DeploymentView) -> String {
    let finding = |step: &StepView| match (&step.finding, step.outcome) {
        (Some(finding), _) => finding.clone(),
        (None, Some(Outcome::Passed)) => Finding::pass(step.detail.clone()),
        (None, Some(Outcome::Failed)) => Finding::fail(step.detail.clone()),
        (None, None) => Finding::not_yet("it goes on"),
    };
    let steps: Vec<_> = view.steps.iter().map(|step| (step.name.clone(), finding(step))).collect();
    let name = format!("deployment {} of {} {}", view.deployment, view.service, view.version);
    cutover_smoke::junit::write(&name, &steps)
}

fn text(view: &DeploymentView) -> String {
    let mut text = String::new();
    let from = view.from.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let _ = writeln!(
        text,
        "deployment {} of {}: {from} → {} on {}, {}",
        view.deployment,
        view.service,
        view.version,
        view.environment,
        view.status.label()
    );
    let _ = writeln!(text, "  release {}, asked for by {} at {}", view.release, view.actor, view.started_at);
    for (what, moment) in
        [("traffic moved", &view.cutover_at), ("bake until", &view.bake_until), ("ended", &view.ended_at)]
    {
        if let Some(moment) = moment {
            let _ = writeln!(text, "  {what} {moment}");
        }
    }
    if let Some(origin) = &view.origin {
        let _ = writeln!(text, "  from {}", origin_text(origin));
    }
    if let Some(overrode) = &view.overrode {
        let _ = writeln!(text, "  in spite of a freeze or closed windows: {}", foreign::line(overrode));
    }
    if let Some(reason) = &view.reason {
        let _ = writeln!(text, "  reason: {}", foreign::line(reason));
    }
    if let Some(wait) = &view.waiting_for {
        let _ = writeln!(text, "  waits: {}", foreign::line(wait));
    }
    if let Some(by) = &view.taken_back_by {
        let _ = writeln!(text, "  taken back by {by}");
    }
    if let Some(undoes) = &view.undoes {
        let _ = writeln!(text, "  undoes {undoes}");
    }
    if let Some(by) = &view.undone_by {
        let _ = writeln!(text, "  undone by {by}");
    }
    for step in &view.steps {
        let _ = writeln!(text, "{}", step_line(step));
        if let Some(finding) = &step.finding {
            text.push_str(&findings::all(finding));
        }
    }
    for receipt in &view.receipts {
        text.push_str(&receipt::lines(receipt));
    }
    if !view.last_lines.is_empty() {
        let _ = writeln!(text, "  the last lines it wrote:");
        for line in &view.last_lines {
            let _ = writeln!(text, "  | {line}");
        }
    }
    text
}

/// Where a release comes from, in one line.
fn origin_text(origin: &Origin) -> String {
    let mut parts = Vec::new();
    if let Some(commit) = &origin.commit {
        let dirty = if origin.dirty { " with changes" } else { "" };
        parts.push(format!("commit {}{dirty}", commit.get(..12).unwrap_or(commit)));
    }
    parts.extend(origin.branch.as_ref().map(|branch| format!("on {branch}")));
    parts.extend(origin.author.as_ref().map(|author| format!("by {author}")));
    let mut text = parts.join(" ");
    if let Some(job) = &origin.job {
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(&format!("job {job}"));
    }
    text
}
