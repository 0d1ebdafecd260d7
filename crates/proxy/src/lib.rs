//! The data plane: carries requests by the table it holds.
//!
//! Knows targets, weights, policies, epochs and opaque release tags. It has never heard of a deployment, a
//! journal or a provider, and goes on alone when nobody speaks to it.
//!
//! Reading order: [`settings`] and [`run()`] put it together; `listen`, `handed` and `worker` accept clients, `arrival` finds out
//! what they speak; `head` is the rules for heads, without IO; `h1` and `http2` are the two sides' protocols, `body` moves
//! what follows a head, `linger` ends a connection so that all of it arrives; `forward` finds an instance for a request,
//! `private` lets those with a token to what users do not get, and `carry` takes it there and back, over `upstream`;
//! `own_answer` is what the proxy says itself. `plane` is the table with its one writer, `admin` lets others change it,
//! `saved` keeps it, `live` tells instances of it, `probe` keeps them honest. With the feature `fuzzing`, a module of that name
//! shows the parsers to fuzz targets and differential tests; it is no API.

pub mod handed;
pub mod settings;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

mod admin;
mod answering;
mod arrival;
mod attempt;
mod body;
mod buffers;
mod carry;
mod cell;
mod clock;
mod exchange;
mod forward;
mod h1;
mod head;
mod holding;
mod http2;
mod leaving;
mod linger;
mod listen;
mod live;
mod own_answer;
mod pages;
mod plane;
mod private;
mod probe;
mod proxy_protocol;
mod request_ids;
mod retry;
mod rewind;
mod run;
mod saved;
mod stream;
mod tls;
mod trails;
mod upstream;
mod watchdog;
mod worker;

pub use run::{ProxyError, run};
pub use settings::ProxySettings;
