//! Which certificate is shown to whom, and what is spoken.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::ProtocolVersion;

use crate::site::{Client, Site, certificates, echo, exchange, service, version};
use crate::support::{PATIENCE, eventually};

fn two_hosts() -> Site {
    Site::start(|authority| {
        let first = authority.sign("first", &["a.example", "www.a.example"], 60);
        let second = authority.sign("second", &["*.b.example"], 60);
        let hosts = ["a.example", "www.a.example", "*.b.example"];
        certificates(&[&first, &second]) + &service("shop", &hosts, echo())
    })
}

#[test]
fn every_host_is_served_with_a_certificate_that_names_it() {
    let site = two_hosts();
    // The client checks that the certificate is for the name.
    for host in ["a.example", "www.a.example", "x.b.example", "y.b.example"] {
        let (status, answer) = site.client().get(host, "/").unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("X-Forwarded-Proto: https"), "{answer}");
        assert!(answer.contains(";proto=https"), "{answer}");
    }
}

#[test]
fn a_host_without_a_certificate_is_told_so_by_the_alert_for_it() {
    let site = two_hosts();
    for host in ["c.example", "x.y.b.example", "b.example"] {
        let refused = site.client().connect(host).err().unwrap();
        assert!(refused.contains("UnrecognisedName"), "{refused}");
    }
    // The client has the alert before it is counted.
    eventually("each is counted", || site.proxy.statistics().tls.unwrap().failed == 3);
}

#[test]
fn both_versions_are_spoken_unless_the_older_one_is_not_wanted() {
    let site = two_hosts();
    let of = |site: &Site, version| Client::of_version(&site.authority, site.https(), version);
    let old = of(&site, &rustls::version::TLS12).connect("a.example").unwrap();
    assert_eq!(version(&old), ProtocolVersion::TLSv1_2);
    let new = of(&site, &rustls::version::TLS13).connect("a.example").unwrap();
    assert_eq!(version(&new), ProtocolVersion::TLSv1_3);

    let strict = Site::start(|authority| {
        let only = authority.sign("only", &["a.example"], 60);
        certificates(&[&only]) + "min_version = \"1.3\"\n" + &service("shop", &["a.example"], echo())
    });
    assert!(of(&strict, &rustls::version::TLS12).connect("a.example").is_err());
    assert!(of(&strict, &rustls::version::TLS13).connect("a.example").is_ok());
}

#[test]
fn what_is_spoken_is_agreed_on() {
    let site = two_hosts();
    let check = |offered: &[&str], expected: Option<&str>| {
        let stream = site.client().with_alpn(offered).connect("a.example").unwrap();
        assert_eq!(stream.conn.alpn_protocol(), expected.map(str::as_bytes), "{offered:?}");
    };
    check(&["http/1.1", "h2"], Some("h2"));
    check(&["http/1.1"], Some("http/1.1"));
    check(&[], None);
    // Nothing in common: RFC 7301, section 3.2.
    assert!(site.client().with_alpn(&["spdy/3"]).connect("a.example").is_err());
}

#[test]
fn a_connection_carries_one_request_after_the_other() {
    let site = two_hosts();
    let mut stream = site.client().connect("a.example").unwrap();
    for number in 0..50 {
        let answer = exchange(&mut stream, &format!("GET /{number} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert!(answer.contains(&format!("GET /{number} HTTP/1.1")), "{answer}");
    }
    // Two at once, and the next only half.
    let both =
        "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\nGET /y HTTP/1.1\r\nHost: a.example\r\n\r\nGET /z HT";
    assert!(exchange(&mut stream, both).contains("GET /x "));
    assert!(exchange(&mut stream, "TP/1.1\r\nHost: a.example\r\n\r\n").contains("GET /y "));
    assert!(exchange(&mut stream, "").contains("GET /z "));
    assert_eq!(site.proxy.statistics().tls.unwrap().handshakes, 1);
}

#[test]
fn who_speaks_http_to_it_is_told_to_speak_tls() {
    let site = two_hosts();
    let mut socket = TcpStream::connect(site.https()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    assert!(body.contains("https"), "{answer}");
}

#[test]
fn noise_and_silence_cost_nobody_anything() {
    let site = two_hosts();
    let _silent = TcpStream::connect(site.https()).unwrap();
    for noise in [&b"\x16\x03\x01\xff\xff"[..], b"\0\0\0\0", b"\x16\x03\x01\0\x05hello", &[0x16; 3000]] {
        let mut socket = TcpStream::connect(site.https()).unwrap();
        socket.write_all(noise).unwrap();
        drop(socket);
    }
    assert_eq!(site.client().get("a.example", "/").unwrap().0, 200);
}

#[test]
fn a_hello_that_comes_byte_by_byte_is_understood() {
    let site = two_hosts();
    let relay = crate::support::instance({
        let address = site.https();
        move |mut client, _| {
            let mut server = TcpStream::connect(address).unwrap();
            server.set_nodelay(true).unwrap();
            let (mut back, mut there) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut there));
            let mut byte = [0];
            while client.read(&mut byte).is_ok_and(|read| read == 1) {
                if server.write_all(&byte).is_err() {
                    return;
                }
            }
        }
    });
    let client = Client { address: relay, ..site.client() };
    assert_eq!(client.get("a.example", "/").unwrap().0, 200);
}
