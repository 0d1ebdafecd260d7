//! How adapters ask other hosts over HTTP; not an adapter, only what they do alike.

use std::sync::OnceLock;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// A client that takes nothing from the environment, leaves every status to its caller, and says who asks.
pub(crate) fn builder() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("cutover/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls(roots()))
}

/// TLS with those who are believed in; the cryptography is given, so that nothing depends on which crate came first.
pub(crate) fn tls(roots: RootCerts) -> TlsConfig {
    TlsConfig::builder().unversioned_rustls_crypto_provider(cutover_tls::provider()).root_certs(roots).build()
}

/// The authorities that this host trusts; where it has no list, those that browsers trust.
fn roots() -> RootCerts {
    static ROOTS: OnceLock<RootCerts> = OnceLock::new();
    let found = || {
        let native = rustls_native_certs::load_native_certs().certs;
        if native.is_empty() {
            return RootCerts::WebPki;
        }
        native.iter().map(|one| Certificate::from_der(one).to_owned()).collect::<Vec<_>>().into()
    };
    ROOTS.get_or_init(found).clone()
}
