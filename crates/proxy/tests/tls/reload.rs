//! Certificates that change in their files, under clients that are connected.

use std::fs;

use crate::site::{Site, certificates, echo, exchange, service, shown};
use crate::support::eventually;

fn site() -> Site {
    Site::start(|authority| {
        let first = authority.sign("shop", &["a.example"], 60);
        certificates(&[&first]) + &service("shop", &["a.example"], echo())
    })
}

fn problem(site: &Site) -> Option<String> {
    site.proxy.statistics().tls.unwrap().certificates[0].problem.clone()
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_those_that_are_connected_stay() {
    let site = site();
    let mut connected = site.client().connect("a.example").unwrap();
    let before = shown(&connected);
    site.authority.sign("shop", &["a.example", "b.example"], 90);
    site.proxy.admin("POST", "/v1/certificates", "");
    eventually("the new certificate is shown", || {
        shown(&site.client().connect("a.example").unwrap()) != before
    });
    assert!(exchange(&mut connected, "GET /on HTTP/1.1\r\nHost: a.example\r\n\r\n").contains("GET /on"));
}

#[test]
fn a_pair_that_is_no_good_is_told_and_the_old_one_stays() {
    let site = site();
    let before = shown(&site.client().connect("a.example").unwrap());
    let check = |expected: &str| {
        site.proxy.admin("POST", "/v1/certificates", "");
        eventually(expected, || problem(&site).is_some_and(|problem| problem.contains(expected)));
        assert_eq!(shown(&site.client().connect("a.example").unwrap()), before);
    };
    let other = site.authority.sign("other", &["a.example"], 60);
    fs::copy(other.key, site.files.path().join("shop.key")).unwrap();
    check("does not belong to the certificate");
    site.authority.sign("shop", &["a.example"], -1);
    check("expired at");
    site.authority.sign("shop", &["elsewhere.example"], 60);
    check("no routed host is one of these");
    fs::remove_file(site.files.path().join("shop.pem")).unwrap();
    check("cannot read");
    site.authority.sign("shop", &["a.example"], 60);
    site.proxy.admin("POST", "/v1/certificates", "");
    eventually("a good pair ends the trouble", || problem(&site).is_none());
    assert_ne!(shown(&site.client().connect("a.example").unwrap()), before);
}

#[test]
fn bundles_come_and_go_in_a_directory() {
    let site = Site::start(|authority| {
        let directory = authority.ca().parent().unwrap().join("served");
        fs::create_dir(&directory).unwrap();
        format!("[clients.tls]\ndirectory = \"{}\"\n", directory.display())
            + &service("shop", &["a.example"], echo())
    });
    let served = site.files.path().join("served");
    assert!(site.client().connect("a.example").is_err());
    let signed = site.authority.sign("one", &["a.example"], 60);
    let bundle = fs::read_to_string(&signed.certificate).unwrap() + &fs::read_to_string(&signed.key).unwrap();
    fs::write(served.join("new"), &bundle).unwrap();
    fs::rename(served.join("new"), served.join("a.example.pem")).unwrap();
    eventually("the bundle is shown", || site.client().connect("a.example").is_ok());
    fs::remove_file(served.join("a.example.pem")).unwrap();
    eventually("it is shown no more", || site.client().connect("a.example").is_err());
}
