//! When an authority would like a renewal.

use std::time::Duration;

use cutover_controller::ports::{CertificateAuthority, RenewalWindow};
use cutover_core::Timestamp;
use cutover_core::tls::{Acme, Challenge};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::bench::Bench;
use crate::scripted::Scripted;

/// A certificate that names what has signed it, without which no authority can be asked.
fn certificate() -> String {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(ca, key);
    let mut params = CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
}

async fn ask(
    status: &'static str,
    fields: &'static str,
    content: &str,
) -> Result<Option<RenewalWindow>, String> {
    let scripted = Scripted::start(vec![("/renewal", status, fields, content.to_owned())]).await;
    let directory = tempfile::tempdir().unwrap();
    let authority = cutover_adapters::acme::AcmeAuthority::new(directory.path());
    let acme = Acme { directory: scripted.url.clone(), ..Acme::default() };
    let window = authority.renewal_window(&acme, &certificate()).await.map_err(|error| error.reason);
    assert!(scripted.asked.lock().unwrap().iter().any(|line| line.starts_with("get /renewal/")));
    window
}

#[tokio::test]
async fn an_opinion_is_understood() {
    let window = r#"{"suggestedWindow":{"start":"2025-01-01T00:00:00Z","end":"2025-01-02T00:00:00Z"}}"#;
    let at = |millis| Timestamp::from_millis(millis);
    let (start, end) = (at(1_735_689_600_000), at(1_735_776_000_000));
    let found = ask("200 OK", "retry-after: 7200\r\n", window).await.unwrap().unwrap();
    assert_eq!((found.start, found.end), (start, end));
    // It was a moment in time, and time has passed since.
    let between = Duration::from_secs(7100)..=Duration::from_secs(7200);
    assert!(between.contains(&found.ask_again), "{found:?}");
    let found = ask("200 OK", "", window).await.unwrap().unwrap();
    assert!(found.ask_again > Duration::from_secs(5 * 3600), "{found:?}");
    // More than the time itself can hold.
    let found = ask("200 OK", "retry-after: 18446744073709551615\r\n", window).await.unwrap().unwrap();
    let day = Duration::from_secs(23 * 3600)..=Duration::from_secs(24 * 3600);
    assert!(day.contains(&found.ask_again), "{found:?}");
}

#[tokio::test]
async fn no_answer_is_no_opinion() {
    let problem = r#"{"detail":"no such certificate"}"#;
    assert_eq!(
        ask("404 Not Found", "", problem).await,
        Err("the authority refuses: no such certificate".to_owned())
    );
    let error = ask("200 OK", "", "<html>").await.unwrap_err();
    assert!(error.contains("does not speak ACME"), "{error}");
}

#[tokio::test]
async fn an_authority_without_opinions_has_none() {
    let bench = Bench::new().await;
    let issued = bench.succeeds(&bench.order(&["shop.test"], Challenge::Http01)).await;
    assert_eq!(bench.authority.renewal_window(&bench.acme(), &issued.chain).await, Ok(None));
}
