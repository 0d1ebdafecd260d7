//! What a deployment would change, and what the instances of a host use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use cutover_controller::SubmitOptions;
use cutover_controller::manager::Plan;
use cutover_controller::ports::Usage;
use cutover_core::artifact::Manifest;
use cutover_core::gates::{Gate, Gates};
use cutover_core::release::{Configuration, Release, SecretReference};
use cutover_core::{Environment, InstanceId, ReleaseId, ServiceName, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::VERSION;
use crate::api::peer::Peer;
use crate::api::problem::Problem;
use crate::api::server::Served;
use crate::api::views::DeployRequest;

/// Names of files that are told; of more only the number.
const TOLD: usize = 50;

/// A deployment as it would be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    pub(crate) version: Version,
    pub(crate) release: ReleaseId,
    /// Where it would go; where it is, if it is live already.
    pub(crate) environment: Environment,
    /// Whether the same release is live already, so that nothing would be done.
    pub(crate) is_live: bool,
    pub(crate) live: Option<LiveView>,
    /// Absent if the files of the live release are not known, or nothing is live.
    pub(crate) files: Option<FilesView>,
    pub(crate) bytes: u64,
    /// Names of environment variables; values are not told.
    pub(crate) env: NamesView,
    /// Names of secrets.
    pub(crate) secrets: NamesView,
    /// Gates by their names, such as `smoke home`.
    #[serde(default)]
    pub(crate) gates: NamesView,
    /// What it has to pass before its switch, beside health, in the order in which that is asked.
    #[serde(default)]
    pub(crate) asked: Vec<String>,
    /// What else of the configuration is different.
    pub(crate) configuration: Vec<ChangeView>,
    pub(crate) instances: u32,
    /// What is live was scaled to so many by hand; the release brings its own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scaled_to: Option<u32>,
    pub(crate) memory: Option<MemoryView>,
    pub(crate) rollout: Value,
    /// Each reason for which it would be refused now.
    pub(crate) obstacles: Vec<String>,
}

/// What it is compared with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LiveView {
    pub(crate) version: Version,
    pub(crate) release: ReleaseId,
    pub(crate) environment: Environment,
    pub(crate) bytes: u64,
}

/// What is there, what is gone, what is different.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamesView {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// The same of files: how many, and the first of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilesView {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) changed: usize,
    pub(crate) names: NamesView,
}

/// A value of the configuration that is different.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeView {
    pub(crate) what: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
}

/// What the new instances would need, judged by the largest instance of the service that runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MemoryView {
    pub(crate) per_instance: u64,
    pub(crate) needed: u64,
    pub(crate) available: u64,
}

/// What instances use.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UsageView {
    pub(crate) v: u32,
    pub(crate) available: u64,
    pub(crate) instances: BTreeMap<InstanceId, InstanceUsageView>,
}

/// What one instance uses: bytes of memory, and milliseconds of processor time since its processes started.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct InstanceUsageView {
    pub(crate) memory: u64,
    pub(crate) cpu_ms: u64,
}

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/v1/services/{service}/plan", post(plan)).route("/v1/usage", get(usage))
}

async fn usage(State(served): State<Served>) -> Result<Json<UsageView>, Problem> {
    let usage = measure(&served).await?;
    let view = |used: &cutover_controller::ports::InstanceUsage| {
        let cpu_ms = u64::try_from(used.cpu.as_millis()).unwrap_or(u64::MAX);
        (used.id.clone(), InstanceUsageView { memory: used.memory, cpu_ms })
    };
    let instances = usage.instances.iter().map(view).collect();
    Ok(Json(UsageView { v: VERSION, available: usage.available, instances }))
}

async fn measure(served: &Served) -> Result<Usage, Problem> {
    let failed = |error: cutover_controller::ports::PortError| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.reason)
    };
    served.meter.usage().await.map_err(failed)
}

async fn plan(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    request: Result<Json<DeployRequest>, JsonRejection>,
) -> Result<Json<PlanView>, Problem> {
    let Json(request) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    if request.spec.service.as_str() != name {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "path and body name different services"));
    }
    let (spec, options) = request.into_parts();
    let (spec, options) = (&spec, SubmitOptions { deployment: None, ..options });
    let plan = served.manager.plan(spec, &peer.actor, &options, &*served.rehearsal).await?;
    let usage = measure(&served).await.ok();
    let (mut running, mut scaled_to) = (BTreeSet::new(), None);
    if let Some(snapshots) = served.manager.watch(&spec.service).await {
        let state = &snapshots.borrow().state;
        let instances = state.environments.iter().flat_map(|(_, slot)| &slot.instances);
        running.extend(instances.map(|instance| instance.id.clone()));
        scaled_to = state.environments[state.live].scaled_to;
    }
    let rollout = serde_json::to_value(&spec.rollout).unwrap_or_default();
    let view = view(&plan, spec.service.clone(), rollout, usage, &running);
    Ok(Json(PlanView { scaled_to, ..view }))
}

fn view(
    plan: &Plan,
    service: ServiceName,
    rollout: Value,
    usage: Option<Usage>,
    running: &BTreeSet<InstanceId>,
) -> PlanView {
    let release = &plan.rehearsed.release;
    let before = plan.live.as_ref().map(|(_, live)| live);
    let instances = release.configuration.run.instances;
    let memory = usage.and_then(|usage| {
        let own = usage.instances.iter().filter(|used| running.contains(&used.id));
        let per_instance = own.map(|used| used.memory).max()?;
        let needed = per_instance.saturating_mul(u64::from(instances));
        Some(MemoryView { per_instance, needed, available: usage.available })
    });
    let none = BTreeMap::new();
    let hold = rollout.get("hold").is_some_and(|hold| !hold.is_null());
    let asked = asked(&release.configuration.gates, before.map(|live| &live.configuration.gates), hold);
    let gates = names(
        &before.map(|live| by_name(&live.configuration.gates)).unwrap_or_default(),
        &by_name(&release.configuration.gates),
    );
    let env = names(before.map_or(&none, |live| &live.configuration.env), &release.configuration.env);
    PlanView {
        v: VERSION,
        service,
        version: release.version.clone(),
        release: release.id.clone(),
        environment: plan.environment,
        is_live: plan.is_live,
        live: plan.live.as_ref().map(|(environment, live)| LiveView {
            version: live.version.clone(),
            release: live.id.clone(),
            environment: *environment,
            bytes: live.artifact_bytes,
        }),
        files: plan.rehearsed.before.as_ref().map(|before| files(before, &plan.rehearsed.files)),
        bytes: release.artifact_bytes,
        env,
        gates,
        asked,
        secrets: names(&fingerprints(before), &fingerprints(Some(release))),
        configuration: before
            .map_or_else(Vec::new, |live| changes(&live.configuration, &release.configuration)),
        instances,
        scaled_to: None,
        memory,
        rollout,
        obstacles: plan.obstacles.clone(),
    }
}

/// The gates of a release with what each of them says.
fn by_name(gates: &Gates) -> BTreeMap<String, Value> {
    let said = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let suites =
        gates.smoke.iter().map(|suite| (format!("smoke {}", suite.name), said(serde_json::to_value(suite))));
    let hooks = gates
        .hooks
        .iter()
        .map(|hook| (format!("{} {}", hook.point.label(), hook.name), said(serde_json::to_value(hook))));
    let steps = [("expand", &gates.migrate.expand), ("contract", &gates.migrate.contract)];
    let steps = steps
        .into_iter()
        .filter_map(|(name, step)| Some((name.to_owned(), said(serde_json::to_value(step.as_ref()?)))));
    let host = gates.preview_host.iter().map(|host| ("preview host".to_owned(), Value::from(host.as_str())));
    suites.chain(hooks).chain(steps).chain(host).collect()
}

/// What a deploy of a release with these gates, over one with those, asks before its switch.
fn asked(gates: &Gates, live: Option<&Gates>, hold: bool) -> Vec<String> {
    let suites = |count: usize| if count == 1 { "1 suite".to_owned() } else { format!("{count} suites") };
    let told = |gate: Gate| match gate {
        Gate::Smoke => format!("smoke ({})", suites(gates.smoke.len())),
        Gate::StillWorks => {
            let count = live.map_or(0, |live| live.smoke.len());
            format!("still works ({} of what is live)", suites(count))
        }
        other => other.label().to_owned(),
    };
    let gates = Gate::BEFORE_THE_SHIFT.into_iter().filter(|gate| gates.has(gate, live)).map(told);
    gates.chain(hold.then(|| "promote".to_owned())).collect()
}

fn fingerprints(release: Option<&Release>) -> BTreeMap<String, String> {
    let pair = |secret: &SecretReference| (secret.name.clone(), secret.fingerprint.clone());
    release.into_iter().flat_map(|release| &release.secrets).map(pair).collect()
}

/// What of a list of names with something behind them is different. What is behind them is not told.
fn names<K: Ord + ToString, T: PartialEq>(before: &BTreeMap<K, T>, after: &BTreeMap<K, T>) -> NamesView {
    let only = |one: &BTreeMap<K, T>, other: &BTreeMap<K, T>| {
        one.keys().filter(|name| !other.contains_key(name)).map(ToString::to_string).collect()
    };
    let changed = after.iter().filter(|(name, value)| before.get(name).is_some_and(|was| was != *value));
    NamesView {
        added: only(after, before),
        removed: only(before, after),
        changed: changed.map(|(name, _)| name.to_string()).collect(),
    }
}

fn files(before: &Manifest, after: &Manifest) -> FilesView {
    use cutover_core::artifact::EntryKind;
    // When a file was changed last is no part of the release.
    let of = |manifest: &Manifest| -> BTreeMap<String, String> {
        let content = |path: &PathBuf, kind: &EntryKind| {
            let content = match kind {
                EntryKind::Directory => return None,
                EntryKind::File { executable, sha256, .. } => format!("{executable} {sha256}"),
                EntryKind::Link { target } => target.display().to_string(),
            };
            Some((path.display().to_string(), content))
        };
        manifest.entries.iter().filter_map(|entry| content(&entry.path, &entry.kind)).collect()
    };
    let mut names = names(&of(before), &of(after));
    let (added, removed, changed) = (names.added.len(), names.removed.len(), names.changed.len());
    for list in [&mut names.added, &mut names.removed, &mut names.changed] {
        list.truncate(TOLD);
    }
    FilesView { added, removed, changed, names }
}

/// What of the configuration is different, beside environment variables.
fn changes(before: &Configuration, after: &Configuration) -> Vec<ChangeView> {
    let flat = |configuration: &Configuration| {
        let mut flat = BTreeMap::new();
        if let Ok(Value::Object(mut fields)) = serde_json::to_value(configuration) {
            fields.remove("env");
            fields.remove("gates");
            flatten("", &Value::Object(fields), &mut flat);
        }
        flat
    };
    let (before, after) = (flat(before), flat(after));
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = all.into_iter().filter(|what| before.get(*what) != after.get(*what));
    differs
        .map(|what| ChangeView {
            what: what.clone(),
            from: before.get(what).cloned(),
            to: after.get(what).cloned(),
        })
        .collect()
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, into);
            }
            return;
        }
        Value::Null => return,
        Value::String(text) => text.clone(),
        Value::Array(words) if words.is_empty() => return,
        Value::Array(words) => {
            let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
            words.iter().map(word).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    into.insert(path.to_owned(), text);
}
