//! Hostile and delicate requests as data, and the judge of what a proxy makes of each.
//!
//! A case states the bytes of a client and their one right fate. The judge plays it against a running proxy that
//! forwards to a [`Recorder`], and compares the bytes that came out on both sides. Nothing here looks into the
//! proxy, so the same corpus judges every other proxy too.
//!
//! ```no_run
//! # async fn example(proxy: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! use cutover_load::hostile::{Judge, Recorder, corpus};
//! let recorder = Recorder::start(([127, 0, 0, 1], 0).into())?;
//! // … start a proxy whose only upstream is `recorder.address()` …
//! let mut judge = Judge::new(proxy, &recorder);
//! for case in corpus()? {
//!     let verdict = judge.judge(&case).await;
//!     assert!(verdict.holds(), "{}: {verdict}", case.name);
//! }
//! # Ok(())
//! # }
//! ```

mod corpus;

mod case;

mod judge;

mod verdict;

mod conversation;

mod answers;

mod recorder;

mod request;

mod canonical;

pub use case::{Case, Fate, Mistake, Step};
pub use corpus::{CorpusError, corpus, read_cases};
pub use judge::{Delivery, Judge};
pub use recorder::Recorder;
pub use verdict::{Finding, Verdict};
