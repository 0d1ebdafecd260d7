//! Suites that the real `hurl` runs; `ci/test` installs it.

use std::fs;

use cutover_core::gates::{Finding, Gate, SuiteKind, Verdict};

use crate::bench::{Bench, TOKEN};
use crate::proxy::{Proxy, idle};

const SUITE: &str = "POST {{target}}/login?who={{who}}\nx-key: {{KEY}}\nHTTP 200\n[Captures]\nid: jsonpath \"$.id\"\n\n\
                     GET {{target}}/users/{{id}}\nHTTP 200\n[Asserts]\nbody contains \"Welcome\"\n";

async fn ask(proxy: &Proxy, text: &str) -> (Bench, Finding) {
    let mut bench = Bench::before(proxy.address);
    bench.secret("KEY", "correct-horse");
    // Wherever the tests find it, the release shall.
    let path = std::env::var("PATH").unwrap();
    bench.release.configuration.env = [("PATH".to_owned(), path)].into();
    let kind = SuiteKind::Hurl { file: "smoke/home.hurl".to_owned(), text: text.to_owned() };
    bench.suite("home", kind).variables = [("who".to_owned(), "eve".to_owned())].into();
    let finding = bench.ask(&Gate::Smoke).await;
    (bench, finding)
}

async fn proxy(body: &'static str) -> Proxy {
    Proxy::start(move |seen| match seen.path() {
        "/login?who=eve" => idle("200 OK", "content-type: application/json\r\n", r#"{"id":7}"#),
        _ => idle("200 OK", "", body),
    })
    .await
}

#[tokio::test]
async fn hurl_asks_by_the_private_way_with_the_texts_and_secrets_of_the_suite() {
    let proxy = proxy("Welcome").await;
    let (bench, finding) = ask(&proxy, SUITE).await;
    assert_eq!((finding.verdict, finding.reason.as_str()), (Verdict::Pass, "1 of 1"), "{finding:#?}");
    let seen = proxy.seen();
    assert_eq!((seen[0].header("x-key"), seen[1].path()), (Some("correct-horse"), "/users/7"));
    assert_eq!(finding.checks[0].name, "home.hurl");
    assert!(seen.iter().all(|one| one.header("x-cutover-preview") == Some(TOKEN)));
    assert_eq!(fs::read_dir(bench.path("state/gates")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_hurl_finds_wrong_is_told_without_secrets() {
    let proxy = proxy("Good bye, correct-horse").await;
    let (_, finding) = ask(&proxy, SUITE).await;
    assert_eq!(finding.verdict, Verdict::Fail, "{finding:#?}");
    let all = serde_json::to_string(&finding).unwrap();
    assert!(all.contains("Good bye, ***") && !all.contains("correct-horse"), "{all}");
    let (_, finding) = ask(&proxy, "GET {{target}}/\nHTTP 200\n[Asserts]\nnonsense\n").await;
    assert_ne!(finding.verdict, Verdict::Pass, "{finding:#?}");
    for nothing in [
        "# nothing\n",
        "GET {{target}}/\n[Options]\nskip: true\nHTTP 200\n",
        "GET http://127.0.0.1:1/\n[Options]\nskip: true\n",
    ] {
        let (_, finding) = ask(&proxy, nothing).await;
        assert_eq!(finding.verdict, Verdict::NotYet, "{finding:#?}");
        assert_eq!(finding.reason, "home: `smoke/home.hurl` has asked nothing of the release");
    }
}

#[tokio::test]
async fn without_hurl_it_is_said_what_is_missing_and_where_to_get_it() {
    let proxy = proxy("Welcome").await;
    let mut bench = Bench::before(proxy.address);
    bench.release.configuration.env = [("PATH".to_owned(), "/nowhere".to_owned())].into();
    bench.suite("home", SuiteKind::Hurl { file: "home.hurl".to_owned(), text: SUITE.to_owned() });
    let finding = bench.ask(&Gate::Smoke).await;
    assert_eq!(finding.verdict, Verdict::NotYet);
    assert!(
        finding.reason.contains("`hurl` is not installed on this host: get it from"),
        "{}",
        finding.reason
    );
    assert!(proxy.seen().is_empty());
}
