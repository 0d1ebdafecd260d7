//! One module per outside system, each implements a port of the controller.
//!
//! The modules never import one another: what two of them share is either a word of core or the layout of the
//! state directory, and the latter is written down where it is made.

pub mod acme;
pub mod certificates;
pub mod embedded;
pub mod gates;
pub mod http_health;
pub mod listener_probe;
pub mod notify;
pub mod preview_key;
pub mod process;
pub mod release_store;
pub mod ssh;
pub mod unix_http;

pub use readers::Readers;

mod bounded_file;
mod durable_file;
mod http_client;
mod readers;
mod release_place;
mod secret_source;
