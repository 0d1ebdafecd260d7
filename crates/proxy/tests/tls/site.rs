//! A proxy with TLS, and a client that speaks it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use cutover_core::routing::TableDocument;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned};

use crate::authority::{Authority, Signed, files};
use crate::support::{PATIENCE, Proxy, instance, read_head};

/// A proxy with a listener of each kind, an authority, and a place for files.
pub(crate) struct Site {
    pub files: tempfile::TempDir,
    pub authority: Authority,
    pub proxy: Proxy,
}

impl Site {
    /// The seed is `[listen]` with both listeners, then what `seed` makes of authority and directory.
    pub(crate) fn start(seed: impl FnOnce(&Authority) -> String) -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new(files.path(), "root");
        let seed = seed(&authority);
        let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n";
        let proxy = Proxy::start_with(&format!("{listen}{seed}"));
        Self { files, authority, proxy }
    }

    /// Where TLS is spoken.
    pub(crate) fn https(&self) -> SocketAddr {
        let table = self.proxy.admin("GET", "/v1/table", "").1;
        let document: TableDocument = serde_json::from_str(&table).unwrap();
        document.listen.https[0]
    }

    /// A client that believes this site's authority.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.authority, self.https())
    }
}

/// `[clients.tls]` with these certificates.
pub(crate) fn certificates(signed: &[&Signed]) -> String {
    let list: Vec<String> = signed.iter().map(|signed| files(signed)).collect();
    format!("[clients.tls]\ncertificates = [{}]\n", list.join(", "))
}

/// `[[service]]` with these hosts and one instance; more lines may follow.
pub(crate) fn service(name: &str, hosts: &[&str], instance: SocketAddr) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nhosts = {hosts:?}\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{instance}\"]\n"
    )
}

/// An instance that answers with the head of each request.
pub(crate) fn echo() -> SocketAddr {
    instance(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// A client whose sessions may be resumed.
#[derive(Clone)]
pub(crate) struct Client {
    pub config: Arc<ClientConfig>,
    pub address: SocketAddr,
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    pub(crate) fn new(authority: &Authority, address: SocketAddr) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots(authority)).with_no_client_auth();
        Self { config: Arc::new(config), address }
    }

    /// The same, and it shows this certificate.
    pub(crate) fn showing(authority: &Authority, address: SocketAddr, signed: &Signed) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = CertificateDer::pem_file_iter(&signed.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&signed.key).unwrap();
        let config =
            builder.with_root_certificates(roots(authority)).with_client_auth_cert(chain, key).unwrap();
        Self { config: Arc::new(config), address }
    }

    /// The same, and it speaks this version alone.
    pub(crate) fn of_version(
        authority: &Authority,
        address: SocketAddr,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = builder.with_root_certificates(roots(authority)).with_no_client_auth();
        Self { config: Arc::new(config), address }
    }

    pub(crate) fn with_alpn(mut self, names: &[&str]) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Shakes hands for this host.
    pub(crate) fn connect(&self, host: &str) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        Ok(stream)
    }

    /// One request for this host on a connection of its own: status and everything after the first line.
    pub(crate) fn get(&self, host: &str, path: &str) -> Result<(u16, String), String> {
        self.ask(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// Any request.
    pub(crate) fn ask(&self, host: &str, request: &str) -> Result<(u16, String), String> {
        let mut stream = self.connect(host)?;
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        Ok((status, answer))
    }
}

/// One request and its answer on a connection that goes on.
pub(crate) fn exchange(stream: &mut Tls, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

pub(crate) fn version(stream: &Tls) -> ProtocolVersion {
    stream.conn.protocol_version().unwrap()
}

/// The SHA-256 of what the server has shown, as it is reported.
pub(crate) fn shown(stream: &Tls) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).unwrap()).unwrap();
    roots
}
