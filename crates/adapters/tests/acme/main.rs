//! Certificates from a real authority: pebble, which is what Let's Encrypt tests clients with.
//!
//! Reading order: `pebble` is the authority and `front` who answers it; `bench` is a place with both; the rest are the stories.
//! `scripted` stands in for what this pebble cannot do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod front;
#[allow(unreachable_pub, reason = "other test crates include it too")]
#[allow(dead_code, reason = "other test crates use the rest")]
mod pebble;
mod scripted;

mod accounts;
mod dns;
mod issuing;
mod troubles;
mod windows;
