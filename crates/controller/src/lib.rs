//! Drives deployments: the loop that asks `core` for decisions, records them and has them carried out.
//!
//! Knows the outside only through [`ports`]; has never heard of HTTP, containers or the proxy.
//!
//! Reading order: [`ports`] is what is needed from outside and [`journal`] what is remembered;
//! [`manager`] takes requests, `service_loop` is the one place where a service changes, `perform` carries effects
//! out and `watch` looks at the health of what runs. [`certificates`] looks after the certificates of all services, beside
//! deployments and not as part of any.

pub mod certificates;
pub mod clock;
pub mod crash;
pub mod journal;
pub mod manager;
pub mod ports;
pub mod windows;

mod perform;
mod service_loop;
mod watch;

pub use certificates::{CertificateKeeper, Keeping};
pub use clock::{Clock, SystemClock};
pub use journal::{Importance, Journal, JournalError, MemoryJournal, Record, Retention, SqliteJournal};
pub use manager::{
    DeploymentManager, FormerRelease, Keep, MoveOptions, PauseChange, RequestError, StartError,
    SubmitOptions, Submitted, Tidied, Told, Until, WantedPause,
};
pub use ports::Ports;
pub use service_loop::Snapshot;
