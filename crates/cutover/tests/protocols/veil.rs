//! TLS put on and taken off at the two ends of the proxy, so that every scenario can be had with it: clients and
//! applications speak as always, and what lies between them and the proxy is TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name in the certificate of both ends.
pub const NAME: &str = "shop.example";
const PREFACE: &[u8] = b"PRI ";

/// An authority, and a certificate of its own for [`NAME`], in files.
pub struct Veil {
    directory: tempfile::TempDir,
    roots: RootCertStore,
    ends: JoinSet<()>,
}

impl Veil {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap();
        let issuer = Issuer::new(parameters, key);
        let own = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let signed = parameters.signed_by(&own, &issuer).unwrap();
        let write = |name: &str, pem: String| std::fs::write(directory.path().join(name), pem).unwrap();
        write("ca.pem", authority.pem());
        write("cert.pem", signed.pem());
        write("key.pem", own.serialize_pem());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        Self { directory, roots, ends: JoinSet::new() }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What the proxy shows to clients, as a section of its table.
    pub fn listeners(&self) -> String {
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!("[clients.tls]\ncertificates = [{{ certificate = \"{certificate}\", key = \"{key}\" }}]\n")
    }

    /// Where clients without TLS reach a listener with it. What they speak is agreed on as by clients that know it.
    pub async fn put_on(&mut self, proxy: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = |protocol: &[u8]| {
            let builder = ClientConfig::builder_with_provider(provider());
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        let (h1, h2) = (connector(b"http/1.1"), connector(b"h2"));
        self.ends.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (h1, h2) = (h1.clone(), h2.clone());
                clients.spawn(async move {
                    let Some(is_h2) = speaks_h2(&client).await else { return };
                    let Ok(socket) = TcpStream::connect(proxy).await else { return };
                    // Nothing is to be held back on its way.
                    let _ = (client.set_nodelay(true), socket.set_nodelay(true));
                    let name = ServerName::try_from(NAME).unwrap();
                    let connector = if is_h2 { h2 } else { h1 };
                    let mut stream = connector.connect(name, socket).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut stream).await;
                });
            }
        });
        address
    }

    /// Where an application without TLS is reached with it, and agrees to this protocol.
    pub async fn take_off(&mut self, application: SocketAddr, protocol: &[u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let chain = vec![CertificateDer::from_pem_file(self.path("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        self.ends.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                clients.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let Ok(mut server) = TcpStream::connect(application).await else { return };
                    let _ = (server.set_nodelay(true), stream.get_ref().0.set_nodelay(true));
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        });
        address
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a client begins with; `None` if it goes away before.
async fn speaks_h2(client: &TcpStream) -> Option<bool> {
    let mut first = [0; 4];
    loop {
        let read = client.peek(&mut first).await.ok()?;
        if read == 0 {
            return None;
        }
        if read == first.len() || first[..read] != PREFACE[..read] {
            return Some(first[..read] == PREFACE[..read]);
        }
        // Byte by byte: nothing tells of the next one but another look.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
