//! What was typed, key by key and not yet understood; each value knows its place in the text.

mod gates;
mod tls;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub(super) use gates::{
    RawHook, RawHookTable, RawHooks, RawMigrate, RawPreview, RawStatus, RawStep, RawSuite, RawSuiteFile,
    RawTexts,
};

pub(super) use tls::{
    RawAcme, RawAcmeOrContact, RawClientCertificates, RawHstsOrAge, RawPair, RawTls, RawTlsOrFlag,
    RawUpstreamTls, RawUpstreamTlsOrFlag,
};

/// A text with its place.
pub(super) type Text = Spanned<String>;

/// The whole file. Every key is optional here: what is missing is said by `resolve`, in our words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFile {
    pub(super) name: Option<Text>,
    pub(super) hosts: Option<Spanned<Vec<Text>>>,
    pub(super) path: Option<Text>,
    pub(super) canonical_host: Option<Text>,
    pub(super) tls: Option<Spanned<RawTlsOrFlag>>,
    pub(super) artifact: Option<Spanned<RawArtifactOrPath>>,
    pub(super) upstream: Option<Spanned<RawUpstreamOrProtocol>>,
    pub(super) timeouts: RawTimeouts,
    pub(super) drain: Option<Spanned<RawDrainOrWord>>,
    pub(super) replay: RawReplay,
    pub(super) exclude: Option<Spanned<Vec<Text>>>,
    pub(super) command: Option<Spanned<RawCommand>>,
    pub(super) env: BTreeMap<Text, Text>,
    pub(super) secrets: BTreeMap<Text, Spanned<RawSecret>>,
    pub(super) run: RawRun,
    pub(super) worker: BTreeMap<Text, RawWorker>,
    pub(super) health: RawHealth,
    pub(super) rollout: RawRollout,
    pub(super) smoke: Option<Spanned<Vec<Spanned<RawSuite>>>>,
    pub(super) hooks: RawHooks,
    pub(super) migrate: Option<Spanned<RawMigrate>>,
    pub(super) preview: Option<Spanned<RawPreview>>,
    pub(super) deploy: RawDeploy,
    pub(super) windows: Option<Spanned<RawWindows>>,
    pub(super) notify: Option<Spanned<RawNotify>>,
}

/// An artifact by its path, or with more to say.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawArtifactOrPath {
    Path(String),
    More(RawArtifact),
}

/// `artifact = { … }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawArtifact {
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) sha256: Option<String>,
}

/// A command as a list of words, or as one text that is split into words.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawCommand {
    Text(String),
    List(Vec<String>),
}

/// Where a secret comes from: exactly one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSecret {
    pub(super) file: Option<Text>,
    pub(super) env: Option<Text>,
    pub(super) command: Option<Spanned<RawCommand>>,
}

/// `[run]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRun {
    pub(super) instances: Option<Spanned<i64>>,
    pub(super) user: Option<Text>,
    pub(super) workdir: Option<Text>,
    pub(super) shared: Option<Vec<Text>>,
    pub(super) stop_signal: Option<Text>,
    pub(super) stop_timeout: Option<Text>,
}

/// `[worker.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWorker {
    pub(super) command: Option<Spanned<RawCommand>>,
    pub(super) instances: Option<Spanned<i64>>,
    pub(super) overlap: Option<bool>,
    pub(super) stop_signal: Option<Text>,
    pub(super) stop_timeout: Option<Text>,
}

/// `[health]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHealth {
    pub(super) path: Option<Text>,
    pub(super) interval: Option<Text>,
    pub(super) timeout: Option<Text>,
    pub(super) rise: Option<Spanned<i64>>,
    pub(super) fall: Option<Spanned<i64>>,
    pub(super) deadline: Option<Text>,
}

/// What instances speak by one word, or with more to say.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawUpstreamOrProtocol {
    Protocol(String),
    More(RawUpstream),
}

/// `upstream = { … }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawUpstream {
    pub(super) protocol: Option<String>,
    pub(super) proxy_protocol: Option<String>,
    pub(super) tls: Option<RawUpstreamTlsOrFlag>,
}

/// `[timeouts]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTimeouts {
    pub(super) connect: Option<Text>,
    pub(super) first_byte: Option<Text>,
    pub(super) idle: Option<Text>,
    pub(super) stream: Option<Text>,
}

/// How those leave who are with the old environment, by one word or with more to say.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawDrainOrWord {
    Word(String),
    More(RawDrain),
}

/// `drain = { … }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDrain {
    pub(super) requests: Option<String>,
    pub(super) connections: Option<String>,
    pub(super) rate: Option<String>,
    pub(super) clients: Option<String>,
}

/// `[replay]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReplay {
    pub(super) body_bytes: Option<Spanned<i64>>,
    pub(super) idempotency_key: Option<Text>,
    pub(super) within_release: Option<bool>,
}

/// `[rollout]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRollout {
    pub(super) bake: Option<Text>,
    pub(super) standby: Option<Text>,
    pub(super) auto_rollback: Option<bool>,
    pub(super) approval: Option<Text>,
    pub(super) approval_timeout: Option<Text>,
}

/// `[deploy]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDeploy {
    pub(super) hosts: Option<Spanned<Vec<Text>>>,
    pub(super) on_partial: Option<Text>,
    pub(super) hold: Option<Text>,
}

/// `[windows]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWindows {
    pub(super) timezone: Option<Text>,
    pub(super) allow: Option<Spanned<Vec<Text>>>,
    pub(super) deny: Option<Spanned<Vec<Text>>>,
}

/// `[notify]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNotify {
    pub(super) webhook: Option<Spanned<RawWebhook>>,
    pub(super) slack: Option<Spanned<RawSlack>>,
    pub(super) command: Option<Spanned<RawCommand>>,
    pub(super) on: Option<Spanned<Vec<Text>>>,
}

/// `webhook` in `[notify]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWebhook {
    pub(super) url: Option<Text>,
    pub(super) secret: Option<Spanned<RawSecret>>,
}

/// `slack` in `[notify]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSlack {
    pub(super) url: Option<Spanned<RawSecret>>,
}
