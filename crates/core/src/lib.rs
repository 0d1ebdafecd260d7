//! The words and the decisions of cutover.
//!
//! Nothing in this crate waits, reads a clock, touches a file or draws a random number: time and answers come
//! in as arguments, decisions go out as values. Everything the other rooms say to one another is named here.

pub mod artifact;
pub mod certificates;
pub mod drain;
pub mod environment;
pub mod epoch;
pub mod gates;
pub mod health;
pub mod names;
pub mod preview;
pub mod receipt;
pub mod release;
pub mod routing;
pub mod service;
pub mod statistics;
mod sync;
pub mod timestamp;
pub mod tls;
pub mod windows;

pub use environment::{Environment, PerEnvironment, Weights};
pub use epoch::Epoch;
pub use names::{CommandId, DeploymentId, InstanceId, ReleaseId, ServiceName, Version, WorkerName};
pub use timestamp::Timestamp;
