//! What a release has to earn before it reaches users, and what is told of it.
//!
//! A release carries its gates with it: what was believed of the old one can be asked again of it when the new one has
//! changed the schema below. Assertions and captures are texts here; what they mean is the business of the room that
//! checks and runs them.

mod finding;
mod hook;
mod suite;

pub use finding::{Assertion, Check, Finding, Verdict};
pub use hook::{ContractWhen, Hook, HookAction, HookPoint, Migrate};
pub use suite::{Step, Suite, SuiteKind};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::names::{DeploymentId, ServiceName, Version};

/// What a release has to pass, and what is run on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gates {
    /// Smoke suites, run at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<Suite>,
    /// What is run at named points, in this order where a point has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The steps of the database.
    #[serde(default, skip_serializing_if = "Migrate::is_empty")]
    pub migrate: Migrate,
    /// A host name under which whoever has a signed link reaches the release before its switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_host: Option<String>,
}

impl Gates {
    /// Whether nothing is asked of a release but its health.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The hooks of a point, in their order.
    pub fn hooks_at(&self, point: HookPoint) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| hook.point == point)
    }

    /// Whether it has a gate. `live` are those of what is live and serves, which is asked again once the schema was
    /// expanded.
    #[must_use]
    pub fn has(&self, gate: &Gate, live: Option<&Self>) -> bool {
        match gate {
            Gate::Hook(point) => self.hooks_at(*point).next().is_some(),
            Gate::Expand => self.migrate.expand.is_some(),
            Gate::Smoke => !self.smoke.is_empty(),
            Gate::StillWorks => {
                self.migrate.expand.is_some() && live.is_some_and(|live| !live.smoke.is_empty())
            }
            Gate::DuringBake { suite } => self.during_bake().any(|one| one.name == *suite),
            Gate::Contract => self.migrate.contract.is_some(),
        }
    }

    /// How long a gate may take, by the times of what it runs.
    #[must_use]
    pub fn patience(&self, gate: &Gate) -> Duration {
        let suites = |wanted: &dyn Fn(&Suite) -> bool| {
            self.smoke
                .iter()
                .filter(|suite| wanted(suite))
                .map(|suite| suite.timeout)
                .max()
                .unwrap_or_default()
        };
        match gate {
            Gate::Hook(point) => self.hooks_at(*point).map(|hook| hook.timeout).sum(),
            Gate::Expand | Gate::Contract => self.migrate.timeout,
            Gate::Smoke | Gate::StillWorks => suites(&|_| true),
            Gate::DuringBake { suite } => suites(&|one| one.name == *suite),
        }
    }

    /// The suites that are repeated while the bake lasts.
    pub fn during_bake(&self) -> impl Iterator<Item = &Suite> {
        self.smoke.iter().filter(|suite| suite.during_bake.is_some())
    }
}

/// Something that must answer before a deployment goes on, or is asked on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// All hooks of a point, in their order.
    Hook(HookPoint),
    /// Makes the schema fit for the old release and the new one.
    Expand,
    /// All suites, at the idle environment, by the private way through the proxy.
    Smoke,
    /// All suites of the release that is live, as users reach it, after the schema was expanded.
    StillWorks,
    /// One suite, as users reach the new release, while it bakes.
    DuringBake {
        /// Its name.
        suite: String,
    },
    /// Takes from the schema what only the old release needed.
    Contract,
}

impl Gate {
    /// Those that are asked before a switch, in this order.
    pub const BEFORE_THE_SHIFT: [Self; 8] = [
        Self::Hook(HookPoint::BeforeDeploy),
        Self::Expand,
        Self::Hook(HookPoint::AfterProvision),
        Self::Hook(HookPoint::AfterHealthy),
        Self::Smoke,
        Self::Hook(HookPoint::AfterSmoke),
        Self::StillWorks,
        Self::Hook(HookPoint::BeforeShift),
    ];

    /// The name of its line in a report.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Hook(point) => point.label(),
            Self::Expand => "expand",
            Self::Smoke => "smoke",
            Self::StillWorks => "still works",
            Self::DuringBake { .. } => "checks",
            Self::Contract => "contract",
        }
    }
}

/// What a gate is told of the deployment that it is asked for: the JSON object that hooks get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateContext {
    /// The service.
    pub service: ServiceName,
    /// The deployment.
    pub deployment: DeploymentId,
    /// `deploy`, `rollback`, …
    pub kind: String,
    /// Its status.
    pub status: String,
    /// Who asked for it.
    pub actor: String,
    /// The version it brings.
    pub version: Version,
    /// The version that was live before, if any was.
    pub from: Option<Version>,
    /// The slot it brings the release to.
    pub environment: Environment,
    /// The slot that is live.
    pub live: Environment,
    /// Why it ends the way it does, if that is known.
    pub reason: Option<String>,
}
