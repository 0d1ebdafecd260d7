//! What TLS means for requests: redirects, and what browsers remember.

use crate::site::{Site, certificates, echo, service};
use crate::support::Proxy;

/// `a.example` and `www.a.example` have a certificate, `c.example` has none; more lines for the service.
fn site(lines: &str) -> Site {
    Site::start(|authority| {
        let signed = authority.sign("shop", &["a.example", "www.a.example"], 60);
        let hosts = ["a.example", "www.a.example", "c.example"];
        certificates(&[&signed]) + &service("shop", &hosts, echo()) + lines
    })
}

fn place(answer: &str) -> Option<&str> {
    answer.split("\r\nLocation: ").nth(1)?.split("\r\n").next()
}

fn plain(proxy: &Proxy, host: &str, path: &str, more: &str) -> (u16, String) {
    let answer =
        proxy.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"));
    (answer[9..12].parse().unwrap(), answer)
}

#[test]
fn a_request_without_tls_is_sent_to_tls_where_there_is_a_certificate() {
    let site = site("");
    let port = site.https().port();
    let check = |host: &str, path: &str, expected: Option<&str>| {
        let (status, answer) = plain(&site.proxy, host, path, "");
        let expected = expected.map(|expected| expected.replace("PORT", &port.to_string()));
        assert_eq!(status, if expected.is_some() { 308 } else { 200 }, "{answer}");
        assert_eq!(place(&answer), expected.as_deref(), "{answer}");
    };
    check("a.example", "/x/y?a=b&c=%20", Some("https://a.example:PORT/x/y?a=b&c=%20"));
    check("A.Example:8080", "/", Some("https://A.Example:PORT/"));
    check("c.example", "/", None);
    // Where authorities look, they find the application if we have nothing for them.
    check("a.example", "/.well-known/acme-challenge/abc", None);
    check(
        "a.example",
        "/.well-known/acme-challenge/../../x",
        Some("https://a.example:PORT/.well-known/acme-challenge/../../x"),
    );
    check("a.example", "/.well-known/other", Some("https://a.example:PORT/.well-known/other"));
}

#[test]
fn a_dot_at_the_end_of_a_host_leads_nobody_in_a_circle() {
    let site = site("");
    let port = site.https().port();
    assert_eq!(plain(&site.proxy, "c.example.", "/", "").0, 200);
    let (_, answer) = plain(&site.proxy, "a.example.", "/", "");
    assert_eq!(place(&answer), Some(format!("https://a.example:{port}/").as_str()));
    let request = "GET / HTTP/1.1\r\nHost: a.example.\r\nConnection: close\r\n\r\n";
    assert_eq!(site.client().ask("a.example", request).unwrap().0, 200);
}

#[test]
fn a_body_is_not_taken_for_the_next_request() {
    let site = site("");
    let request = "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 40\r\n\r\nGET /b HTTP/1.1\r\nHost: c.example\r\n\r\n     ";
    let answer = site.proxy.raw(request);
    assert_eq!(answer.matches("HTTP/1.1 308").count(), 1, "{answer}");
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_port_that_clients_come_by_may_be_another_one() {
    let site = Site::start(|authority| {
        let signed = authority.sign("shop", &["a.example"], 60);
        certificates(&[&signed]) + "public_port = 443\n" + &service("shop", &["a.example"], echo())
    });
    assert_eq!(place(&plain(&site.proxy, "a.example", "/x", "").1), Some("https://a.example/x"));
}

#[test]
fn who_does_not_want_it_is_not_sent() {
    let site = site("https = { redirect = false }\n");
    assert_eq!(plain(&site.proxy, "a.example", "/", "").0, 200);
}

#[test]
fn a_proxy_in_front_that_is_believed_has_ended_tls_already() {
    let site = Site::start(|authority| {
        let signed = authority.sign("shop", &["a.example"], 60);
        String::from("[clients]\ntrusted_proxies = [\"127.0.0.1\"]\n")
            + &certificates(&[&signed])
            + &service("shop", &["a.example", "www.a.example"], echo())
            + "canonical_host = \"a.example\"\n"
    });
    assert_eq!(plain(&site.proxy, "a.example", "/", "X-Forwarded-Proto: https\r\n").0, 200);
    let (status, answer) = plain(&site.proxy, "www.a.example", "/x", "X-Forwarded-Proto: https\r\n");
    assert_eq!((status, place(&answer)), (308, Some("//a.example/x")), "{answer}");
}

#[test]
fn browsers_are_told_to_remember_over_tls_alone_and_by_one_word() {
    let site = site("https = { hsts = { max_age = \"1h\", subdomains = true }, redirect = false }\n");
    let (_, answer) = site.client().get("a.example", "/").unwrap();
    assert_eq!(answer.matches("Strict-Transport-Security: max-age=3600; includeSubDomains\r\n").count(), 1);
    let (_, answer) = plain(&site.proxy, "a.example", "/", "");
    assert!(!answer.contains("Strict-Transport-Security"), "{answer}");
}

#[test]
fn the_word_of_an_application_gives_way() {
    let application = crate::support::instance(|mut stream, _| {
        use std::io::Write;
        while crate::support::read_head(&mut stream).is_some() {
            let answer =
                "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let with = |lines: &str| {
        let site = Site::start(|authority| {
            let signed = authority.sign("shop", &["a.example"], 60);
            certificates(&[&signed]) + &service("shop", &["a.example"], application) + lines
        });
        site.client().get("a.example", "/").unwrap().1
    };
    assert!(with("").contains("Strict-Transport-Security: max-age=1\r\n"));
    let ours = with("https = { hsts = { max_age = \"2s\" } }\n");
    assert!(ours.contains("max-age=2\r\n") && !ours.contains("max-age=1"), "{ours}");
}

#[test]
fn a_service_goes_by_one_name_in_one_step() {
    let site = site("canonical_host = \"a.example\"\n");
    let port = site.https().port();
    let tls = |host: &str| site.client().get(host, "/x?y").unwrap();
    assert_eq!(tls("a.example").0, 200);
    let (status, answer) = tls("www.a.example");
    assert_eq!((status, place(&answer)), (308, Some(format!("https://a.example:{port}/x?y").as_str())));
    let (_, answer) = plain(&site.proxy, "www.a.example", "/x", "");
    assert_eq!(place(&answer), Some(format!("https://a.example:{port}/x").as_str()));
    let (status, answer) = plain(&site.proxy, "c.example", "/x", "");
    assert_eq!((status, place(&answer)), (308, Some(format!("https://a.example:{port}/x").as_str())));

    let without_tls = Proxy::start(
        &(service("shop", &["a.example", "b.example"], echo()) + "canonical_host = \"a.example\"\n"),
    );
    let (status, answer) = plain(&without_tls, "b.example:8080", "/x", "");
    assert_eq!((status, place(&answer)), (308, Some("http://a.example:8080/x")), "{answer}");
    assert_eq!(plain(&without_tls, "A.example", "/x", "").0, 200);
}
