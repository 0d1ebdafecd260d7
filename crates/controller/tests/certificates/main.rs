//! The keeper of certificates in a world of its own: virtual time, a shelf, an authority and services by hand.
//!
//! Reading order: `world` is what is outside and how a keeper lives in it; the rest are the stories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

mod crashes;
mod failures;
mod files;
mod orders;
mod renewals;
