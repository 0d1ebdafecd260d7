//! Gates through the real binary: each kind of them lets a good release pass and keeps a bad one from every user, also
//! when the controller is killed while it asks.
//!
//! `shop` is a service that has every kind, with a switch for each: to hold it, to have it say no, to see that it ran.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![allow(unreachable_pub, reason = "one binary, many rooms")]

#[path = "../support/mod.rs"]
mod support;

mod approval;
mod bake;
mod contract;
mod each;
mod killed;
mod shop;
