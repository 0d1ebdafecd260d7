//! TLS towards an instance that is asked for its health. Files are read each time, so that what was changed in them counts.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use cutover_core::routing::{Protocol, UpstreamTls};
use cutover_tls::client::{name_of_instance, towards_instances};
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bounded_file;

/// Shakes hands with an instance.
pub(super) async fn connect(
    socket: TcpStream,
    address: SocketAddr,
    tls: &UpstreamTls,
    protocol: Protocol,
) -> Result<TlsStream<TcpStream>, String> {
    let alpn: &[&[u8]] = match protocol {
        Protocol::H1 => &[b"http/1.1"],
        Protocol::H2 | Protocol::H2c => &[b"h2"],
        Protocol::Auto => &[b"h2", b"http/1.1"],
    };
    let config = towards_instances(tls, alpn, bounded_file::read, host_authorities)?;
    let name = name_of_instance(tls, address.ip())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "it closed the connection instead of a TLS handshake".to_owned()
        }
        _ => format!("no TLS with it: {error}"),
    })?;
    if protocol == Protocol::H2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("it does not agree to HTTP/2 over TLS".to_owned());
    }
    Ok(stream)
}

/// The authorities that this host trusts.
fn host_authorities() -> RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    let found = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    ROOTS.get_or_init(found).clone()
}
