//! What may be wrong with a host, and what to do about it. Looks, and changes nothing.
//!
//! Each check is a look at one thing and a judgement of what was seen; the judgements are functions of their own, so
//! that they can be tried with figures of a host that is worse off. Nothing here prints.

mod clock;
mod limits;
mod ports;
mod room;
mod state;
mod units;

use serde::Serialize;

use crate::api::views::ControllerView;
use crate::state_directory::StateDirectory;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// It works, and may not for long or under load.
    Warn,
    /// Something does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) grade: Grade,
    /// What was seen.
    pub(crate) seen: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, grade: Grade::Ok, seen: seen.into(), advice: None }
    }

    fn warn(what: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, grade: Grade::Warn, seen: seen.into(), advice: Some(advice.into()) }
    }

    fn bad(what: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, grade: Grade::Bad, seen: seen.into(), advice: Some(advice.into()) }
    }
}

/// What the running parts said of themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    /// What the controller says of itself.
    pub(crate) controller: Option<ControllerView>,
    /// The proxy's pid and where it listens.
    pub(crate) proxy: Option<(u32, Vec<std::net::SocketAddr>)>,
    /// Who has the proxy's socket and does not answer.
    pub(crate) silent_proxy: Option<u32>,
    /// The pids of all programs.
    pub(crate) instances: Vec<u32>,
}

/// Looks at everything.
pub(crate) fn examine(state: &StateDirectory, running: &Running) -> Vec<Finding> {
    let mut found = state::examine(state, running);
    found.extend(units::examine());
    found.extend(ports::examine(state, running));
    found.extend(limits::examine(running));
    found.extend(room::examine(state, running));
    found.extend(clock::examine());
    found
}
