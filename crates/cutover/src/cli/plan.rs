//! `cutover plan`: what a deployment now would change. Nothing is changed by asking.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use cutover_core::service::WhenOpen;
use indicatif::HumanBytes;

use crate::api::plan::{NamesView, PlanView};
use crate::api::views::DeployRequest;
use crate::cli::bring::bring;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::config;

/// What a deployment now would change, and what would refuse it; changes nothing
#[derive(Args)]
#[command(after_help = "Example: cutover plan v2    what `cutover deploy v2` would do")]
pub(crate) struct Plan {
    #[command(flatten)]
    place: Place,
    /// The name of the release [default: the short git commit]
    version: Option<String>,
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "cutover.toml")]
    file: PathBuf,
    /// Send the artifact also to a controller of this host, which then need not be able to read it where it lies
    #[arg(long)]
    upload: bool,
}

impl Plan {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let loaded = config::load(&self.file)?;
        let mut controllers = self.place.controllers_beside(&self.file)?;
        let (Some(controller), true) = (controllers.pop(), controllers.is_empty()) else {
            return Err(Failure::usage("several hosts are meant, and a plan is made for one at a time")
                .hint("name one of them with `--host`"));
        };
        let elsewhere = controller.host.is_elsewhere();
        let mut resolved = config::resolve(&loaded, config::Overrides { version: self.version, elsewhere })?;
        for warning in &resolved.warnings {
            printer.talk(&format!("warning: {warning}"));
        }
        let client = controller.host.client();
        let service = resolved.spec.service.clone();
        if elsewhere || self.upload {
            // What is sent stays over there for a while, so that the deployment need not send it again.
            let spec = &mut resolved.spec;
            spec.artifact = bring(&client, &service, &spec.artifact, &spec.exclude, printer).await?;
        }
        let request = DeployRequest {
            spec: resolved.spec,
            deployment: None,
            when_open: WhenOpen::Refuse,
            force: false,
            override_freeze: None,
            hold_requests: None,
        };
        let view: PlanView = client.post(&format!("/v1/services/{service}/plan"), Some(&request)).await?;
        printer.result(&view, || text(&view));
        Ok(Exit::Done)
    }
}

fn text(view: &PlanView) -> String {
    let mut text = String::new();
    let (service, version, environment) = (&view.service, &view.version, view.environment);
    let _ = match &view.live {
        Some(live) if view.is_live => {
            writeln!(
                text,
                "{service}   {version} is live on {} already, as {}: nothing to do",
                live.environment, live.version
            )
        }
        Some(live) => writeln!(
            text,
            "{service}   {} on {} → {version} on {environment}",
            live.version, live.environment
        ),
        None => writeln!(text, "{service}   first release {version} on {environment}"),
    };
    match (&view.files, &view.live) {
        (Some(files), Some(live)) => {
            let sizes = format!("{} → {}", HumanBytes(live.bytes), HumanBytes(view.bytes));
            let counts =
                format!("{} added, {} changed, {} removed", files.added, files.changed, files.removed);
            line(&mut text, "files", &format!("{counts}   {sizes}"));
            let told = differences(&files.names);
            if !told.is_empty() {
                line(&mut text, "", &told);
            }
        }
        _ => line(&mut text, "files", &HumanBytes(view.bytes).to_string()),
    }
    for (what, names) in [("variables", &view.env), ("secrets", &view.secrets)] {
        let told = differences(names);
        line(&mut text, what, if told.is_empty() { "as before" } else { &told });
    }
    let told = differences(&view.gates);
    if !told.is_empty() {
        line(&mut text, "gates", &told);
    }
    if !view.asked.is_empty() && !view.is_live {
        line(&mut text, "asks", &view.asked.join(", "));
    }
    for change in &view.configuration {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        line(&mut text, &change.what, &format!("{} → {}", value(&change.from), value(&change.to)));
    }
    if let Some(scaled) = view.scaled_to.filter(|scaled| *scaled != view.instances && !view.is_live) {
        let told =
            format!("{scaled}, as scaled by hand → {}; `[run] instances` would keep it", view.instances);
        line(&mut text, "instances", &told);
    }
    let copies =
        if view.instances == 1 { "1 instance".to_owned() } else { format!("{} instances", view.instances) };
    match &view.memory {
        Some(memory) => {
            let [each, needed, available] = [memory.per_instance, memory.needed, memory.available]
                .map(|bytes| HumanBytes(bytes).to_string());
            let told = format!(
                "{needed} for {copies} of {each}, as the largest that runs; {available} are available"
            );
            line(&mut text, "memory", &told);
        }
        None => line(&mut text, "memory", &format!("not known for {copies}: none runs yet")),
    }
    let policy =
        |name: &str| view.rollout.get(name).and_then(|value| value.as_str()).unwrap_or("none").to_owned();
    let back = view.rollout.get("auto_rollback").and_then(serde_json::Value::as_bool).unwrap_or_default();
    let back = if back { "a failure takes it back" } else { "a failure is kept for inspection" };
    line(&mut text, "rollout", &format!("bake {}, standby {}, {back}", policy("bake"), policy("standby")));
    for obstacle in &view.obstacles {
        let _ = writeln!(text, "  it would be refused now: {obstacle}");
    }
    text
}

fn line(text: &mut String, what: &str, told: &str) {
    let _ = writeln!(text, "  {what:<12} {told}");
}

/// `+ NEW  ~ OTHER  - GONE`.
fn differences(names: &NamesView) -> String {
    let signed = [("+", &names.added), ("~", &names.changed), ("-", &names.removed)];
    let words =
        signed.iter().flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign} {name}")));
    words.collect::<Vec<_>>().join("  ")
}
