//! What the controller says to whoever may open its socket, and how the command line asks.

pub(crate) mod artifacts;
pub(crate) mod calendar;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod environment;
pub(crate) mod exec;
mod follow;
pub(crate) mod gates;
pub(crate) mod limited;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod moves;
pub(crate) mod permission;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod server;
pub(crate) mod views;

mod evidence;
pub(crate) mod pause;
pub(crate) mod peer;
mod problem;

/// Version of every object that leaves here; changes within a version are additive.
pub(crate) const VERSION: u32 = 1;

/// The header by which a client on another host says who sits there.
pub(crate) const TOLD: &str = "cutover-told";
