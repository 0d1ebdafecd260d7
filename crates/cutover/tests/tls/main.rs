//! TLS through the real binary: certificates that are had from a real authority and used by real clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../../../adapters/tests/acme/pebble.rs"]
#[allow(dead_code, unreachable_pub, reason = "another test crate uses the rest")]
mod pebble;

#[path = "../../../proxy/tests/support/authority.rs"]
mod authority;

mod acme;
mod files;
mod handed;
mod metrics;
mod openssl;
mod site;
mod suites;
