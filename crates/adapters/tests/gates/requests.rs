//! Suites of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cutover_core::gates::{Finding, Gate, Step, SuiteKind, Verdict};
use serde_json::json;

use crate::bench::{Bench, RELEASE, TOKEN};
use crate::proxy::{Proxy, Reply, answer, idle};

/// A step that gets this path.
fn get(path: &str, assert: &[&str]) -> Step {
    Step {
        name: format!("get {path}"),
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: None,
        assert: assert.iter().map(|&text| text.to_owned()).collect(),
        capture: BTreeMap::new(),
        timeout: Duration::from_secs(10),
        retries: 0,
    }
}

/// What a suite of these steps finds by the private way.
async fn smoke(proxy: &Proxy, steps: Vec<Step>) -> Finding {
    let mut bench = Bench::before(proxy.address);
    bench.suite("home", SuiteKind::Requests(steps));
    bench.ask(&Gate::Smoke).await
}

fn expect(finding: &Finding, verdict: Verdict, reason: &str) {
    assert_eq!((finding.verdict, finding.reason.as_str()), (verdict, reason), "{finding:#?}");
}

#[tokio::test]
async fn steps_are_sent_by_the_private_way_with_what_earlier_ones_captured() {
    let proxy = Proxy::start(|seen| match seen.path() {
        "/login" => idle("200 OK", "content-type: application/json\r\n", r#"{"id":"a b"}"#),
        _ => idle("200 OK", "", "Welcome"),
    })
    .await;
    let mut bench = Bench::before(proxy.address);
    bench.secret("KEY", "hunter2");
    bench.secret("NAME", "hidden by the text of the suite");
    let mut login = get("/login", &["status == 200"]);
    login.method = "POST".to_owned();
    login.headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    login.body = Some(r#"{"key":"{{KEY}}","name":"{{NAME}}"}"#.to_owned());
    login.capture = [("id".to_owned(), "jsonpath \"$.id\"".to_owned())].into();
    let mut home = get("/users/{{id}}", &["status == 200", "body contains \"Welcome\""]);
    home.headers = vec![("x-id".to_owned(), "{{id}}".to_owned())];
    bench.suite("home", SuiteKind::Requests(vec![login, home])).variables =
        [("NAME".to_owned(), "eve".to_owned())].into();
    expect(&bench.ask(&Gate::Smoke).await, Verdict::Pass, "2 of 2");
    let seen = proxy.seen();
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body, json!({"key": "hunter2", "name": "eve"}));
    assert_eq!((seen[1].path(), seen[1].header("x-id")), ("/users/a%20b", Some("a b")));
    for one in &seen {
        assert_eq!(one.header("host"), Some("shop.example.com"));
        assert_eq!(one.header("x-cutover-preview"), Some(TOKEN));
    }
}

#[tokio::test]
async fn what_does_not_hold_is_shown_with_request_and_answer_and_stops_the_suite() {
    let proxy =
        Proxy::start(|_| idle("503 Busy", "x-key: correct-horse\r\n", "no room for correct-horse")).await;
    let mut bench = Bench::before(proxy.address);
    bench.secret("KEY", "correct-horse");
    let mut first = get("/a?key={{KEY}}", &["status == 200", "body contains \"room\""]);
    first.headers = vec![("authorization".to_owned(), "Bearer {{KEY}}".to_owned())];
    first.body = Some("key={{KEY}}".to_owned());
    bench.suite("home", SuiteKind::Requests(vec![first, get("/b", &["status == 200"])]));
    let finding = bench.ask(&Gate::Smoke).await;
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(
        finding.reason.starts_with("home, get /a?key={{KEY}}: `status == 200` does not hold"),
        "{}",
        finding.reason
    );
    assert_eq!((finding.checks.len(), proxy.seen().len()), (1, 1));
    let check = &finding.checks[0];
    let request = check.request.as_deref().unwrap();
    assert!(
        request.starts_with("GET /a?key=*** HTTP/1.1\n") && request.ends_with("\n\nkey=***"),
        "{request}"
    );
    assert!(request.contains("host: shop.example.com\n") && request.contains("authorization: Bearer ***\n"));
    let answer = check.answer.as_deref().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("\n\nno room for ***"), "{answer}");
    let held: Vec<bool> = check.assertions.iter().map(|assertion| assertion.holds).collect();
    assert_eq!(held, [false, true]);
    let all = serde_json::to_string(&finding).unwrap();
    assert!(!all.contains("correct-horse") && !all.contains(TOKEN), "{all}");
}

#[tokio::test]
async fn an_answer_that_did_not_come_from_the_idle_environment_proves_nothing() {
    let reason = "home, get /: the answer did not come from the idle environment";
    let steps = || vec![get("/", &["status == 200"])];
    let live = Proxy::start(|_| answer("200 OK", "", "Welcome")).await;
    expect(&smoke(&live, steps()).await, Verdict::NotYet, reason);
    let other = Proxy::start(|_| answer("200 OK", "x-cutover-preview: fedcba98\r\n", "Welcome")).await;
    expect(&smoke(&other, steps()).await, Verdict::NotYet, reason);
    // Not a fail either: nobody knows what the release would have said.
    let refused = Proxy::start(|_| answer("404 Not Found", "", "")).await;
    let reason = format!("{reason}: the proxy knows no such service");
    expect(&smoke(&refused, steps()).await, Verdict::NotYet, &reason);
}

#[tokio::test]
async fn what_users_reach_is_asked_as_users_do() {
    let proxy = Proxy::start(|_| answer("200 OK", "", "Welcome")).await;
    let mut bench = Bench::before(proxy.address);
    bench.suite("home", SuiteKind::Requests(vec![get("/home", &["status == 200"])]));
    bench.suite("other", SuiteKind::Requests(vec![get("/other", &["status == 200"])]));
    expect(&bench.ask(&Gate::StillWorks).await, Verdict::Pass, "2 of 2");
    let checks = |suite: &str| Gate::DuringBake { suite: suite.to_owned() };
    expect(&bench.ask(&checks("other")).await, Verdict::Pass, "1 of 1");
    let mut paths: Vec<String> = proxy.seen().iter().map(|seen| seen.path().to_owned()).collect();
    paths[..2].sort();
    assert_eq!(paths, ["/home", "/other", "/other"]);
    assert!(proxy.seen().iter().all(|seen| seen.header("x-cutover-preview").is_none()));
    expect(&bench.ask(&checks("none")).await, Verdict::NotYet, "checks: the release has no suite `none`");
    expect(&Bench::new().ask(&Gate::Smoke).await, Verdict::NotYet, "smoke: the release has no suites");
}

#[tokio::test]
async fn of_a_body_without_end_only_the_beginning_is_read() {
    let head = || format!("HTTP/1.1 200 OK\r\nx-cutover-preview: {RELEASE}\r\n");
    let proxy = Proxy::start(move |_| Reply::Huge(head(), 1 << 30)).await;
    let started = Instant::now();
    let finding = smoke(&proxy, vec![get("/", &["status == 200", "body contains \"b\""])]).await;
    assert_ne!(finding.verdict, Verdict::Pass);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(serde_json::to_string(&finding).unwrap().len() < 20_000);
    expect(
        &smoke(&proxy, vec![get("/", &["status == 200", "body contains \"aaa\""])]).await,
        Verdict::Pass,
        "1 of 1",
    );
    let peak = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak: u64 = peak
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap();
    assert!(peak < 300_000, "{peak} kB");
}

#[tokio::test]
async fn broken_json_is_no_match() {
    let proxy = Proxy::start(|_| idle("200 OK", "content-type: application/json\r\n", "{\"a\": ")).await;
    let finding = smoke(&proxy, vec![get("/", &["jsonpath \"$.a\" == 1"])]).await;
    assert_eq!(finding.verdict, Verdict::Fail);
    let mut step = get("/", &["status == 200"]);
    step.capture = [("a".to_owned(), "jsonpath \"$.a\"".to_owned())].into();
    let finding = smoke(&proxy, vec![step]).await;
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.reason.contains("nothing to capture as `a`"), "{}", finding.reason);
}

#[tokio::test]
async fn what_does_not_answer_in_time_or_breaks_off_or_is_not_there_has_not_passed() {
    let silent = Proxy::start(|_| Reply::Never).await;
    let mut step = get("/", &["status == 200"]);
    step.timeout = Duration::from_millis(200);
    expect(&smoke(&silent, vec![step]).await, Verdict::NotYet, "home, get /: no answer within 200ms");
    let mut bench = Bench::before(silent.address);
    bench.suite("home", SuiteKind::Requests(vec![get("/", &["status == 200"])])).timeout =
        Duration::from_millis(300);
    expect(&bench.ask(&Gate::Smoke).await, Verdict::NotYet, "home, get /: no answer within 300ms");

    let short =
        format!("HTTP/1.1 200 OK\r\nx-cutover-preview: {RELEASE}\r\ncontent-length: 100\r\n\r\nshort");
    let breaks = Proxy::start(move |_| Reply::Raw(short.clone())).await;
    let finding = smoke(&breaks, vec![get("/", &["status == 200"])]).await;
    assert_eq!(finding.verdict, Verdict::NotYet);
    assert!(finding.reason.contains("the answer broke off"), "{}", finding.reason);
    let nonsense = Proxy::start(|_| Reply::Raw("nonsense\r\n\r\n".to_owned())).await;
    assert_eq!(smoke(&nonsense, vec![get("/", &["status == 200"])]).await.verdict, Verdict::NotYet);

    let address = silent.address;
    drop(silent);
    let mut bench = Bench::before(address);
    bench.suite("home", SuiteKind::Requests(vec![get("/", &["status == 200"])]));
    let finding = bench.ask(&Gate::Smoke).await;
    assert!(
        finding.verdict == Verdict::NotYet && finding.reason.contains("cannot connect to the proxy"),
        "{finding:?}"
    );
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_cookie_kept() {
    let proxy = Proxy::start(|_| idle("302 Found", "location: /b\r\nset-cookie: a=b\r\n", "")).await;
    let steps =
        vec![get("/a", &["status == 302", "header \"location\" == \"/b\""]), get("/c", &["status == 302"])];
    expect(&smoke(&proxy, steps).await, Verdict::Pass, "2 of 2");
    let paths: Vec<String> = proxy.seen().iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(paths, ["/a", "/c"]);
    assert_eq!(proxy.seen()[1].header("cookie"), None);
}

#[tokio::test]
async fn steps_and_suites_are_tried_again_as_often_as_they_say() {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let proxy = Proxy::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) % 3 {
        2 => idle("200 OK", "", ""),
        _ => idle("503 Busy", "", ""),
    })
    .await;
    let mut step = get("/", &["status == 200"]);
    step.retries = 2;
    expect(&smoke(&proxy, vec![step]).await, Verdict::Pass, "1 of 1");
    let mut bench = Bench::before(proxy.address);
    bench.suite("home", SuiteKind::Requests(vec![get("/", &["status == 200"])])).retries = 1;
    let finding = bench.ask(&Gate::Smoke).await;
    assert!(
        finding.verdict == Verdict::Fail && finding.reason.ends_with("(tried 2 times)"),
        "{}",
        finding.reason
    );
    assert_eq!(count.load(Ordering::SeqCst), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn suites_run_at_the_same_time() {
    // Answers the first only when the second has asked.
    let (asked, together) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Barrier::new(2)));
    let count = Arc::clone(&asked);
    let proxy = Proxy::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        tokio::task::block_in_place(|| together.wait());
        idle("200 OK", "", "")
    });
    let proxy = proxy.await;
    let mut bench = Bench::before(proxy.address);
    bench.suite("one", SuiteKind::Requests(vec![get("/1", &["status == 200"])]));
    bench.suite("two", SuiteKind::Requests(vec![get("/2", &["status == 200"])]));
    expect(&bench.ask(&Gate::Smoke).await, Verdict::Pass, "2 of 2");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_cannot_be_sent_or_asserts_nothing_is_no_pass() {
    let proxy = Proxy::start(|_| idle("200 OK", "", "")).await;
    let check = async |step: Step, part: &str| {
        let finding = smoke(&proxy, vec![step]).await;
        assert_eq!(finding.verdict, Verdict::NotYet);
        assert!(finding.reason.contains(part), "{}", finding.reason);
    };
    check(get("/{{nothing}}", &["status == 200"]), "`{{nothing}}` stands for nothing here").await;
    check(get("/", &[]), "nothing is asserted of its answer").await;
    check(get("http://elsewhere/", &["status == 200"]), "is not a path").await;
    check(Step { method: "G T".to_owned(), ..get("/", &["status == 200"]) }, "is not a method").await;
    let headers = vec![("a".to_owned(), "b\r\nc: d".to_owned())];
    check(Step { headers, ..get("/", &["status == 200"]) }, "can be sent").await;
    assert!(proxy.seen().is_empty());
    check(get("/", &["status =="]), "cannot be understood").await;
}
