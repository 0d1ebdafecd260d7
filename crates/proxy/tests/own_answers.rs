//! What the proxy answers itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use support::{Proxy, refusing};

fn service(address: &std::net::SocketAddr) -> String {
    format!(
        "[[service]]\nname = \"shop\"\nhosts = [\"shop.example\"]\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{address}\"]\n"
    )
}

/// Head and body of the answer to `GET /` with these fields.
fn ask(proxy: &Proxy, method: &str, fields: &str) -> (String, String) {
    let answer = proxy.raw(&format!("{method} / HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn value<'a>(head: &'a str, name: &str) -> &'a str {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or("")
}

#[test]
fn it_has_the_form_that_was_asked_for_and_the_id_of_the_request() {
    let proxy = Proxy::start(&service(&refusing()));
    let check = |accept: &str, kind: &str, body: &str| {
        let fields = format!("Host: elsewhere\r\nX-Request-Id: id-7\r\n{accept}");
        let (head, words) = ask(&proxy, "GET", &fields);
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        assert_eq!((value(&head, "content-type"), value(&head, "x-request-id")), (kind, "id-7"));
        assert_eq!(value(&head, "cache-control"), "no-store");
        assert!(words.contains(body), "{words}");
    };
    let text = "404 Not Found: no service for this host and path\nrequest id-7\n";
    let json = "{\"status\":404,\"error\":\"Not Found\",\"reason\":\"no service for this host and path\",\"request_id\":\"id-7\"}";
    check("", "text/plain; charset=utf-8", text);
    check("Accept: */*\r\n", "text/plain; charset=utf-8", text);
    check("Accept: application/json\r\n", "application/json", json);
    check("Accept: application/problem+json, text/html\r\n", "application/json", json);
    check(
        "Accept: text/html,application/xhtml+xml\r\n",
        "text/html; charset=utf-8",
        "<h1>404 Not Found</h1>",
    );
}

#[test]
fn it_never_tells_an_address() {
    let address = refusing();
    let proxy = Proxy::start(&service(&address));
    for accept in ["", "Accept: text/html\r\n", "Accept: application/json\r\n"] {
        let (head, body) = ask(&proxy, "GET", &format!("Host: shop.example\r\n{accept}"));
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        for secret in [&address.to_string(), &address.port().to_string(), "127.0.0.1", "shop"] {
            assert!(!head.contains(secret) && !body.contains(secret), "{secret}: {head}\n{body}");
        }
    }
}

#[test]
fn head_is_answered_without_a_body_and_with_its_length() {
    let proxy = Proxy::start("");
    let (head, body) = ask(&proxy, "HEAD", "Host: a\r\nX-Request-Id: x\r\n");
    let (_, of_get) = ask(&proxy, "GET", "Host: a\r\nX-Request-Id: x\r\n");
    assert!(head.starts_with("HTTP/1.1 404") && body.is_empty(), "{head}\n{body}");
    assert_eq!(value(&head, "content-length"), of_get.len().to_string());
}

#[test]
fn the_users_pages_stand_in_for_it() {
    let pages = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = pages.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("404.html", "<p>nothing here</p>");
    write("error.json", "{\"code\":{status},\"id\":\"{request_id}\"}");
    write("shop/502.html", "<p>the shop is closed: {error}, {reason}</p>");
    let clients = format!("[clients]\npages = \"{}\"\n", pages.path().display());
    let proxy = Proxy::start(&format!("{clients}{}", service(&refusing())));
    let check = |host: &str, accept: &str, expected: &str| {
        let fields = format!("Host: {host}\r\nX-Request-Id: id-7\r\nAccept: {accept}\r\n");
        let (head, body) = ask(&proxy, "GET", &fields);
        assert_eq!(body, expected, "{head}");
        assert_eq!(value(&head, "content-length"), body.len().to_string());
    };
    check("elsewhere", "text/html", "<p>nothing here</p>");
    check("elsewhere", "application/json", "{\"code\":404,\"id\":\"id-7\"}");
    check("shop.example", "application/json", "{\"code\":502,\"id\":\"id-7\"}");
    check(
        "shop.example",
        "text/html",
        "<p>the shop is closed: Bad Gateway, the instance could not be reached</p>",
    );
    // A page that comes later is found a moment later.
    write("shop/502.txt", "closed");
    support::eventually("the new page", || ask(&proxy, "GET", "Host: shop.example\r\n").1 == "closed");
}

#[test]
fn a_service_without_an_instance_has_its_own_page_for_that() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::create_dir(pages.path().join("shop")).unwrap();
    std::fs::write(pages.path().join("shop/503.txt"), "the shop is closed").unwrap();
    std::fs::write(pages.path().join("503.txt"), "something is closed").unwrap();
    let proxy = Proxy::start(&format!(
        "[clients]\npages = \"{}\"\n[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\n",
        pages.path().display()
    ));
    let (head, body) = ask(&proxy, "GET", "Host: a\r\n");
    assert!(head.starts_with("HTTP/1.1 503") && body == "the shop is closed", "{head}\n{body}");
}

#[test]
fn what_is_no_request_is_refused_in_the_form_that_was_asked_for() {
    let proxy = Proxy::start("");
    let answer = proxy.raw("GET /a#b HTTP/1.1\r\nHost: a\r\naccept: application/json\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("Content-Type: application/json"),
        "{answer}"
    );
    assert!(answer.contains("\"reason\":\"the target has a fragment\""), "{answer}");
}
