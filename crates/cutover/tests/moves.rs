//! Moves of what is deployed already, and the wait for a person, as people meet them: the real binary under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use support::{Host, Said};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\ndeadline = \"60s\"\n";

fn good(host: &Host, name: &str, more: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}{more}"));
}

fn load(host: &Host) -> Load {
    let plan = Plan::new(host.address).with(2, Client::keep_alive("/")).with(1, Client::post("/", 500));
    Load::start(plan.pausing(Duration::from_millis(5)))
}

/// `v1` is live and `v2` has passed its gates and waits.
fn held(host: &Host, hold: &str) -> Said {
    good(host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    good(host, "two", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v2", "--hold-before-switch", hold]).exits(6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_holds_waits_for_a_promote_also_over_a_restart_of_the_controller() {
    let mut host = Host::start();
    let said = held(&host, "15m");
    assert!(said.out.contains("`cutover promote shop` switches traffic to it"), "{said:#?}");
    let load = load(&host);
    let status = host.status();
    let (open, until) = (&status["deployment"], status["deployment"]["hold_until"].clone());
    assert_eq!((open["status"].as_str(), until.is_string()), (Some("validating"), true), "{open}");
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("it waits: to be promoted for ") && text.contains(" is taken back"), "{text}");
    assert!(host.get("/").contains("x-version: v1"));

    host.kill_controller();
    host.serve();
    let status = host.eventually("it still waits", |status| status["deployment"]["hold_until"].is_string());
    assert_eq!(status["deployment"]["hold_until"], until, "a restart gives no more time");
    let other = host.run(&["promote", "--deployment", "nosuch"]).exits(4);
    assert!(other.err.contains("deployment `nosuch` is not open"), "{other:#?}");
    let said = host.run(&["promote"]).exits(0);
    assert!(said.out.contains("v2 is live"), "{said:#?}");
    assert!(host.get("/").contains("x-version: v2"));
    let again = host.run(&["promote"]).exits(4);
    assert!(again.err.contains("there is nothing to promote: no deployment is open"), "{again:#?}");
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_nobody_promotes_in_time_is_taken_back_and_says_so() {
    let host = Host::start();
    held(&host, "1s");
    let status = host.eventually("it is taken back", |status| status["deployment"]["ended_at"].is_string());
    assert_eq!(status["deployment"]["status"], "rolled_back");
    assert_eq!(status["deployment"]["reason"], "nobody promoted it within 1s");
    assert!(host.get("/").contains("x-version: v1"));
    host.run(&["deploy", "v3", "--hold-before-switch", "0s"]).exits(2);
}
