//! Client traffic of every kind, with each failed request classified by what the client saw.
//!
//! This room stands on the far side of the network: it is what a user of a service would notice during a
//! deployment. The demo, the integration tests and the bench drive it. It has its own HTTP/1.1 client on
//! purpose, because a library would fold "refused", "reset", "closed" and "cut short" into one error, or hide
//! some of them by trying again.
//!
//! `hostile` is its other half: requests by which somebody wants to break in, and what must become of each.
//!
//! It must not know any other crate of ours: a proof by the product's own code would prove little.
//!
//! ```no_run
//! # async fn example() {
//! use cutover_load::{Load, Plan};
//! let load = Load::start(Plan::mixed("127.0.0.1:8080".parse().expect("an address")));
//! load.expect_nothing(); // answers of both environments are right while the switch is under way
//! // … switch to green and wait for the answer …
//! load.expect("green"); // from here on an answer by blue is a failure of class `stale`
//! let report = load.stop().await;
//! assert!(report.is_clean(), "{report}");
//! # }
//! ```

mod plan;

mod load;

mod client;

mod request;

mod connection;

mod answer;

mod framing;

mod expectation;

mod failure;

mod tally;

mod report;

mod latency;

pub mod backend;

pub mod hostile;

pub use backend::Backend;
pub use failure::FailureClass;
pub use latency::Histogram;
pub use load::{Load, NotReached};
pub use plan::{Client, ClientKind, Plan};
pub use report::{ClientCount, Example, FailureCount, Latency, Report};
