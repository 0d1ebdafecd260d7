//! Bad clients and bad instances against the real binary's data plane, one worker, with limits made small.
//!
//! Each attack is asked the same four things: the attacker is answered or closed as documented; well-behaved clients
//! are served throughout; the proxy's memory stays below a bound that would be passed if the limit did not hold; and
//! afterwards nothing is left. The last three are asked by [`site::Watch`], the first one by the test.
//!
//! What is no attack but only a strange request is the business of `tests/hostile.rs`.
#![allow(unreachable_pub, reason = "one binary, many rooms")]
#![allow(clippy::print_stderr, reason = "where the output of a failed test is looked at")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod frames;
mod instance;
#[path = "../support/patience.rs"]
mod patience;
mod proxy;
#[path = "../support/proxy_process.rs"]
mod proxy_process;
mod site;
mod wire;

mod bodies;
mod connections;
mod gone;
mod h2_bodies;
mod h2_floods;
mod h2_heads;
mod h2_shared;
mod heads;
mod instances;
mod readers;
mod smuggling;
mod volumes;
