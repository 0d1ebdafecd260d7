//! The figures of the journal: a long one is filled with real deployments, and then appended to, started from and
//! verified, each stage in a process of its own, so that each has its own memory.
//!
//! Here the crates themselves are used and not the binary: a million records are not made by deploying.
//!
//! Reading order: `story` decides what happens to a service, `world` is what a controller finds when it starts,
//! `stages` are what is measured.

mod stages;
mod story;
mod world;

pub use stages::{Appended, Controlled, Filled, Stage, Started, Task, Verified, run};
