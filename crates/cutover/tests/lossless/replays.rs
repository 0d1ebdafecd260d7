//! Requests that a new release loses go on to the former one while that is warm, and are told of.

use crate::support::data_plane::route;
use crate::support::{CUTOVER, Host, wait_until};
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
