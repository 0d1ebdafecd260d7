//! Suites that are programs, which ask by a relay.

use cutover_core::gates::{Finding, Gate, SuiteKind, Verdict};

use crate::bench::{Bench, RELEASE, TOKEN};
use crate::proxy::{Proxy, Reply, answer, idle};

async fn ask(proxy: &Proxy, gate: &Gate, script: &str) -> Finding {
    let mut bench = Bench::before(proxy.address);
    let command = bench.script(script);
    bench.suite("tests", SuiteKind::Command { command, junit: None });
    bench.ask(gate).await
}

fn expect(finding: &Finding, verdict: Verdict, reason: &str) {
    assert_eq!((finding.verdict, finding.reason.as_str()), (verdict, reason), "{finding:#?}");
}

#[tokio::test]
async fn a_program_reaches_the_idle_environment_as_the_host_of_its_service() {
    let proxy = Proxy::start(|_| idle("200 OK", "", "Welcome")).await;
    let script = "test \"$CUTOVER_VERSION$CUTOVER_ENVIRONMENT\" = v2green || exit 9\n\
                  curl -sf -H 'x-cutover-preview: forged' \"$CUTOVER_TARGET_URL/a?b=c\" | grep -q Welcome || exit 8\n\
                  curl -sf -X PUT -H 'x-token: '$CUTOVER_PREVIEW_TOKEN -d abc \"$CUTOVER_TARGET_URL/b\" >/dev/null";
    expect(&ask(&proxy, &Gate::Smoke, script).await, Verdict::Pass, "1 of 1");
    let seen = proxy.seen();
    assert_eq!((seen[0].line.as_str(), seen[1].line.as_str()), ("GET /a?b=c HTTP/1.1", "PUT /b HTTP/1.1"));
    for one in &seen {
        assert_eq!(
            (one.header("host"), one.header("x-cutover-preview")),
            (Some("shop.example.com"), Some(TOKEN))
        );
        assert_eq!(one.headers.iter().filter(|(name, _)| name == "x-cutover-preview").count(), 1);
    }
    assert_eq!((seen[1].body.as_slice(), seen[1].header("x-token")), (b"abc".as_slice(), Some(TOKEN)));
}

#[tokio::test]
async fn what_was_found_of_anybody_else_does_not_count() {
    let live = Proxy::start(|_| answer("200 OK", "", "Welcome")).await;
    let reason = "tests: the answer did not come from the idle environment: GET /x";
    expect(&ask(&live, &Gate::Smoke, "curl -sf $CUTOVER_TARGET_URL/x").await, Verdict::NotYet, reason);
    // Its fail does not count either.
    expect(
        &ask(&live, &Gate::Smoke, "curl -sf $CUTOVER_TARGET_URL/x; exit 1").await,
        Verdict::NotYet,
        reason,
    );
    // One of many is enough.
    let mixed = Proxy::start(|seen| match seen.path() {
        "/x" => answer("200 OK", "", ""),
        _ => idle("200 OK", "", ""),
    })
    .await;
    let script = "for path in a b x c; do curl -sf $CUTOVER_TARGET_URL/$path || exit 1; done";
    expect(&ask(&mixed, &Gate::Smoke, script).await, Verdict::NotYet, reason);
    expect(&ask(&live, &Gate::StillWorks, "curl -sf $CUTOVER_TARGET_URL/x").await, Verdict::Pass, "1 of 1");
    assert!(live.seen().last().unwrap().header("x-cutover-preview").is_none());
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_told_and_not_the_programs_fault() {
    let proxy = Proxy::start(|_| Reply::Never).await;
    let mut bench = Bench::before(proxy.address);
    drop(proxy);
    let command = bench.script("curl -s -o /dev/null -w '%{http_code}\\n' $CUTOVER_TARGET_URL/x");
    bench.suite("tests", SuiteKind::Command { command, junit: None });
    let finding = bench.ask(&Gate::Smoke).await;
    assert_eq!(finding.verdict, Verdict::NotYet);
    assert!(finding.reason.starts_with("tests: cannot connect to the proxy"), "{}", finding.reason);
    assert_eq!(finding.checks[0].output, ["502"]);
}

#[tokio::test]
async fn large_bodies_pass_through_it_both_ways() {
    let head = || format!("HTTP/1.1 200 OK\r\nx-cutover-preview: {RELEASE}\r\n");
    let proxy = Proxy::start(move |_| Reply::Huge(head(), 50 << 20)).await;
    let script = "test $(curl -sf $CUTOVER_TARGET_URL/down | wc -c) = 52428800 || exit 1\n\
                  head -c 3000000 /dev/zero > $$.big 2>/dev/null || exit 2\n\
                  curl -sf -T $$.big $CUTOVER_TARGET_URL/up | wc -c";
    expect(&ask(&proxy, &Gate::Smoke, script).await, Verdict::Pass, "1 of 1");
    assert_eq!(proxy.seen()[1].body.len(), 3_000_000);
}

#[tokio::test]
async fn the_relay_is_gone_with_its_program() {
    let proxy = Proxy::start(|_| idle("200 OK", "", "")).await;
    let mut bench = Bench::before(proxy.address);
    let url = bench.path("url");
    let command = bench.script(&format!("echo $CUTOVER_TARGET_URL > {}", url.display()));
    bench.suite("tests", SuiteKind::Command { command, junit: None });
    expect(&bench.ask(&Gate::Smoke).await, Verdict::Pass, "1 of 1");
    let address = bench.read("url").trim().trim_start_matches("http://").to_owned();
    crate::bench::until("nobody listens", || async {
        tokio::net::TcpStream::connect(&address).await.is_err()
    })
    .await;
}
