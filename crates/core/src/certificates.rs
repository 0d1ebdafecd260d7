//! Certificates that look after themselves: which are wanted, when they are asked for, and how they stand.
//!
//! Decisions alone: the time and random fractions come in as arguments. Asking, keeping and serving are others' business.
//!
//! Reading order: [`hosts`] is which hosts an authority can know, [`wanted`] what follows from the services'
//! configurations, [`facts`] what a certificate says, [`retry`] how long is waited after a failure and how hosts are proved,
//! [`standing`] what is remembered of one certificate and how that changes.

pub mod facts;
pub mod hosts;
pub mod retry;
pub mod standing;
pub mod wanted;

pub use facts::{CertificateFacts, Window};
pub use retry::{challenge, pause};
pub use standing::{LOST, SourceKind, Standing, Why};
pub use wanted::{Hosted, LeftOut, Source, Wanted, Wants, stand_ins, wants};
