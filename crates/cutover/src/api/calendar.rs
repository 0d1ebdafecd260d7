//! The objects of freezes and of notifications that do not arrive.

use std::time::{Duration, SystemTime};

use cutover_controller::ports::NotifyTrouble;
use cutover_controller::{Told, Until};
use cutover_core::service::Freeze;
use cutover_core::{ServiceName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::api::views::moment;

/// A wish that nothing is deployed for a time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FreezeRequest {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    /// From now, by the controller's clock; in place of `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<u64>,
    pub(crate) reason: String,
}

impl FreezeRequest {
    /// What is meant; `None` if it is neither, or no moment.
    pub(crate) fn until(&self) -> Option<Until> {
        match (&self.until, self.seconds) {
            (None, Some(seconds)) => Some(Until::For(Duration::from_secs(seconds))),
            (Some(until), None) => {
                let at = humantime::parse_rfc3339(until).ok()?;
                let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Some(Until::At(Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).ok()?)))
            }
            _ => None,
        }
    }
}

/// Which services are frozen by a request, or freed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FrozenView {
    pub(crate) v: u32,
    pub(crate) services: Vec<ServiceName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) freeze: Option<FreezeView>,
    /// Those that could not be told; absent if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missed: Vec<MissedView>,
}

/// A service that could not be frozen or freed, and is as it was.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MissedView {
    pub(crate) service: ServiceName,
    pub(crate) reason: String,
}

impl FrozenView {
    pub(crate) fn new(told: Told, freeze: Option<&Freeze>) -> Self {
        let missed = told.missed.into_iter();
        let missed = missed.map(|(service, error)| MissedView { service, reason: error.to_string() });
        Self {
            v: VERSION,
            services: told.services,
            freeze: freeze.map(FreezeView::new),
            missed: missed.collect(),
        }
    }
}

/// A freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FreezeView {
    pub(crate) by: String,
    pub(crate) at: String,
    pub(crate) until: String,
    pub(crate) reason: String,
    /// Said of every service.
    pub(crate) all: bool,
}

impl FreezeView {
    pub(crate) fn new(freeze: &Freeze) -> Self {
        Self {
            by: freeze.by.clone(),
            at: moment(freeze.at),
            until: moment(freeze.until),
            reason: freeze.reason.clone(),
            all: freeze.all,
        }
    }
}

/// A receiver of notifications that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotifyTroubleView {
    /// `webhook`, `slack` or `command`.
    pub(crate) receiver: String,
    pub(crate) since: String,
    pub(crate) reason: String,
    /// How many notifications wait for it.
    pub(crate) waiting: usize,
    /// How many were given up.
    pub(crate) given_up: usize,
}

impl NotifyTroubleView {
    pub(crate) fn new(trouble: &NotifyTrouble) -> Self {
        Self {
            receiver: trouble.receiver.to_owned(),
            since: moment(trouble.since),
            reason: trouble.reason.clone(),
            waiting: trouble.waiting,
            given_up: trouble.given_up,
        }
    }
}
