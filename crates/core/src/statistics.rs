//! What the data plane saw: cumulative counts and latencies per service, environment and tag.
//!
//! Counts only grow within one `boot_id`; readers take differences. A changed `boot_id` is a gap, never a zero.

pub mod counters;
pub mod histogram;
pub mod report;

pub use counters::{Counters, Failure, Marks, PREVIEW_SUFFIX, PrivateCounters, Registry};
pub use histogram::{AtomicHistogram, Histogram};
pub use report::{
    CertificateReport, Counts, DrainReport, InstanceReport, ServiceReport, Statistics, TagReport, TlsReport,
};
