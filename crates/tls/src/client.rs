//! What rustls is told where we are the client.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use cutover_core::routing::UpstreamTls;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::{Pair, PairError, pair, provider};

/// Whom a client believes.
#[derive(Debug)]
pub enum Trust {
    /// Servers whose certificates these have signed.
    Authorities(RootCertStore),
    /// Whoever answers.
    Anybody,
}

/// A client that believes so and, if it has to, shows this of itself.
///
/// # Errors
/// If the authorities are none, or the pair cannot be shown.
pub fn config(trust: Trust, identity: Option<&Pair>, alpn: &[&[u8]]) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Authorities(roots) => builder.with_root_certificates(roots),
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(BelievesAnybody)),
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair.certified()))),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A client that speaks to instances as a service says. `read` reads a file, with its name in the error; `host` is whom this
/// host believes.
///
/// # Errors
/// What is wrong with which file, in one sentence.
pub fn towards_instances(
    tls: &UpstreamTls,
    alpn: &[&[u8]],
    read: impl Fn(&Path) -> Result<Vec<u8>, String>,
    host: impl FnOnce() -> RootCertStore,
) -> Result<ClientConfig, String> {
    let of = |path: &Path| {
        let path = path.display().to_string();
        move |error: PairError| format!("`{path}`: {error}")
    };
    let identity = match &tls.certificate {
        Some(certificate) => {
            let key = tls.key.as_ref().unwrap_or(certificate);
            Some(Pair::from_pem(&read(certificate)?, &read(key)?).map_err(of(certificate))?)
        }
        None => None,
    };
    let trust = match &tls.ca {
        _ if tls.insecure_believe_anybody => Trust::Anybody,
        Some(ca) => Trust::Authorities(pair::authorities(&read(ca)?).map_err(of(ca))?),
        None => Trust::Authorities(host()),
    };
    config(trust, identity.as_ref(), alpn).map_err(|error| error.to_string())
}

/// The name that the certificate of an instance must be for.
///
/// # Errors
/// If what was said is no name.
pub fn name_of_instance(tls: &UpstreamTls, address: IpAddr) -> Result<ServerName<'static>, String> {
    match &tls.server_name {
        Some(name) => {
            ServerName::try_from(name.clone()).map_err(|_| format!("`{name}` is no name of a server"))
        }
        None => Ok(ServerName::from(address.to_canonical())),
    }
}

/// Checks signatures, so that the server has the key of what it shows, and nothing else.
#[derive(Debug)]
struct BelievesAnybody;

impl ServerCertVerifier for BelievesAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
