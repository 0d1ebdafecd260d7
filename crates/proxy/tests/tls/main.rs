//! TLS, as clients and instances meet it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/authority.rs"]
mod authority;

mod clients;
mod names;
mod proofs;
mod reload;
mod rules;
mod site;
mod streams;
mod tickets;
mod upstream;
