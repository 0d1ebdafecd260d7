//! The data plane: carries requests by the table it holds.
//!
//! Knows targets, weights, policies, epochs and opaque release tags. It has never heard of a deployment, a
//! journal or a provider, and goes on alone when nobody speaks to it.
//!
//! Reading order: [`settings`] and [`run()`] put it together; `listen` and `worker` accept clients; `server` reads
//! requests, `forward` carries one, `upstream` holds connections to instances; `plane` is the table with its one
//! writer, `admin` lets others change it, `saved` keeps it, `live` tells instances of it, `probe` keeps them honest.

pub mod settings;

mod admin;
mod body;
mod cell;
mod exchange;
mod forward;
mod headers;
mod listen;
mod live;
mod plane;
mod probe;
mod run;
mod saved;
mod server;
mod upstream;
mod worker;

pub use run::{ProxyError, run};
pub use settings::ProxySettings;
