//! What a release has to pass, as `config check` tells it.

use std::fmt::Write as _;
use std::time::Duration;

use cutover_core::gates::{ContractWhen, Gates, Hook, HookAction, Suite, SuiteKind};
use cutover_core::release::DeploymentSpec;
use serde_json::{Value, json};

/// One line for each kind of gate, below the line of the service; empty if nothing is asked but health.
pub(super) fn lines(spec: &DeploymentSpec) -> String {
    let gates = &spec.configuration.gates;
    let mut text = String::new();
    let mut line = |label: &str, content: &str| {
        // A `String` takes whatever is written.
        let _ = write!(text, "\n  {label:<10}{content}");
    };
    for (at, suite) in gates.smoke.iter().enumerate() {
        line(if at == 0 { "smoke" } else { "" }, &self::suite(suite));
    }
    for (at, hook) in gates.hooks.iter().enumerate() {
        line(if at == 0 { "hooks" } else { "" }, &self::hook(hook));
    }
    for (at, step) in steps(gates).iter().enumerate() {
        line(if at == 0 { "migrate" } else { "" }, step);
    }
    if let Some(host) = &gates.preview_host {
        line("preview", host);
    }
    if let Some(hold) = spec.rollout.hold {
        line("approval", &format!("`cutover promote` within {}, or it is taken back", shown(hold)));
    }
    text
}

/// The same for scripts.
pub(super) fn as_json(spec: &DeploymentSpec) -> Value {
    let gates = &spec.configuration.gates;
    let suites: Vec<_> =
        gates.smoke.iter().map(|suite| json!({ "name": suite.name, "what": kind(suite) })).collect();
    let hooks: Vec<_> =
        gates.hooks.iter().map(|hook| json!({ "point": hook.point, "name": hook.name })).collect();
    json!({
        "smoke": suites,
        "hooks": hooks,
        "expand": gates.migrate.expand,
        "contract": gates.migrate.contract,
        "preview_host": gates.preview_host,
        "approval_seconds": spec.rollout.hold.map(|hold| hold.as_secs()),
    })
}

fn suite(suite: &Suite) -> String {
    let again = suite.during_bake.map(|every| format!(", again every {} of the bake", shown(every)));
    format!("{}: {}{}", suite.name, kind(suite), again.unwrap_or_default())
}

fn kind(suite: &Suite) -> String {
    match &suite.kind {
        SuiteKind::Requests(steps) if steps.len() == 1 => "1 request".to_owned(),
        SuiteKind::Requests(steps) => format!("{} requests", steps.len()),
        SuiteKind::Hurl { file, .. } => format!("hurl {file}"),
        SuiteKind::Command { command, .. } => command.join(" "),
    }
}

fn hook(hook: &Hook) -> String {
    let what = match &hook.action {
        HookAction::Command(words) => words.join(" "),
        HookAction::Http { .. } => format!("POST to {}", hook.name),
    };
    let gate = if hook.point.is_gate() { "" } else { ", its failure is told and stops nothing" };
    format!("{}: {what}{gate}", hook.point.label())
}

fn steps(gates: &Gates) -> Vec<String> {
    let migrate = &gates.migrate;
    let when = match migrate.contract_when {
        ContractWhen::ByHand => "by hand",
        ContractWhen::AfterBake => "after the bake",
    };
    let expand = migrate.expand.as_ref().map(|words| format!("expand: {}", words.join(" ")));
    let contract = migrate.contract.as_ref().map(|words| format!("contract: {}, {when}", words.join(" ")));
    expand.into_iter().chain(contract).collect()
}

fn shown(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
