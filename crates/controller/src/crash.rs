//! Named places at which a test ends the process, as a loss of power would, or has it stand still: before and after
//! each record and each effect.
//!
//! Without the feature `crash-points` a point is nothing. With it the binary arms them once (`arm`). A point is
//! named by its place, by what is being done there and by how often that was passed, such as
//! `before append deploy_requested#1` or `after effect shift#2`: the same for each run of the same deployment,
//! whatever else happens in between.

use cutover_core::service::{Event, ServiceState};
use serde::Serialize;

#[cfg(feature = "crash-points")]
pub use armed::{Armed, arm};

/// Passes a point, which stops the process if it is the one that was armed.
#[cfg(feature = "crash-points")]
pub(crate) fn point(place: &str, deed: impl FnOnce() -> String) {
    armed::pass(&format!("{place} {}", deed()));
}

/// Nothing: there are no points in a binary that people run.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(crate) fn point(_place: &str, _deed: impl FnOnce() -> String) {}

/// What a decision is called: its event, and for an answer the effect that is answered.
pub(crate) fn decision(state: &ServiceState, event: &Event) -> String {
    let Event::Answered { effect, .. } = event else { return word(event) };
    let pending = state.pending.iter().find(|pending| pending.id == *effect);
    format!("answered {}", pending.map_or_else(|| "unknown".to_owned(), |pending| word(&pending.effect)))
}

/// The word that an event or effect has in a record.
pub(crate) fn word(named: &impl Serialize) -> String {
    match serde_json::to_value(named) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
        _ => "unnamed".to_owned(),
    }
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::HashMap;
    use std::fs::File;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// What points do in this process.
    #[derive(Debug)]
    pub struct Armed {
        /// The point at which the process stops, if it shall: its name and `#` and how often it was passed then.
        pub at: Option<String>,
        /// Where each point that is passed leaves its name on a line of its own.
        pub log: Option<File>,
        /// Stops the process at once, for good or for a while. Handed in: this crate knows no signals.
        pub stop: fn(),
    }

    static ARMED: OnceLock<(Armed, Mutex<HashMap<String, u32>>)> = OnceLock::new();

    /// Arms the points of this process; once, before the first is passed.
    pub fn arm(armed: Armed) {
        let _ = ARMED.set((armed, Mutex::default()));
    }

    pub(super) fn pass(name: &str) {
        let Some((armed, passed)) = ARMED.get() else { return };
        let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(name.to_owned()).or_default();
        *count += 1;
        let point = format!("{name}#{count}");
        if let Some(mut log) = armed.log.as_ref() {
            // A test that misses a line says so itself.
            let _ = log.write_all(format!("{point}\n").as_bytes());
        }
        if armed.at.as_deref() == Some(point.as_str()) {
            (armed.stop)();
        }
    }
}
