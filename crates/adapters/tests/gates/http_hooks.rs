//! Hooks that are asked over HTTP.

use std::time::{Duration, Instant};

use cutover_core::gates::{Finding, HookAction, HookPoint, Verdict};

use crate::bench::Bench;
use crate::proxy::{Proxy, Reply, answer};

/// A hook that asks this receiver.
async fn ask(receiver: &Proxy, bench: &mut Bench) -> Finding {
    let headers = vec![("authorization".to_owned(), "Bearer {{KEY}}".to_owned())];
    let url = format!("http://{}/hook?a=b", receiver.address);
    bench.hook_of(HookPoint::BeforeDeploy, HookAction::Http { url, headers }).timeout =
        Duration::from_secs(1);
    bench.ask_hooks().await
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.secret("KEY", "correct-horse");
    bench
}

#[tokio::test]
async fn the_context_is_posted_and_every_2xx_passes() {
    let receiver = Proxy::start(|_| answer("204 No Content", "", "")).await;
    let finding = ask(&receiver, &mut bench()).await;
    assert_eq!((finding.verdict, finding.reason.as_str()), (Verdict::Pass, "1 of 1"));
    let seen = receiver.seen().remove(0);
    assert_eq!(seen.line, "POST /hook?a=b HTTP/1.1");
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("authorization"), Some("Bearer correct-horse"));
    let told: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(
        (&told["v"], &told["gate"], &told["version"]),
        (&1.into(), &"before_deploy".into(), &"v2".into())
    );
}

#[tokio::test]
async fn another_status_fails_with_the_beginning_of_the_answer_and_without_secrets() {
    let receiver = Proxy::start(|_| answer("500 Oh", "", "no room\nthe key correct-horse is known\n")).await;
    let finding = ask(&receiver, &mut bench()).await;
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.reason, "hook 1: answered 500 Internal Server Error");
    assert_eq!(finding.checks[0].output, ["no room", "the key *** is known"]);
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let elsewhere = Proxy::start(|_| answer("200 OK", "", "")).await;
    let location = format!("location: http://{}/\r\n", elsewhere.address);
    let receiver = Proxy::start(move |_| answer("307 Elsewhere", &location, "")).await;
    let finding = ask(&receiver, &mut bench()).await;
    assert_eq!(
        (finding.verdict, finding.reason.as_str()),
        (Verdict::Fail, "hook 1: answered 307 Temporary Redirect")
    );
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_receiver_that_hangs_or_is_not_there_has_not_passed() {
    let receiver = Proxy::start(|_| Reply::Never).await;
    let started = Instant::now();
    let finding = ask(&receiver, &mut bench()).await;
    assert_eq!((finding.verdict, finding.reason.as_str()), (Verdict::NotYet, "hook 1: no answer within 1s"));
    assert!(started.elapsed() < Duration::from_secs(5));

    let endless = |_: &_| Reply::Huge("HTTP/1.1 500 Oh\r\n".to_owned(), 1 << 40);
    let receiver = Proxy::start(endless).await;
    let finding = ask(&receiver, &mut bench()).await;
    assert_eq!(finding.verdict, Verdict::Fail, "{}", finding.reason);

    let gone = Proxy::start(|_| Reply::Never).await;
    let address = gone.address;
    drop(gone);
    let mut bench = bench();
    let url = format!("http://{address}/");
    bench.hook_of(HookPoint::BeforeDeploy, HookAction::Http { url, headers: Vec::new() });
    let finding = bench.ask_hooks().await;
    assert_eq!(finding.verdict, Verdict::NotYet);
    assert!(finding.reason.to_lowercase().contains("refused"), "{}", finding.reason);
}

#[tokio::test]
async fn a_name_that_stands_for_nothing_is_not_sent() {
    let receiver = Proxy::start(|_| answer("200 OK", "", "")).await;
    let finding = ask(&receiver, &mut Bench::new()).await;
    assert_eq!(finding.verdict, Verdict::NotYet);
    assert!(finding.reason.contains("{{KEY}}"), "{}", finding.reason);
    assert!(receiver.seen().is_empty());
}
