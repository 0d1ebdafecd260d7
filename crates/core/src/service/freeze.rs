//! When not to deploy: a freeze that a person sets, and the windows of a release.
//!
//! Both stand in the way of deployments alone. Whoever rolls back or aborts is never asked for the time. A freeze
//! needs no event to end: it holds while its moment lies ahead.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::release::Origin;
use crate::service::state::ServiceState;
use crate::service::step::Refusal;
use crate::timestamp::Timestamp;

/// Somebody's word that nothing is deployed until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Who said so.
    pub by: String,
    /// When it was said.
    pub at: Timestamp,
    /// The first moment at which it holds no more.
    pub until: Timestamp,
    /// Why, in the words of whoever said it.
    pub reason: String,
    /// Said of every service, so that one which is made later is frozen too.
    #[serde(default)]
    pub all: bool,
}

/// What the windows of a release say of a moment. Time zones are not known here: who asks has looked it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum WindowVerdict {
    /// It may be deployed.
    Open {
        /// Until this moment; `None` if no end is known.
        #[serde(default)]
        closes: Option<Timestamp>,
    },
    /// It may not.
    Closed {
        /// Why, and when the next window opens, in one sentence.
        why: String,
    },
}

impl Default for WindowVerdict {
    fn default() -> Self {
        Self::Open { closes: None }
    }
}

/// Under which circumstances a deployment was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Circumstances {
    /// Deploy in spite of a freeze and outside of windows, for this reason.
    #[serde(default)]
    pub override_freeze: Option<String>,
    /// What the release's windows say of now.
    #[serde(default)]
    pub window: WindowVerdict,
    /// Where the release comes from.
    #[serde(default)]
    pub origin: Option<Origin>,
}

impl Freeze {
    /// No freeze lasts longer: who wants to wait for ever has mistyped, or wants `cutover remove`.
    pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

    /// Whether it could be meant.
    #[must_use]
    pub fn is_within_bounds(&self) -> bool {
        self.until <= self.at + Self::LONGEST
    }

    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

impl ServiceState {
    /// The freeze that holds now.
    #[must_use]
    pub fn frozen(&self, now: Timestamp) -> Option<&Freeze> {
        self.freeze.as_ref().filter(|freeze| freeze.holds(now))
    }
}

/// Whether a deployment may begin; `Ok` holds the reason for which something was overridden, if something was.
///
/// # Errors
/// [`Refusal::Frozen`] or [`Refusal::OutsideWindow`].
pub fn may_deploy(
    freeze: Option<&Freeze>,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Result<Option<String>, Refusal> {
    let refusal = match (freeze.filter(|freeze| freeze.holds(now)), &circumstances.window) {
        (Some(freeze), _) => Refusal::Frozen(freeze.clone()),
        (None, WindowVerdict::Closed { why }) => Refusal::OutsideWindow { why: why.clone() },
        // It was open when it was looked up; making the release may have taken longer.
        (None, WindowVerdict::Open { closes: Some(closes) }) if *closes <= now => {
            Refusal::OutsideWindow { why: format!("the window in which it was asked for closed at {closes}") }
        }
        (None, WindowVerdict::Open { .. }) => return Ok(None),
    };
    circumstances.override_freeze.clone().map(Some).ok_or(refusal)
}
