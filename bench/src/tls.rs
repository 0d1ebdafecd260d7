//! The figures of TLS towards clients beside its peers: what a request costs on a connection that lives long, what a
//! handshake costs, and what an idle connection takes of memory.
//!
//! Reading order: `scenario` is what is asked, `client` the one client that is the same for all, `handshakes` the load of
//! those that come anew for each request, `sample` takes one sample, `report` writes it all down, with the tables of `rates`. The rounds, the windows
//! and the weighing of memory are those of [`plane`](crate::plane).

mod client;
mod handshakes;
mod rates;
mod report;
mod sample;
mod scenario;

pub use client::{Memory, TlsDoor};
pub use handshakes::Handshakes;
pub use report::{Findings, Outcome, section};
pub use sample::interleaved;
pub use scenario::{Load, SCENARIOS, Scenario};
