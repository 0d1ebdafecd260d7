//! An environment as people name it: by its colour, or by what it is now.

use std::fmt;
use std::str::FromStr;

use axum::http::StatusCode;
use cutover_core::Environment;
use cutover_core::release::Release;
use cutover_core::service::ServiceState;
use serde::{Deserialize, Serialize};

use crate::api::problem::Problem;

/// What an environment is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EnvironmentName {
    Blue,
    Green,
    /// The one with production traffic.
    Live,
    /// The other one.
    Idle,
}

impl EnvironmentName {
    const ALL: [Self; 4] = [Self::Blue, Self::Green, Self::Live, Self::Idle];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Live => "live",
            Self::Idle => "idle",
        }
    }

    /// Which one that is while `live` has the traffic.
    pub(crate) fn resolve(self, live: Environment) -> Environment {
        match self {
            Self::Blue => Environment::Blue,
            Self::Green => Environment::Green,
            Self::Live => live,
            Self::Idle => live.other(),
        }
    }

    /// The environment with its release; refused in words if it holds none.
    pub(crate) fn release_of(self, state: &ServiceState) -> Result<(Environment, &Release), Problem> {
        let environment = self.resolve(state.live);
        if let Some(release) = &state.environments[environment].release {
            return Ok((environment, release));
        }
        let service = &state.name;
        let (error, hint) = match self {
            Self::Live => (
                format!("nothing is live in service `{service}`"),
                "`cutover deploy` makes its first release live",
            ),
            Self::Idle => (
                format!("the idle environment of service `{service}`, {environment}, holds no release"),
                "it holds one after the next deployment; `cutover status` tells what is where",
            ),
            Self::Blue | Self::Green => (
                format!("environment `{environment}` of service `{service}` holds no release"),
                "`cutover status` tells what is where",
            ),
        };
        let mut problem = Problem::new(StatusCode::CONFLICT, error);
        problem.hint = Some(hint.to_owned());
        Err(problem)
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for EnvironmentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| name.label() == text);
        found
            .ok_or_else(|| format!("`{text}` is not an environment: it is `blue`, `green`, `live` or `idle`"))
    }
}
