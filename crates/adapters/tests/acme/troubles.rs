//! What is said when there is no certificate.

use std::time::Duration;

use cutover_controller::ports::Order;
use cutover_core::tls::{Acme, Challenge};

use crate::bench::Bench;
use crate::front::Front;
use crate::scripted::Scripted;

#[tokio::test]
async fn a_host_that_answers_something_else_is_refused_by_name_and_in_the_authoritys_words() {
    let bench = Bench::with(Front::start(true).await, |_| {});
    let error = bench.fails(&bench.order(&["shop.test"], Challenge::Http01)).await.reason;
    assert!(error.starts_with("`shop.test` is refused: ") && error.ends_with("(unauthorized)"), "{error}");
    assert!(!error.contains('\n') && !error.ends_with('.'));
}

#[tokio::test]
async fn a_host_that_cannot_be_proved_so_is_told() {
    let bench = Bench::new().await;
    let error = bench.fails(&bench.order(&["*.shop.test"], Challenge::Http01)).await.reason;
    assert_eq!(error, "the authority does not prove `*.shop.test` by `http-01`");
    let error = bench.fails(&bench.order(&["not_a_host"], Challenge::Http01)).await.reason;
    assert!(error.starts_with("the authority refuses `not_a_host`: "), "{error}");
}

#[tokio::test]
async fn an_authority_that_is_not_there_or_not_believed_is_told() {
    let mut bench = Bench::new().await;
    let mut order = bench.order(&["shop.test"], Challenge::Http01);
    let host = order.acme.directory.trim_start_matches("https://").trim_end_matches("/dir").to_owned();

    order.acme.ca = None;
    let error = bench.fails(&order).await.reason;
    assert!(error.starts_with(&format!("`{host}` cannot be ")) && error.contains("certificate"), "{error}");
    order.acme.ca = Some("/nowhere/ca.pem".into());
    let error = bench.fails(&order).await.reason;
    assert!(error.starts_with("cannot read authorities from `/nowhere/ca.pem`: "), "{error}");
    let empty = bench.directory.path().join("empty.pem");
    std::fs::write(&empty, "hello").unwrap();
    order.acme.ca = Some(empty);
    let error = bench.fails(&order).await.reason;
    assert!(error.ends_with("there is no certificate in PEM in it"), "{error}");

    order.acme.ca = Some("/dev/null".into());
    let error = bench.fails(&order).await.reason;
    assert_eq!(error, "cannot read authorities from `/dev/null`: it is not a file");

    order.acme.ca = Some(bench.pebble.ca());
    bench.pebble.end();
    let error = bench.fails(&order).await.reason;
    assert!(error.starts_with(&format!("`{host}` cannot be reached: ")), "{error}");
}

/// Asks an authority that answers new accounts so.
async fn refused(status: &'static str, fields: &'static str, content: &str) -> (String, Option<Duration>) {
    let scripted = Scripted::start(vec![("/account", status, fields, content.to_owned())]).await;
    let bench = Bench::new().await;
    let acme = Acme { directory: scripted.url.clone(), ca: None, ..bench.acme() };
    let order = Order { acme, ..bench.order(&["shop.test"], Challenge::Http01) };
    let error = bench.fails(&order).await;
    (
        error.reason.replace(scripted.url.trim_start_matches("http://").trim_end_matches("/dir"), "HOST"),
        error.retry_after,
    )
}

#[tokio::test]
async fn an_authority_that_wants_to_be_left_in_peace_is_heard() {
    let limited = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many registrations"}"#;
    let told = "the authority refuses `shop.test`: too many registrations (rateLimited)";
    let answer = refused("429 Too Many Requests", "retry-after: 3600\r\n", limited).await;
    assert_eq!(answer, (told.to_owned(), Some(Duration::from_secs(3600))));
    let answer = refused("429 Too Many Requests", "", limited).await;
    assert_eq!(answer, (told.to_owned(), None));
    let (_, far) =
        refused("429 Too Many Requests", "retry-after: Thu, 31 Dec 2099 23:59:59 GMT\r\n", limited).await;
    assert!(far.unwrap() > Duration::from_secs(3600 * 24 * 365));
}

#[tokio::test]
async fn what_stands_before_an_authority_and_speaks_no_acme_is_told() {
    let answer = refused("503 Service Unavailable", "retry-after: 60\r\n", "<html>").await;
    assert_eq!(answer, ("`HOST` answered 503 Service Unavailable".to_owned(), Some(Duration::from_secs(60))));
    let scripted = Scripted::start(vec![("/dir", "200 OK", "", "<html>hello</html>".to_owned())]).await;
    let bench = Bench::new().await;
    let acme = Acme { directory: scripted.url, ca: None, ..bench.acme() };
    let error = bench.fails(&Order { acme, ..bench.order(&["shop.test"], Challenge::Http01) }).await.reason;
    assert!(error.starts_with("what answers at the authority's address does not speak ACME: "), "{error}");
}
