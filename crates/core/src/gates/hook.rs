//! What is run at named points of a deployment, and for the database.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in the life of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Nothing was done yet. A gate.
    BeforeDeploy,
    /// The instances were started. A gate.
    AfterProvision,
    /// Every instance is healthy. A gate.
    AfterHealthy,
    /// Every smoke suite has passed. A gate.
    AfterSmoke,
    /// Everything else has passed but a person's promote. A gate.
    BeforeShift,
    /// The new environment got more of the traffic.
    AfterEachStep,
    /// All traffic is on the new environment.
    AfterCutover,
    /// The bake has ended.
    AfterBake,
    /// The deployment was taken back.
    OnRollback,
    /// The deployment was not what it should be, and ended.
    OnFailure,
}

impl HookPoint {
    /// All, in the order in which they come.
    pub const ALL: [Self; 10] = [
        Self::BeforeDeploy,
        Self::AfterProvision,
        Self::AfterHealthy,
        Self::AfterSmoke,
        Self::BeforeShift,
        Self::AfterEachStep,
        Self::AfterCutover,
        Self::AfterBake,
        Self::OnRollback,
        Self::OnFailure,
    ];

    /// The word used in files, JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BeforeDeploy => "before_deploy",
            Self::AfterProvision => "after_provision",
            Self::AfterHealthy => "after_healthy",
            Self::AfterSmoke => "after_smoke",
            Self::BeforeShift => "before_shift",
            Self::AfterEachStep => "after_each_step",
            Self::AfterCutover => "after_cutover",
            Self::AfterBake => "after_bake",
            Self::OnRollback => "on_rollback",
            Self::OnFailure => "on_failure",
        }
    }

    /// Finds a point by its word, or by the name of a lifecycle event of CodeDeploy (AppSpec, "hooks" for ECS and
    /// EC2) that comes at the same point.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let own = Self::ALL.into_iter().find(|point| point.label() == word);
        own.or(match word {
            "BeforeInstall" => Some(Self::BeforeDeploy),
            "AfterInstall" => Some(Self::AfterProvision),
            "AfterAllowTestTraffic" => Some(Self::AfterHealthy),
            "BeforeAllowTraffic" => Some(Self::BeforeShift),
            "AfterAllowTraffic" => Some(Self::AfterCutover),
            _ => None,
        })
    }

    /// Whether a deployment goes on only if it passes.
    #[must_use]
    pub fn is_gate(self) -> bool {
        self <= Self::BeforeShift
    }
}

/// Something that is run at a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name in reports.
    pub name: String,
    /// When.
    pub point: HookPoint,
    /// What.
    pub action: HookAction,
    /// It has not passed if it has not ended after this time, all tries together.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How often it is begun again after it did not pass, within its time.
    #[serde(default)]
    pub retries: u32,
}

/// What a hook does. Either way it gets the context as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAction {
    /// Runs a program with what the release is run with; the context comes by standard input; it passes by exit
    /// status 0.
    Command(Vec<String>),
    /// Sends the context as the body of a POST; it passes by a status from 200 to 299.
    Http {
        /// Where to.
        url: String,
        /// Fields; `{{NAME}}` stands for a secret of the release.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
}

/// The steps of the database, as programs for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrate {
    /// Makes the schema fit for the old release and the new one, before the new one is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Vec<String>>,
    /// Takes away what only the old release needed, after the bake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Vec<String>>,
    /// When `contract` is run.
    #[serde(default)]
    pub contract_when: ContractWhen,
    /// How long each may take.
    #[serde(default = "an_hour", with = "humantime_serde")]
    pub timeout: Duration,
}

/// When the schema is contracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractWhen {
    /// A person says so.
    #[default]
    ByHand,
    /// By itself, once the bake has ended well.
    AfterBake,
}

impl Default for Migrate {
    fn default() -> Self {
        Self { expand: None, contract: None, contract_when: ContractWhen::ByHand, timeout: an_hour() }
    }
}

impl Migrate {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expand.is_none() && self.contract.is_none()
    }
}

fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_go_by_their_words_and_by_those_of_codedeploy() {
        for point in HookPoint::ALL {
            assert_eq!(HookPoint::named(point.label()), Some(point));
        }
        assert_eq!(HookPoint::named("BeforeAllowTraffic"), Some(HookPoint::BeforeShift));
        assert_eq!(HookPoint::named("before_alowtraffic"), None);
        assert!(HookPoint::BeforeShift.is_gate() && !HookPoint::AfterEachStep.is_gate());
    }
}
