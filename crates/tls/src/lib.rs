//! Certificates and keys as bytes: what they say, whether they fit, and what rustls is told of them.
//!
//! Takes bytes and answers facts; no IO, no clock. Whoever reads files, and watches them, is elsewhere: the proxy for what
//! it serves, the controller's adapters for what they put on its shelf.
//!
//! Reading order: [`facts`] is what a certificate says of itself, [`pair`] a chain with its key, [`client`] what is told to
//! rustls where we are the client.

pub mod client;
pub mod facts;
pub mod pair;
mod pem;

pub use facts::Facts;
pub use pair::{Pair, PairError};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography of all TLS here. Given explicitly everywhere: nothing depends on which crate came first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
