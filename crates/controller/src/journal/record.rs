//! One decision, as it is written down.
//!
//! Formats: 1 had no `deployment`, `actor` and `reason`, and at most one `closed`. 2 is the present one.

use std::fmt;

use cutover_core::routing::Pause;
use cutover_core::service::{
    Answer, Deployment, DeploymentKind, Event, Health, PendingEffect, ServiceState, Status, StopScope,
    Transition,
};
use cutover_core::{DeploymentId, Timestamp};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The format of records that this version writes. Readers know it and all before it.
pub const RECORD_FORMAT: u32 = 2;

/// Who asked, where no person did.
const NOBODY: &str = "cutover";

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this record; a newer one than [`RECORD_FORMAT`] is not read.
    #[serde(deserialize_with = "known_format")]
    pub format: u32,
    /// The version of cutover whose rules decided.
    pub decider: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The deployment it is about: the one that was open and ended with it, else the open one. Absent in format 1.
    #[serde(default)]
    pub deployment: Option<DeploymentId>,
    /// Who asked: a person, else `cutover`. Empty in format 1.
    #[serde(default)]
    pub actor: String,
    /// What happened, in one sentence for people. Empty in format 1.
    #[serde(default)]
    pub reason: String,
    /// What happened.
    pub event: Event,
    /// What was asked for because of it.
    pub effects: Vec<PendingEffect>,
    /// The deployments that ended with it. Format 1 had one or `null`.
    #[serde(deserialize_with = "none_one_or_many")]
    pub closed: Vec<Deployment>,
    /// What is true since then.
    pub state: ServiceState,
}

/// Who asked for a decision, why, and which deployment it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) deployment: Option<DeploymentId>,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

/// A text that is no record, or one of a newer format.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// A newer version wrote it.
    #[error(
        "the record was written by a newer cutover (format {0}, this one reads up to {RECORD_FORMAT}); start that version again"
    )]
    Newer(u64),
    /// It is damaged.
    #[error("the record cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl Record {
    /// The record of a decision that this version has just made.
    #[must_use]
    pub fn new(at: Timestamp, event: &Event, before: &ServiceState, transition: &Transition) -> Self {
        let Account { deployment, actor, reason } =
            account(event, before, &transition.state, &transition.closed);
        let closed = transition.to_keep().cloned().collect();
        Self {
            format: RECORD_FORMAT,
            decider: env!("CARGO_PKG_VERSION").to_owned(),
            at,
            deployment,
            actor,
            reason,
            event: event.clone(),
            effects: transition.effects.clone(),
            closed,
            state: transition.state.clone(),
        }
    }

    /// Reads a record of this format or an older one.
    ///
    /// # Errors
    /// [`UnreadableRecord`], which tells a newer record from a damaged one.
    pub fn read(text: &str) -> Result<Self, UnreadableRecord> {
        #[derive(Deserialize)]
        struct Form {
            format: u64,
        }
        serde_json::from_str(text).map_err(|error| match serde_json::from_str::<Form>(text) {
            Ok(Form { format }) if format > u64::from(RECORD_FORMAT) => UnreadableRecord::Newer(format),
            _ => error.into(),
        })
    }

    /// Every deployment that the record says something about, as it is now.
    pub fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.closed.iter().chain(&self.state.deployment).chain(&self.state.queue)
    }

    /// What a record of format 1 would have said in format 2; that of format 2 is its own.
    pub(crate) fn account(&self, before: &ServiceState) -> Account {
        if self.format == 1 {
            return account(&self.event, before, &self.state, &self.closed);
        }
        let (deployment, actor) = (self.deployment.clone(), self.actor.clone());
        Account { deployment, actor, reason: self.reason.clone() }
    }
}

fn account(event: &Event, before: &ServiceState, after: &ServiceState, closed: &[Deployment]) -> Account {
    let about = match event {
        Event::DeployRequested { deployment, .. } => {
            let opened = after.deployment.iter().chain(&after.queue).find(|open| open.id == *deployment);
            opened.or(after.deployment.as_ref())
        }
        Event::AbortRequested { deployment: Some(named), .. } => {
            closed.iter().chain(&after.deployment).find(|one| one.id == *named)
        }
        Event::ShiftTraced { deployment, ended, .. } => {
            let open = after.deployment.iter().chain(&after.trailing);
            open.chain(ended.as_deref()).find(|one| one.id == *deployment)
        }
        // What ended with it, rather than what began because of that.
        _ => {
            let was = before.deployment.as_ref();
            let ended = closed.iter().find(|closed| was.is_some_and(|was| was.id == closed.id));
            ended.or(after.deployment.as_ref()).or(closed.first())
        }
    };
    let actor = match event {
        Event::DeployRequested { actor, .. }
        | Event::RollbackRequested { actor, .. }
        | Event::AbortRequested { actor, .. }
        | Event::PromoteRequested { actor, .. }
        | Event::RestartRequested { actor, .. }
        | Event::ScaleRequested { actor, .. }
        | Event::TrafficRequested { actor, .. }
        | Event::StopRequested { actor, .. }
        | Event::RemoveRequested { actor, .. }
        | Event::RollbackToRequested { actor, .. }
        | Event::ContractRequested { actor, .. }
        | Event::ResolveRequested { actor, .. }
        | Event::PauseRequested { actor, .. }
        | Event::UnfreezeRequested { actor } => actor.as_str(),
        Event::FreezeRequested { freeze } => freeze.by.as_str(),
        Event::CommandStarted { run } | Event::CommandEnded { run } => run.actor.as_str(),
        Event::Answered { .. }
        | Event::ShiftTraced { .. }
        | Event::HealthChanged { .. }
        | Event::WorkersChanged { .. }
        | Event::TimePassed
        | Event::ControllerStarted { .. } => NOBODY,
    };
    let reason = turned(before, about).unwrap_or_else(|| sentence(event, about, closed));
    Account { deployment: about.map(|deployment| deployment.id.clone()), actor: actor.to_owned(), reason }
}

/// Why a deployment is being taken back, or is stuck, if that was decided just now.
fn turned(before: &ServiceState, about: Option<&Deployment>) -> Option<String> {
    let now = about?;
    let was = before.deployment.as_ref().filter(|was| was.id == now.id);
    let turned = now.reason.is_some() && was.is_none_or(|was| was.reason != now.reason);
    now.reason.clone().filter(|_| turned)
}

/// What happened, in one sentence.
fn sentence(event: &Event, about: Option<&Deployment>, closed: &[Deployment]) -> String {
    match event {
        Event::DeployRequested { release, .. } => format!("deploy of `{}` was asked for", release.version),
        Event::FreezeRequested { freeze } => format!("frozen until {}: {}", freeze.until, freeze.reason),
        Event::UnfreezeRequested { .. } => "the freeze was ended".to_owned(),
        Event::RollbackRequested { .. } => match about.filter(|now| now.kind == DeploymentKind::Rollback) {
            Some(rollback) => format!("rollback to `{}` was asked for", rollback.version),
            None => "rollback was asked for".to_owned(),
        },
        Event::AbortRequested { only_queue: true, .. } => "what waits was dropped".to_owned(),
        Event::AbortRequested { .. } => "abort was asked for".to_owned(),
        Event::RestartRequested { .. } => "restart was asked for".to_owned(),
        Event::TrafficRequested { weights, live, .. } => {
            let idle = live.other();
            format!("{} % of the traffic to {idle} was asked for", weights.of(idle))
        }
        Event::ScaleRequested { instances, .. } => format!("scale to {instances} was asked for"),
        Event::StopRequested { scope: StopScope::Idle, .. } => {
            "the end of the warmth was asked for".to_owned()
        }
        Event::RemoveRequested { .. } => "removal was asked for".to_owned(),
        Event::RollbackToRequested { release, .. } => {
            format!("rollback to `{}` was asked for", release.version)
        }
        Event::StopRequested { scope: StopScope::Service, .. } => "stop was asked for".to_owned(),
        Event::ContractRequested { .. } => "contraction of the schema was asked for".to_owned(),
        Event::PromoteRequested { .. } => "promote was asked for".to_owned(),
        Event::ResolveRequested { way, .. } => format!("`{}` was chosen as the way out", way.label()),
        Event::PauseRequested { pause: Some(Pause::Hold(hold)), .. } => {
            format!("requests wait until {}", hold.until)
        }
        Event::PauseRequested { pause: Some(Pause::Maintenance(_)), .. } => {
            "maintenance has begun".to_owned()
        }
        Event::PauseRequested { pause: None, .. } => "requests go their way again".to_owned(),
        Event::ShiftTraced { trace, .. } => {
            format!("it is known what became of the shift to epoch {}", trace.report.epoch)
        }
        Event::CommandStarted { run } => {
            format!("`{}` was run with `{}` of {}", run.words(), run.version, run.environment)
        }
        Event::CommandEnded { run } => {
            let how = run.ended.as_ref().map_or("it has ended", |ended| ended.how.as_str());
            format!("`{}` has ended: {how}", run.words())
        }
        Event::Answered { effect, answer } => match answer {
            Answer::Failed { reason, .. } => format!("effect {} has failed: {reason}", effect.sequence),
            Answer::Judged { finding } => {
                format!(
                    "effect {} was judged {}: {}",
                    effect.sequence,
                    finding.verdict.label(),
                    finding.reason
                )
            }
            done => format!("effect {} was answered: {}", effect.sequence, word(done)),
        },
        Event::HealthChanged { environment, health, .. } => match health {
            Health::Unhealthy { reason, .. } => format!("{environment} lost its health: {reason}"),
            Health::Healthy => format!("{environment} is healthy"),
            Health::Unknown => format!("nothing is known of the health of {environment}"),
        },
        Event::WorkersChanged { environment, health, .. } => match health {
            Health::Unhealthy { reason, .. } => format!("the workers of {environment} fail: {reason}"),
            Health::Healthy | Health::Unknown => format!("the workers of {environment} run"),
        },
        Event::TimePassed => match closed.iter().find(|closed| closed.status == Status::Live) {
            Some(closed) => format!("the bake of `{}` is over", closed.version),
            None => "a time that was waited for has come".to_owned(),
        },
        Event::ControllerStarted { term, .. } => {
            format!("a controller of term {term} looked at what is there")
        }
    }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Provisioned { .. } => "provisioned",
        Answer::Healthy { .. } => "healthy",
        Answer::Shifted { .. } => "shifted",
        Answer::Drained { .. } => "drained",
        Answer::Retired => "retired",
        Answer::WorkersStarted => "workers started",
        Answer::WorkersStopped => "workers stopped",
        Answer::Unrouted => "unrouted",
        Answer::Prioritised => "prioritised",
        Answer::Judged { .. } => "judged",
        Answer::Failed { .. } => "failed",
    }
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let format = u32::deserialize(deserializer)?;
    if (1..=RECORD_FORMAT).contains(&format) {
        return Ok(format);
    }
    Err(de::Error::custom(format_args!(
        "records of format {format} are not known, only 1 to {RECORD_FORMAT}"
    )))
}

/// Reads `null`, one of something, or a list.
pub(super) fn none_one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Closed<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Closed<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("null, a deployment, or a list of deployments")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            Ok(vec![T::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }

    deserializer.deserialize_any(Closed(std::marker::PhantomData))
}
