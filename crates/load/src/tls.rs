//! Whom a load believes when it speaks TLS, and by which name it asks.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// The protocol that a client means to speak on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Its name in the handshake (RFC 7301).
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// How to speak TLS to the target: made once, used by all clients of a plan, whose sessions may be resumed.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(crate) server_name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// TLS cannot be spoken with what was given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's certificates cannot be read, or there are none.
    #[error("no certificate of an authority can be read: {0}")]
    Authority(String),
    /// The server's name is neither a name nor an address.
    #[error("`{0}` is no name of a server")]
    ServerName(String),
    /// The provider of cryptography has not what TLS needs.
    #[error(transparent)]
    Provider(#[from] rustls::Error),
}

impl Tls {
    /// Believes whoever shows a certificate for `server_name` that one of these has signed.
    ///
    /// # Errors
    ///
    /// If `authorities` are no certificates in PEM, or `server_name` is no name.
    pub fn believing_pem(authorities: &[u8], server_name: &str) -> Result<Self, TlsError> {
        let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(authorities)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Authority(error.to_string()))?;
        Self::believing(certificates, server_name)
    }

    /// The same for one authority in DER.
    ///
    /// # Errors
    ///
    /// As [`Tls::believing_pem`].
    pub fn believing_der(authority: &[u8], server_name: &str) -> Result<Self, TlsError> {
        Self::believing(vec![CertificateDer::from(authority)], server_name)
    }

    fn believing(authorities: Vec<CertificateDer<'_>>, server_name: &str) -> Result<Self, TlsError> {
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.into_owned()).map_err(|error| TlsError::Authority(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TlsError::Authority("there are none".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let speaking = |protocol: Protocol| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            Arc::new(config)
        };
        Ok(Self { server_name, http1: speaking(Protocol::Http1), http2: speaking(Protocol::Http2) })
    }

    pub(crate) fn config(&self, protocol: Protocol) -> Arc<ClientConfig> {
        match protocol {
            Protocol::Http1 => Arc::clone(&self.http1),
            Protocol::Http2 => Arc::clone(&self.http2),
        }
    }
}
