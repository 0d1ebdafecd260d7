//! Every kind of client through a server that takes TLS off.

use std::net::SocketAddr;
use std::sync::Arc;

use cutover_load::{Client, FailureClass, Load, Plan, Tls, TlsError};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::support::{backend, check, serving, until};

const NAME: &str = "shop.example";

/// A server that takes TLS off and passes on the rest; what its authority is in PEM.
async fn terminator(upstream: SocketAddr, protocols: &[&[u8]]) -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serving(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut upstream = TcpStream::connect(upstream).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
        }
    })
    .await;
    (address, cert.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_speaks_tls() {
    let backend = backend();
    let (target, authority) = terminator(backend.address(), &[b"h2", b"http/1.1"]).await;
    let plan = Plan::every_kind(target).tls(Tls::believing_pem(authority.as_bytes(), NAME).unwrap());
    let kinds: Vec<_> = plan.clients.iter().map(|client| client.kind).collect();
    let load = Load::start(plan.host(NAME));
    until(&load, |report| {
        kinds.iter().all(|kind| {
            let count = report.of(kind.label());
            if kind.is_session() { count.messages >= 4 } else { count.requests >= 2 }
        })
    })
    .await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(backend.connections(), report.connections_opened);
}

#[tokio::test]
async fn a_close_of_an_idle_connection_with_tls_is_no_failure() {
    let backend = backend();
    let (target, authority) = terminator(backend.address(), &[]).await;
    let tls = Tls::believing_pem(authority.as_bytes(), NAME).unwrap();
    let load = Load::start(
        Plan::new(target)
            .tls(tls)
            .with(1, Client::keep_alive("/").pausing(std::time::Duration::from_millis(30))),
    );
    until(&load, |report| report.requests >= 3).await;
    drop(backend);
    let report = until(&load, |report| report.failed >= 1).await;
    assert_eq!((report.idle_closes, report.connections_opened), (1, 2), "{report}");
}

#[tokio::test]
async fn a_server_that_cannot_be_believed_or_speaks_another_protocol_is_a_failure_of_tls() {
    let backend = backend();
    let (target, authority) = terminator(backend.address(), &[b"http/1.1"]).await;
    let (_, stranger) = terminator(backend.address(), &[]).await;
    let run = async |authority: &str, name, client| {
        let tls = Tls::believing_pem(authority.as_bytes(), name).unwrap();
        let mut plan = Plan::new(target).tls(tls).with(1, client);
        plan.max_requests = Some(3);
        Load::start(plan).finish().await
    };
    let right = run(&authority, NAME, Client::fresh("/")).await;
    assert!(right.is_clean(), "{right}");
    for report in [
        run(&stranger, NAME, Client::fresh("/")).await,
        run(&authority, "other.example", Client::web_socket("/ws")).await,
        run(&authority, NAME, Client::http2("/", 1)).await,
        run(&authority, NAME, Client::grpc_stream()).await,
    ] {
        assert_eq!((report.failed, report.failed_as(FailureClass::TlsFailed)), (3, 3), "{report}");
    }
    check(target, Client::fresh("/"), FailureClass::Malformed).await;
}

#[test]
fn what_cannot_be_believed_is_said_before_the_load_starts() {
    assert!(matches!(Tls::believing_pem(b"nothing", NAME), Err(TlsError::Authority(_))));
    assert!(matches!(Tls::believing_der(b"nothing", NAME), Err(TlsError::Authority(_))));
    let CertifiedKey { cert, .. } = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    assert!(matches!(Tls::believing_der(cert.der(), "no name"), Err(TlsError::ServerName(_))));
    assert!(Tls::believing_der(cert.der(), "127.0.0.1").is_ok());
}
