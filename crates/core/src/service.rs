//! A service as the controller sees it, and the one function that decides about it.
//!
//! The aggregate is the service, not the deployment: its two slots, which is live, what is pending, and the open
//! deployment if there is one. [`step()`] takes it from one state to the next.

pub mod command;
pub mod deployment;
pub mod effect;
pub mod event;
pub mod freeze;
pub mod invariants;
pub mod readiness;
pub mod resolve;
pub mod state;
pub mod step;
pub mod workers;

pub use command::{CommandEnd, CommandRun};
pub use deployment::{
    Deployment, DeploymentKind, NextCheck, Outcome, Round, Stage, Status, StepReport, Undo,
};
pub use effect::{Answer, Effect, EffectId, PendingEffect, Purpose};
pub use event::{Event, ObservedRoute, StopScope, WhenOpen};
pub use freeze::{Circumstances, Freeze, WindowVerdict};
pub use invariants::InvariantViolation;
pub use readiness::Readiness;
pub use resolve::{Way, WayOut};
pub use state::{
    Clearing, Contraction, Health, Instance, Leaving, Paused, Recovery, Removal, ServiceState, Slot, Stopped,
};
pub use step::{Asked, Held, Parting, Refusal, Transition, Watched, step};
pub use workers::{WatchedWorkers, WorkerInstance, Workers};
