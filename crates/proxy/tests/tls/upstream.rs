//! TLS towards instances.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::authority::{Authority, Signed};
use crate::site::service;
use crate::support::{Proxy, eventually};

/// Instances that speak TLS, and what they are believed by.
struct Behind {
    files: tempfile::TempDir,
    authority: Authority,
}

impl Behind {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new(files.path(), "inner");
        Self { files, authority }
    }

    /// An instance that answers with who it has seen, and how many handshakes there were.
    fn instance(&self, signed: &Signed, clients: Option<&Authority>) -> (SocketAddr, Arc<AtomicUsize>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(authority.ca()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = CertificateDer::pem_file_iter(&signed.certificate).unwrap().map(Result::unwrap).collect();
        let config =
            builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&signed.key).unwrap()).unwrap();
        let (config, handshakes) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::clone(&handshakes));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, seen) = (Arc::clone(&config), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    let mut stream = StreamOwned::new(connection, socket);
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
                        head.push(byte[0]);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        head.clear();
                        seen.fetch_add(usize::from(seen.load(Ordering::SeqCst) == 0), Ordering::SeqCst);
                        let shown = stream.conn.peer_certificates().is_some();
                        let name = stream.conn.server_name().unwrap_or("nobody").to_owned();
                        let body = format!("asked as {name}, shown {shown}");
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, handshakes)
    }

    fn proxy(&self, instance: SocketAddr, upstream: &str) -> Proxy {
        let upstream = upstream.replace("CA", &self.authority.ca().display().to_string());
        Proxy::start(
            &(service("shop", &["shop.example"], instance)
                + &format!("upstream = {{ tls = {{ {upstream} }} }}\n")),
        )
    }
}

fn body(proxy: &Proxy) -> (u16, String) {
    proxy.get("/")
}

#[test]
fn an_instance_is_believed_by_its_authority_and_its_name() {
    let behind = Behind::new();
    let (instance, _) =
        behind.instance(&behind.authority.sign("one", &["inner.example", "127.0.0.1"], 30), None);
    let by_address = behind.proxy(instance, "ca = \"CA\"");
    assert_eq!(body(&by_address), (200, "asked as nobody, shown false".to_owned()));
    let by_name = behind.proxy(instance, "ca = \"CA\", server_name = \"inner.example\"");
    assert_eq!(body(&by_name), (200, "asked as inner.example, shown false".to_owned()));
    let other_name = behind.proxy(instance, "ca = \"CA\", server_name = \"other.example\"");
    assert_eq!(body(&other_name).0, 502);
    // The host has never heard of this authority.
    let unknown = behind.proxy(instance, "server_name = \"inner.example\"");
    assert_eq!(body(&unknown).0, 502);
    let anybody = behind.proxy(instance, "insecure_believe_anybody = true");
    assert_eq!(body(&anybody).0, 200);
}

#[test]
fn an_expired_certificate_of_an_instance_is_not_believed() {
    let behind = Behind::new();
    let (instance, _) = behind.instance(&behind.authority.sign("one", &["127.0.0.1"], -1), None);
    assert_eq!(body(&behind.proxy(instance, "ca = \"CA\"")).0, 502);
}

#[test]
fn an_instance_is_shown_a_certificate_if_there_is_one() {
    let behind = Behind::new();
    let signed = behind.authority.sign("one", &["127.0.0.1"], 30);
    let (instance, _) = behind.instance(&signed, Some(&behind.authority));
    let own = behind.authority.sign("proxy", &["proxy"], 30);
    let showing = format!(
        "ca = \"CA\", certificate = \"{}\", key = \"{}\"",
        own.certificate.display(),
        own.key.display()
    );
    assert_eq!(body(&behind.proxy(instance, &showing)), (200, "asked as nobody, shown true".to_owned()));
    assert_eq!(body(&behind.proxy(instance, "ca = \"CA\"")).0, 502);
}

#[test]
fn connections_are_kept_for_the_next_request() {
    let behind = Behind::new();
    let (instance, handshakes) = behind.instance(&behind.authority.sign("one", &["127.0.0.1"], 30), None);
    let proxy = behind.proxy(instance, "ca = \"CA\"");
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let requests = request.repeat(20) + "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let answer = proxy.raw(&requests);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 21);
    assert_eq!(handshakes.load(Ordering::SeqCst), 1);
}

#[test]
fn files_that_are_no_good_are_told_and_read_again_when_they_are() {
    let behind = Behind::new();
    let (instance, _) = behind.instance(&behind.authority.sign("one", &["127.0.0.1"], 30), None);
    let late = behind.files.path().join("late.pem");
    let proxy = behind.proxy(instance, &format!("ca = \"{}\"", late.display()));
    assert_eq!(body(&proxy).0, 502);
    std::fs::copy(behind.authority.ca(), &late).unwrap();
    eventually("the authority is read", || body(&proxy).0 == 200);
}

#[test]
fn probes_speak_tls_too() {
    let behind = Behind::new();
    let signed = behind.authority.sign("one", &["127.0.0.1"], 30);
    let (instance, _) = behind.instance(&signed, None);
    let check = |ca: &str, expected: bool| {
        let ca = ca.replace("CA", &behind.authority.ca().display().to_string());
        let lines = service("shop", &["shop.example"], instance)
            + &format!("upstream = {{ tls = {{ {ca} }} }}\n")
            + "health = { path = \"/\", interval = \"20ms\", timeout = \"2s\", rise = 1, fall = 1 }\n";
        let proxy = Proxy::start(&lines);
        eventually("the probe has an opinion", || {
            let seen = proxy.statistics().instances.remove(0);
            if expected { seen.healthy == Some(true) } else { !seen.in_rotation }
        });
    };
    check("ca = \"CA\"", true);
    check("server_name = \"wrong.example\"", false);
}

#[test]
fn http_2_is_agreed_on() {
    let behind = Behind::new();
    let signed = behind.authority.sign("one", &["127.0.0.1"], 30);
    let address = h2_instance(&signed, &[b"h2"]);
    let proxy = |protocol: &str, address| {
        let lines = service("shop", &["shop.example"], address)
            + &format!(
                "upstream = {{ protocol = \"{protocol}\", tls = {{ ca = \"{}\" }} }}\n",
                behind.authority.ca().display()
            );
        Proxy::start(&lines)
    };
    for protocol in ["h2", "auto"] {
        let (status, body) = body(&proxy(protocol, address));
        assert!(status == 200 && body.contains("HTTP/2"), "{protocol}: {status} {body}");
    }
    // One that agrees to nothing speaks HTTP/1.1.
    let (old, _) = behind.instance(&signed, None);
    assert_eq!(body(&proxy("auto", old)).0, 200);
    assert_eq!(body(&proxy("h2", old)).0, 502);
}

/// An instance that agrees to this, and answers over HTTP/2.
fn h2_instance(signed: &Signed, alpn: &[&[u8]]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_file_iter(&signed.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&signed.key).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let head = http::Response::new(());
                        let mut stream = respond.send_response(head, false).unwrap();
                        stream.send_data(bytes::Bytes::from_static(b"HTTP/2"), true).unwrap();
                    }
                });
            }
        });
    });
    address
}
