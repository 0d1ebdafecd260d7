//! Moving all traffic from one environment to the other under load, by cutover and by its peers, and what clients and the
//! old environment notice of it.
//!
//! Each contender is configured as somebody would who knows it and has to carry every kind of client, and moves traffic
//! in the way that its own documentation gives for that. What it is held to is the same for all: no request fails, and
//! soon none begins on the old environment.

mod environment;

mod contender;

mod running;

mod admin;

mod cutover;

mod haproxy;

mod nginx;

mod caddy;

mod envoy;

mod traffic;

mod counts;

mod shifts;

mod rollbacks;

mod findings;

mod report;

pub use contender::Contender;
pub use counts::Counts;
pub use cutover::give_all;
pub use environment::Environment;
pub use findings::{Findings, Outcome, RollbackOutcome, Times};
pub use report::section;
pub use rollbacks::{Rollbacks, roll_back};
pub use running::{Ground, Running, SwitchError, Told};
pub use shifts::{Shifts, shift_back_and_forth};
