//! The figures of the data plane beside its peers: what a request costs, what a connection and a process take of
//! memory, and what many services cost.
//!
//! Reading order: `scenario` is what is asked, `window` takes one sample, `rounds` interleaves the candidates,
//! `footprint` weighs memory, `services` fills the table, `report` writes it all down. The parts know candidates only
//! by what all of them have: an address, a pid.

mod footprint;
mod report;
mod rounds;
mod scenario;
mod services;
pub(crate) mod window;

pub use footprint::{Footprint, Weighing, footprint};
pub use report::{Findings, Measured, section};
pub(crate) use report::{costs, megabytes, quiet};
pub(crate) use rounds::take_rounds;
pub use rounds::{Effort, Note, Series, interleaved};
pub use scenario::{Driver, SCENARIOS, Scenario};
pub use services::{MANY, Many, many_services};
pub use window::Sample;

/// The only CPU of every candidate.
pub const CANDIDATE_CPU: usize = 0;
/// The CPU of the driver and the origin.
pub const OWN_CPU: usize = 1;
