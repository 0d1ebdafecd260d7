//! Connections to instances, pooled per worker.
//!
//! The rules (a FIN that crosses a written request cannot be told from a lost one): an idle connection is kept
//! for at most 4 s or what the instance promised; a request that cannot be sent twice takes only one that was idle
//! for less than 1 s, whose socket holds no FIN, and which has outlived an answer, else a fresh one. After a failure every request takes a fresh one.

mod connect;
mod h1;
pub(crate) mod h2;
mod pool;
mod secure;
mod turns;

pub(crate) use connect::{Beginning, connect, open, speaks_h2};
pub(crate) use h1::H1Connection;
pub(crate) use h2::{Declined, H2Connection, H2Pool};
pub(crate) use pool::{Key, Pool, Reuse};
pub(crate) use secure::{Secured, mark};
