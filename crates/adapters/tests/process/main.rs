//! The process executor with real processes: small shell scripts under real supervisors.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod carrier;
mod crash;
mod environment;
mod host;
mod life;
mod mandate;
mod neighbour;
mod reading;
mod refusal;
mod retention;
