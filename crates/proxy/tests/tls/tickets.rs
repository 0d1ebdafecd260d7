//! Clients that come back.

use rustls::HandshakeKind;

use crate::site::{Client, Site, certificates, echo, exchange, service};

fn site() -> Site {
    Site::start(|authority| {
        let first = authority.sign("shop", &["a.example", "b.example"], 60);
        certificates(&[&first]) + &service("shop", &["a.example", "b.example"], echo())
    })
}

/// How the handshake went; the tickets of this connection are taken.
fn kind(client: &Client, host: &str) -> HandshakeKind {
    let mut stream = client.connect(host).unwrap();
    // In TLS 1.3 tickets come after the handshake, before the answer.
    exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    stream.conn.handshake_kind().unwrap()
}

#[test]
fn who_comes_back_is_spared_the_whole_handshake_in_both_versions() {
    let site = site();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Client::of_version(&site.authority, site.https(), version);
        assert_ne!(kind(&client, "a.example"), HandshakeKind::Resumed);
        // Whichever worker has it.
        for _ in 0..8 {
            assert_eq!(kind(&client, "a.example"), HandshakeKind::Resumed, "{version:?}");
        }
    }
    let seen = site.proxy.statistics().tls.unwrap();
    assert_eq!((seen.handshakes, seen.resumed, seen.failed), (2, 16, 0));
}

#[test]
fn a_session_of_one_host_is_no_session_of_another() {
    let site = site();
    let client = site.client();
    kind(&client, "a.example");
    assert_ne!(kind(&client, "b.example"), HandshakeKind::Resumed);
}

#[test]
fn the_keys_are_handed_over_to_the_process_that_comes_after() {
    let mut site = site();
    let client = site.client();
    kind(&client, "a.example");
    site.proxy.restart().unwrap();
    let client = Client { address: site.https(), ..client };
    assert_eq!(kind(&client, "a.example"), HandshakeKind::Resumed);
}

#[test]
fn a_key_that_was_replaced_opens_nothing_any_more() {
    let site = site();
    let client = site.client();
    kind(&client, "a.example");
    assert_eq!(kind(&client, "a.example"), HandshakeKind::Resumed);
    assert_eq!(site.proxy.admin("POST", "/v1/tickets", "").0, 204);
    assert_ne!(kind(&client, "a.example"), HandshakeKind::Resumed);
    assert_eq!(kind(&client, "a.example"), HandshakeKind::Resumed);
}
