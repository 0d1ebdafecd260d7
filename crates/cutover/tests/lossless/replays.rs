//! Requests that a new release loses go on to the former one while that is warm, and are told of.

use std::process::Command;

use cutover_load::{Client, Load, Plan};

use crate::support::data_plane::route;
use crate::support::{CUTOVER, Host, PATIENCE, wait_until};
use crate::{QUICK, deploy, figures};

fn configure(host: &Host, more: &[&str], rest: &str) {
    let words: Vec<String> =
        [CUTOVER, "sample-application"].iter().chain(more).map(|word| format!("{word:?}")).collect();
    let text =
        format!("name = \"shop\"\ncommand = [{}]\n[env]\nRELEASE = \"\"\n{QUICK}{rest}\n", words.join(", "));
    host.write("cutover.toml", &text);
}

#[test]
fn what_ends_the_new_release_is_answered_by_the_former_one_and_stands_in_the_receipt() {
    let host = Host::start();
    configure(&host, &[], "");
    deploy(&host, "v1");
    configure(&host, &["--dies-at", "/cart"], "[rollout]\nauto_rollback = false\n");
    deploy(&host, "v2");
    assert_eq!(route(&host, "shop")["replay"]["to"], "blue");
    // v1 has no such path either, and says so.
    let answer = host.get("/cart");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let figures = figures(&host);
    let is_it = |line: &str| {
        line.starts_with("cutover_replays_total{") && line.contains("\"green\"") && line.ends_with(" 1")
    };
    assert!(figures.lines().any(is_it), "{figures}");
    host.run(&["rollback"]).exits(0);
    wait_until("the release that was taken back gets none", || route(&host, "shop")["replay"].is_null());
}

#[test]
fn a_release_may_say_that_what_it_fails_stays_failed() {
    let host = Host::start();
    configure(&host, &[], "");
    deploy(&host, "v1");
    configure(
        &host,
        &["--dies-at", "/cart"],
        "[replay]\nwithin_release = true\n[rollout]\nauto_rollback = false\n",
    );
    deploy(&host, "v2");
    assert!(route(&host, "shop")["replay"]["to"].is_null());
    assert!(host.get("/cart").starts_with("HTTP/1.1 502"));
}

/// A release that speaks everything and ends when `/cart` is asked for; it stays away once the file `gone` is there.
fn configure_fragile(host: &Host, top: &str, rest: &str, is_fragile: bool) {
    let dies = if is_fragile { "--dies-at /cart" } else { "" };
    let gone = host.path("gone");
    let script = format!(
        "#!/bin/sh\n[ -e {} ] && exit 1\nexec {CUTOVER} sample-application --every-kind {dies}\n",
        gone.display()
    );
    host.write("run", &script);
    let text = format!(
        "name = \"shop\"\ncommand = [\"sh\", \"./run\"]\n{top}\n[env]\nRELEASE = \"\"\n{QUICK}\
         [rollout]\nauto_rollback = false\n{rest}\n"
    );
    host.write("cutover.toml", &text);
}

/// Asks with curl; what came, with its head and its trailers.
fn ask(host: &Host, path: &str, more: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-i", "--max-time", "20"]).args(more).arg(format!("http://{}{path}", host.address));
    let said = curl.output().unwrap();
    [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).to_lowercase()).concat()
}

/// One call with one message.
fn call(host: &Host, path: &str) -> String {
    let message = host.path("message");
    std::fs::write(&message, b"\0\0\0\0\x05hello").unwrap();
    call_with(host, path, &["--data-binary", &format!("@{}", message.display())])
}

fn call_with(host: &Host, path: &str, what: &[&str]) -> String {
    let fields = ["content-type: application/grpc", "te: trailers"].map(|field| ["-H", field]).concat();
    ask(host, path, &[&[H2, "-X", "POST"], what, fields.as_slice()].concat())
}

const H2: &str = "--http2-prior-knowledge";
const KEYED: &[&str] = &["-d", "one", "-H", "Idempotency-Key: 7"];

#[test]
fn what_ends_a_new_release_that_speaks_http2_goes_on_if_it_may_be_done_twice() {
    let host = Host::start();
    let (top, rest) = ("upstream = \"h2c\"", "[replay]\nidempotency_key = \"Idempotency-Key\"\n");
    configure_fragile(&host, top, rest, false);
    deploy(&host, "v1");
    configure_fragile(&host, top, rest, true);
    deploy(&host, "v2");
    let well = || wait_until("v2 is back", || ask(&host, "/", &[]).contains("x-version: v2"));
    for more in [&[H2][..], KEYED] {
        well();
        let answer = ask(&host, "/cart", more);
        assert!(answer.contains(" 200") && answer.contains("x-version: v1"), "{more:?}: {answer}");
    }
    // What may have been done is not done again.
    well();
    let answer = ask(&host, "/cart", &["-d", "one"]);
    assert!(answer.contains(" 502") && !answer.contains("x-version"), "{answer}");
    well();
    // Without a message: curl takes an answer that comes before it has sent all for an error.
    let answer = call_with(&host, "/cart", &[]);
    assert!(answer.contains("grpc-status: 14") && !answer.contains("x-version"), "{answer}");
    well();
    let answer = call(&host, "/echo.Echo/Stream");
    assert!(answer.contains("x-version: v2") && answer.contains("grpc-status: 0"), "{answer}");
    let figures = figures(&host);
    let lost = figures.lines().find(|line| {
        line.starts_with("cutover_failures_total{")
            && line.contains("\"green\"")
            && line.contains("\"reset\"")
    });
    assert!(
        lost.is_some_and(|line| line.ends_with(" 2")),
        "what was not repeated, and nothing else: {figures}"
    );
}

/// Whatever it is: nothing of it can have been done.
async fn what_was_never_sent_goes_to_the_former_release(upstream: &str, asked: impl AsyncFn(&Host)) {
    let host = Host::start();
    let top = format!("upstream = \"{upstream}\"");
    configure_fragile(&host, &top, "", false);
    deploy(&host, "v1");
    configure_fragile(&host, &top, "", true);
    deploy(&host, "v2");
    std::fs::write(host.path("gone"), "").unwrap();
    assert!(ask(&host, "/cart", &[]).contains("x-version: v1"));
    for more in [&["-d", "one"][..], &[H2, "-d", "one"]] {
        let answer = ask(&host, "/", more);
        assert!(answer.contains(" 200") && answer.contains("x-version: v1"), "{more:?}: {answer}");
    }
    asked(&host).await;
    host.eventually("it stays away", |status| status["environments"]["green"]["health"] != "healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_and_calls_that_were_never_sent_go_to_the_former_release_over_http2() {
    what_was_never_sent_goes_to_the_former_release("h2c", async |host| {
        let answer = call(host, "/echo.Echo/Stream");
        assert!(answer.contains("x-version: v1") && answer.contains("grpc-status: 0"), "{answer}");
        assert!(answer.contains("hello"), "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_and_web_sockets_that_were_never_sent_go_to_the_former_release() {
    what_was_never_sent_goes_to_the_former_release("h1", async |host| {
        let plan = Plan::new(host.address).with(1, Client::web_socket("/ws")).with(1, Client::event_stream());
        let load = Load::start(plan);
        load.expect("blue");
        let open = |report: &cutover_load::Report| {
            report.of("web_socket").open == 1 && report.of("event_stream").open == 1
        };
        load.wait_for(PATIENCE, open).await.unwrap();
        let report = load.stop().await;
        assert!(report.is_clean(), "{report}");
    })
    .await;
}
