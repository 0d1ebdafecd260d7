//! One run that takes a release to the idle environment and traffic to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::gates::{Finding, Gate};
use crate::names::{DeploymentId, InstanceId, ReleaseId, Version};
use crate::receipt::{Receipt, Trace};
use crate::release::{Origin, Release, RolloutPolicy};
use crate::service::state::{Instance, Slot};
use crate::timestamp::Timestamp;

/// A deployment, open or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// What it is for.
    pub kind: DeploymentKind,
    /// Who asked for it.
    pub actor: String,
    /// The version it brings.
    pub version: Version,
    /// The release it brings.
    pub release: ReleaseId,
    /// The version that was live before, if any was.
    pub from: Option<Version>,
    /// The slot it brings the release to.
    pub environment: Environment,
    /// What people are told.
    pub status: Status,
    /// Where in the line it is.
    pub stage: Stage,
    /// Why it is ending or has ended the way it does.
    pub reason: Option<String>,
    /// Who had it taken back, if a person did.
    #[serde(default)]
    pub taken_back_by: Option<String>,
    /// The last lines that an instance wrote before it failed the deployment, oldest first.
    #[serde(default)]
    pub last_lines: Vec<String>,
    /// How it goes on after its gates.
    pub rollout: RolloutPolicy,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When traffic had moved: the receipt of the cutover came.
    pub cutover_at: Option<Timestamp>,
    /// While it waits for a person's promote: when it is taken back if nobody gives it.
    #[serde(default)]
    pub hold_until: Option<Timestamp>,
    /// When the bake ends.
    pub bake_until: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What was done, in order.
    pub steps: Vec<StepReport>,
    /// The receipts of its shifts, in order.
    pub receipts: Vec<Receipt>,
    /// What was found out about those shifts, by their epochs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Trace>,
    /// For a restart or a scale: what is still to be done, the present round first.
    #[serde(default)]
    pub rounds: Vec<Round>,
    /// The release while its slot is still being emptied; the slot has it from `Provisioning` on.
    #[serde(default)]
    pub incoming: Option<Box<Release>>,
    /// What it still has to pass before it goes on from its stage, the gate that is asked first.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// The suites that are repeated while it bakes, and when each is next.
    #[serde(default)]
    pub checks: Vec<NextCheck>,
    /// What went wrong first in its bake, if it was not taken back for that.
    #[serde(default)]
    pub marred: Option<String>,
    /// What the slot held before; put back (cold) if the deployment fails before its cutover.
    pub displaced: Option<Slot>,
    /// While it is being undone: why, and how it will end.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// For a rollback: the deployment that it undoes.
    pub undoes: Option<DeploymentId>,
    /// The reason for which it was let through a freeze or begun outside of its windows, if it was.
    #[serde(default)]
    pub overrode: Option<String>,
    /// Where its release comes from.
    #[serde(default)]
    pub origin: Option<Box<Origin>>,
    /// When the window closes in which it was asked for: it does not begin after that.
    #[serde(default)]
    pub window_closes: Option<Timestamp>,
}

/// One exchange of instances within the live slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// The ids of those that are started for it.
    pub coming: Vec<InstanceId>,
    /// Those of them that run.
    pub started: Vec<Instance>,
    /// Those that go, with their places in case they stay after all.
    pub leaving: Vec<Instance>,
}

/// A suite that is repeated in the bake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextCheck {
    /// Its name.
    pub suite: String,
    /// When it is asked next; absent while it is being asked.
    pub at: Option<Timestamp>,
    /// How often it has passed.
    pub passed: u32,
    /// How often it has not.
    #[serde(default)]
    pub failed: u32,
}

/// Why a deployment is being undone; kept apart from [`Deployment::reason`], which says more while it is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The cause, in one sentence.
    pub reason: String,
    /// `rolled_back`, or `failed` if nothing moved or the instances are kept for inspection.
    pub ends_as: Status,
    /// Whether it is no fault of the release: a person wanted it, or nobody promoted it.
    #[serde(default)]
    pub by_hand: bool,
}

/// What a deployment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// Brings a new release.
    Deploy,
    /// Brings back the release of the idle slot.
    Rollback,
    /// Exchanges the instances of the live slot, one at a time.
    Restart,
    /// Adds instances to the live slot, or takes some away.
    Scale,
    /// Gives the idle slot a share of the traffic, or ends that.
    Traffic,
}

impl DeploymentKind {
    /// Whether it changes the live slot itself, and moves no traffic between the slots.
    #[must_use]
    pub fn is_within_live(self) -> bool {
        matches!(self, Self::Restart | Self::Scale)
    }

    /// Whether another release is live once it has ended well.
    #[must_use]
    pub fn brings_a_release(self) -> bool {
        matches!(self, Self::Deploy | Self::Rollback)
    }

    /// The word used in files, JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Restart => "restart",
            Self::Scale => "scale",
            Self::Traffic => "traffic",
        }
    }
}

/// The status of a deployment, as people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was done yet.
    NotStarted,
    /// The slot is emptied and the release provisioned.
    Deploying,
    /// The database is expanded.
    Migrating,
    /// Health and gates are awaited.
    Validating,
    /// Traffic is being moved.
    Shifting,
    /// The cutover has happened.
    Live,
    /// What was done is being undone.
    RollingBack,
    /// Ended: traffic is where it was before.
    RolledBack,
    /// Ended with nothing to undo, or kept for inspection.
    Failed,
    /// An undo failed; a person must decide. Traffic is untouched.
    Stuck,
}

impl Status {
    /// Every one, in the order of a life.
    pub const ALL: [Self; 10] = [
        Self::NotStarted,
        Self::Deploying,
        Self::Migrating,
        Self::Validating,
        Self::Shifting,
        Self::Live,
        Self::RollingBack,
        Self::RolledBack,
        Self::Failed,
        Self::Stuck,
    ];

    /// The word used in files, JSON, metrics and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Deploying => "deploying",
            Self::Migrating => "migrating",
            Self::Validating => "validating",
            Self::Shifting => "shifting",
            Self::Live => "live",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// Where in its line a deployment is.
///
/// The line is `Preparing → Expanding → Vacating → Provisioning → Provisioned → AwaitingHealth → Admitting → Validating →
/// AwaitingPromotion → Shifting → Baking`, with `Quieting` before the last gate or the shift; a stage whose gates a release does not have is left out. Steps of weight have
/// their place within `Shifting`, evidence within `Baking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Gates are asked before anything is done.
    Preparing,
    /// The slot is being emptied of what it held.
    Vacating,
    /// The schema is being made fit for the old release and the new one.
    Expanding,
    /// Instances of the release are being started.
    Provisioning,
    /// They run, and gates are asked before their health.
    Provisioned,
    /// Its instances have to become healthy.
    AwaitingHealth,
    /// The router is told of the private way to it.
    Admitting,
    /// Gates are asked of the healthy release.
    Validating,
    /// Every gate has passed but one: a person has to promote it.
    AwaitingPromotion,
    /// New requests wait, and those that are under way end.
    Quieting,
    /// The shift to it was asked for.
    Shifting,
    /// It is live and watched.
    Baking,
    /// Restart, scale: instances are being started beside those that serve.
    Adding,
    /// Restart, scale: what was started has to become healthy.
    Proving,
    /// Restart, scale: the table gets the new instances and loses the old ones, which are then stopped.
    Exchanging,
    /// Undo: the former release is not well and is brought back to health before traffic goes to it.
    Reviving,
    /// Undo: the shift away from it was asked for.
    ShiftingBack,
    /// Undo: its instances are being stopped.
    Retiring,
    /// Nothing more will happen. What is stuck stays at the stage of its undo that failed.
    Ended,
}

/// One thing that was done, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// `queue`, `vacate`, `provision`, `healthy`, `preview`, `promote`, `switch`, `workers`, `bake`, `drain`, `revive`,
    /// `switch back`, `stop`, `restart` (of the controller), `start` and `exchange` (of instances in the live slot),
    /// `weights`, and the label of each gate.
    pub name: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended; absent while it goes on.
    pub outcome: Option<Outcome>,
    /// One line about it: a figure or a reason.
    pub detail: String,
    /// What was found, if it is a gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Box<Finding>>,
}

impl StepReport {
    /// How long it took, if it has ended.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.ended_at.map(|ended| ended.since(self.started_at))
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// It did not.
    Failed,
}
