//! Client traffic of every kind, with each failed request classified by what the client saw.
//!
//! This room stands on the far side of the network: it is what a user of a service would notice during a
//! deployment. The demo, the integration tests and the bench drive it. It has its own HTTP/1.1 client on
//! purpose, because a library would fold "refused", "reset", "closed" and "cut short" into one error, or hide
//! some of them by trying again. WebSockets and HTTP/2 are framed by libraries, on streams that are opened here.
//!
//! What lasts longer than a switch is a session. A server may end one in the words of its protocol, which is no
//! failure and is counted as having been *asked to leave*; whatever else ends it is a failure.
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
//!
//! With sessions, a switch is over when those of the old environment have been asked to leave, not all at once:
//!
//! ```no_run
//! # async fn example() -> Result<(), cutover_load::NotReached> {
//! use std::time::Duration;
//! use cutover_load::{Client, Load, Plan};
//! let plan = Plan::new("127.0.0.1:8080".parse().expect("an address")).with(50, Client::web_socket("/ws"));
//! let load = Load::start(plan);
//! load.wait_for(Duration::from_secs(10), |report| report.of("web_socket").open == 50).await?;
//! // … switch to green …
//! load.wait_for(Duration::from_secs(60), |report| report.of("web_socket").asked_to_leave >= 50).await?;
//! let report = load.stop().await;
//! assert!(report.is_clean(), "{report}");
//! assert!(report.most_asked_within(Duration::from_secs(1)) <= 10);
//! # Ok(())
//! # }
//! ```

mod plan;

mod client;

mod kind;

mod tls;

mod load;

mod over;

mod life;

mod caller;

mod request;

mod pattern;

mod session;

mod web_socket;

mod event_stream;

mod events;

mod grpc;

mod grpc_message;

mod http2;

mod h2_connection;

mod connection;

mod stream;

mod answer;

mod framing;

mod expectation;

mod fault;

mod failure;

mod tally;

mod report;

mod latency;

pub mod backend;

pub mod hostile;

pub use backend::{Backend, Goodbye, Misdeed, Moment, Way};
pub use client::Client;
pub use failure::FailureClass;
pub use kind::ClientKind;
pub use latency::Histogram;
pub use load::{Load, NotReached};
pub use plan::Plan;
pub use report::{Asked, ClientCount, Example, FailureCount, Latency, Report};
pub use tls::{Tls, TlsError};
