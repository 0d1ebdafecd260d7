//! The one client of all candidates: TLS 1.3 with one cipher and one group, so that no server's taste makes its work
//! another. A newer one could otherwise be charged for a hybrid with post-quantum keys that the others do not have.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;
use crate::certificate::Certificate;
use crate::closed_loop::Door;
use crate::request::HOST;

/// What a client keeps of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Nothing: each handshake is a full one.
    None,
    /// Tickets, with which it comes back.
    Tickets,
}

/// Opens connections with TLS, over which HTTP/1.1 is spoken. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct TlsDoor {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl TlsDoor {
    /// To a server that shows this certificate.
    ///
    /// # Errors
    ///
    /// None in fact: there is such a version and such a host.
    pub fn new(address: SocketAddr, certificate: &Certificate, memory: Memory) -> Result<Self, Failure> {
        let provider = CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Known(certificate.shown.clone())))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = match memory {
            Memory::None => Resumption::disabled(),
            Memory::Tickets => Resumption::default(),
        };
        Ok(Self { address, config: Arc::new(config), host: ServerName::try_from(HOST)? })
    }
}

impl Door for TlsDoor {
    type Stream = TlsStream<TcpStream>;

    async fn open(&self) -> io::Result<Self::Stream> {
        let stream = self.address.open().await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(self.host.clone(), stream).await
    }
}

/// Whether a connection began with a ticket.
pub(super) fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Takes one certificate and looks at no signature: checking one costs several times what making it does, and driver and
/// origin have no more CPU than the candidate.
#[derive(Debug)]
struct Known(CertificateDer<'static>);

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another certificate than the one that it was given".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}
