//! Gates with real programs, a proxy of the test's own, and `hurl`.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod bench;
mod commands;
mod endings;
mod http_hooks;
mod hurl;
mod proxy;
mod relay;
mod reports;
mod requests;
mod systemd;
mod user;
