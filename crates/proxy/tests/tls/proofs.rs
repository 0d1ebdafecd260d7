//! What authorities look for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::site::{Site, certificates, echo, service};

/// As an authority looks, which understands what is critical in the certificate.
#[derive(Debug)]
struct OnlyLooks;

impl ServerCertVerifier for OnlyLooks {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn site() -> Site {
    Site::start(|authority| {
        let signed = authority.sign("shop", &["a.example"], 60);
        certificates(&[&signed]) + &service("shop", &["a.example", "b.example"], echo())
    })
}

#[test]
fn a_text_is_there_without_tls_until_it_is_withdrawn() {
    let site = site();
    let text = r#"[{"http":{"host":"a.example","token":"tok","content":"tok.print"}}]"#;
    let look = || {
        site.proxy.raw(
            "GET /.well-known/acme-challenge/tok HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        )
    };
    assert!(look().contains("GET /.well-known/"), "{}", look());
    assert_eq!(site.proxy.admin("POST", "/v1/challenges", text).0, 204);
    let answer = look();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ntok.print"), "{answer}");
    // Other hosts and other paths are nobody's business.
    let other = site
        .proxy
        .raw("GET /.well-known/acme-challenge/tok HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n");
    assert!(other.contains("GET /.well-known/"), "{other}");
    assert_eq!(site.proxy.admin("DELETE", "/v1/challenges", text).0, 204);
    assert!(look().contains("GET /.well-known/"));
}

#[test]
fn a_certificate_proves_a_host_to_who_says_that_it_looks_for_that() {
    let site = site();
    let prover = || site.client().with_alpn(&["acme-tls/1"]);
    // Nobody has ordered anything.
    assert!(prover().connect("b.example").is_err());
    let mut parameters = rcgen::CertificateParams::new(vec!["b.example".to_owned()]).unwrap();
    parameters.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
    let key = rcgen::KeyPair::generate().unwrap();
    let proof = parameters.self_signed(&key).unwrap();
    let answer = serde_json::json!([{"tls_alpn": {
        "host": "b.example",
        "certificate": proof.pem(),
        "key": key.serialize_pem(),
    }}])
    .to_string();
    assert_eq!(site.proxy.admin("POST", "/v1/challenges", &answer).0, 204);
    // Who looks believes nobody, and sees what there is.
    let mut looking = prover();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(OnlyLooks));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    looking.config = Arc::new(config);
    let stream = looking.connect("b.example").unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    assert_eq!(stream.conn.peer_certificates().unwrap()[0], *proof.der());
    // Users see none of it, and other hosts are not proved.
    assert!(site.client().connect("b.example").is_err());
    assert!(prover().connect("a.example").is_err());
    assert_eq!(site.client().get("a.example", "/").unwrap().0, 200);
    site.proxy.admin("DELETE", "/v1/challenges", &answer);
    assert!(looking.connect("b.example").is_err());
}

#[test]
fn what_is_no_answer_is_refused_with_the_reason() {
    let site = site();
    let check = |body: &str, expected: &str| {
        let (status, answer) = site.proxy.admin("POST", "/v1/challenges", body);
        assert_eq!(status, 422, "{answer}");
        assert!(answer.contains(expected), "{answer}");
    };
    check(
        r#"[{"tls_alpn":{"host":"b.example","certificate":"x","key":"y"}}]"#,
        "there is no private key in PEM",
    );
    check(r#"[{"dns":{}}]"#, "unknown variant");
}
