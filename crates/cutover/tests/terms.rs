//! One deployment at a time, on the terms of whoever asks; ways out of what is stuck; what is told of crash loops.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::process::{Child, Stdio};
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use serde_json::Value;
use support::{CUTOVER, Host, Said, signal};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\ndeadline = \"60s\"\n";
const NO_BAKE: &str = "[rollout]\nbake = \"0s\"\n";

fn good(host: &Host, name: &str, rollout: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}{rollout}"));
}

/// A release that is validated for as long as the test likes.
fn never_healthy(host: &Host) {
    let command = format!("command = [\"{CUTOVER}\", \"sample-application\", \"--never-healthy\"]");
    host.write("cutover.toml", &format!("name = \"shop\"\n{command}\n{QUICK}{NO_BAKE}"));
}

fn deploy(host: &Host, arguments: &[&str]) -> Child {
    let mut command = host.command(&[&["--json", "deploy"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Said {
    child.wait_with_output().unwrap().into()
}

fn queued(status: &Value) -> Vec<&str> {
    status["queue"].as_array().unwrap().iter().map(|queued| queued["version"].as_str().unwrap()).collect()
}

/// `v1` is live, and `v2` is validated until somebody ends it.
fn with_one_open(host: &Host) -> Child {
    good(host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    never_healthy(host);
    let open = deploy(host, &["v2"]);
    host.eventually("v2 is being validated", |status| status["deployment"]["status"] == "validating");
    open
}

#[test]
fn a_queued_deployment_tells_what_it_waits_for_and_begins_when_that_has_ended() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "[rollout]\nbake = \"2s\"\n");
    host.run(&["deploy", "v2", "--wait", "live"]).exits(0);
    good(&host, "three", NO_BAKE);
    let refused = host.run(&["deploy", "v3"]).exits(4);
    for word in ["--end-bake", "--queue"] {
        assert!(refused.err.contains(word), "{refused:#?}");
    }
    let waiting = deploy(&host, &["v3", "--queue"]);
    let status = host.eventually("v3 waits", |status| queued(status) == ["v3"]);
    assert_eq!(status["deployment"]["version"], "v2", "the open one is told of");
    // The same command again follows the one that waits.
    let again = deploy(&host, &["v3", "--queue"]);
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("v3 waits (deployment "), "{text}");
    let (first, second) = (ended(waiting).exits(0), ended(again).exits(0));
    assert_eq!(first.json()["deployment"], second.json()["deployment"]);
    assert!(host.get("/").contains("x-version: v3"));
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    assert_eq!(history["deployments"].as_array().unwrap().len(), 3);
    assert_eq!(history["deployments"][0]["steps"][0]["name"], "queue");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_supersedes_takes_the_open_one_back_and_loses_no_request() {
    let host = Host::start();
    let open = with_one_open(&host);
    let plan = Plan::new(host.address).with(2, Client::keep_alive("/")).with(1, Client::post("/", 500));
    let load = Load::start(plan.pausing(Duration::from_millis(5)));
    good(&host, "three", NO_BAKE);
    let waiting = deploy(&host, &["v3", "--queue"]);
    host.eventually("v3 waits", |status| queued(status) == ["v3"]);
    good(&host, "four", NO_BAKE);
    host.run(&["deploy", "v4", "--supersede"]).exits(0);
    for child in [open, waiting] {
        let said = ended(child).exits(1).json();
        let message = said["message"].as_str().unwrap();
        assert!(message.contains("superseded by `v4` (deployment `"), "{message}");
    }
    assert!(host.get("/").contains("x-version: v4"));
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
}

#[test]
fn an_abort_drops_what_waits_and_can_be_about_that_alone() {
    let host = Host::start();
    let open = with_one_open(&host);
    good(&host, "three", NO_BAKE);
    let waiting = deploy(&host, &["v3", "--queue"]);
    host.eventually("v3 waits", |status| queued(status) == ["v3"]);
    let said = host.run(&["abort", "--only-queue"]).exits(0);
    assert!(said.out.contains("nothing waits any more"), "{said:#?}");
    let dropped = ended(waiting).exits(1).json();
    assert!(dropped["message"].as_str().unwrap().contains("dropped from the queue by"), "{dropped}");
    let empty = host.run(&["abort", "--only-queue"]).exits(4);
    assert!(empty.err.contains("nothing waits in the queue"), "{empty:#?}");
    assert_eq!(host.status()["deployment"]["status"], "validating", "the open one goes on");

    let waiting = deploy(&host, &["v3", "--queue"]);
    host.eventually("v3 waits again", |status| queued(status) == ["v3"]);
    host.run(&["abort"]).exits(0);
    ended(open).exits(1);
    let dropped = ended(waiting).exits(1).json();
    let message = dropped["message"].as_str().unwrap();
    assert!(message.contains("dropped from the queue: deployment `"), "{message}");
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn a_queue_survives_the_controller() {
    let mut host = Host::start();
    let open = with_one_open(&host);
    good(&host, "three", NO_BAKE);
    let waiting = deploy(&host, &["v3", "--queue"]);
    host.eventually("v3 waits", |status| queued(status) == ["v3"]);
    host.kill_controller();
    host.serve();
    let status = host.eventually("v3 waits still, and it is told what was decided", |status| {
        queued(status) == ["v3"] && status["recovery"].is_object()
    });
    let decision = status["recovery"]["decision"].as_str().unwrap();
    assert!(
        decision.contains("of `v2` resumes: its release and its instances are as recorded"),
        "{decision}"
    );
    host.run(&["abort"]).exits(0);
    ended(open).exits(1);
    ended(waiting).exits(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_a_former_release_that_has_died_starts_it_first_and_loses_no_request() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "");
    host.run(&["deploy", "v2"]).exits(0);
    let load = Load::start(
        Plan::new(host.address).with(2, Client::keep_alive("/")).pausing(Duration::from_millis(5)),
    );
    let status = host.status();
    let former = status["environments"]["blue"]["instances"][0]["id"].as_str().unwrap();
    let record = host.state().join("instances").join(former).join("supervisor.json");
    let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    let program = host.program(former);
    signal(u32::try_from(record["pid"].as_u64().unwrap()).unwrap(), "KILL");
    signal(program, "KILL");
    let said = host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"), "{said:#?}");
    assert_eq!(host.status()["status"], "rolled_back");
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_is_stuck_shows_its_ways_out_and_one_can_be_taken() {
    let host = Host::start();
    let nothing = host.run(&["resolve", "shop"]).exits(2);
    assert!(nothing.err.contains("there is no service `shop`"), "{nothing:#?}");
    // The former release works once and never again.
    let marker = host.path("used");
    let script =
        format!("test -e {0} && exit 3; touch {0}; exec {CUTOVER} sample-application", marker.display());
    let command = serde_json::to_string(&["sh", "-c", &script]).unwrap();
    let quick = QUICK.replace("60s", "1s");
    host.write("cutover.toml", &format!("name = \"shop\"\ncommand = {command}\n{quick}{NO_BAKE}"));
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "");
    host.run(&["deploy", "v2"]).exits(0);
    let idle = host.run(&["resolve", "shop"]).exits(0);
    assert!(idle.out.contains("nothing is stuck"), "{idle:#?}");
    let former = host.status()["environments"]["blue"]["instances"][0]["id"].as_str().unwrap().to_owned();
    signal(host.program(&former), "KILL");
    host.eventually("v1 is known to be dead", |status| {
        status["environments"]["blue"]["health"] == "unhealthy"
    });

    let stuck = host.run(&["rollback"]).exits(5);
    assert!(stuck.out.contains("could not be brought back to health"), "{stuck:#?}");
    assert!(host.get("/").contains("x-version: v2"), "traffic is untouched");
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("`cutover resolve` shows the ways out"), "{text}");
    let shown = host.run(&["resolve", "shop"]).exits(5).out;
    for word in ["retry", "keep", "gives up the undo; `v2` on green stays live", "resolve --way WAY"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let wrong = host.run(&["resolve", "shop", "--way", "abandon"]).exits(4);
    assert!(wrong.err.contains("`abandon` is no way out here; `retry` or `keep` would be"), "{wrong:#?}");
    host.run(&["resolve", "shop", "--way", "retry"]).exits(5);
    let kept = host.run(&["--json", "resolve", "shop", "--way", "keep"]).exits(0).json();
    assert_eq!((kept["status"].as_str(), kept["way"].as_str()), (Some("live"), Some("keep")));
    assert!(host.get("/").contains("x-version: v2"));
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    let reason = history["deployments"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("kept live by "), "{reason}");
}

#[test]
fn a_live_program_that_keeps_ending_is_reported_with_its_last_lines() {
    let host = Host::start();
    let marker = host.path("broken");
    let script = format!(
        "test -e {} && {{ echo the database is gone; exit 3; }}; exec {CUTOVER} sample-application",
        marker.display()
    );
    let command = serde_json::to_string(&["sh", "-c", &script]).unwrap();
    host.write("cutover.toml", &format!("name = \"shop\"\ncommand = {command}\n{QUICK}{NO_BAKE}"));
    host.run(&["deploy", "v1"]).exits(0);
    std::fs::write(&marker, "").unwrap();
    let live = host.status()["environments"]["blue"]["instances"][0]["id"].as_str().unwrap().to_owned();
    signal(host.program(&live), "KILL");
    let told = host.eventually("its loop is told", |status| {
        let blue = &status["environments"]["blue"];
        blue["last_lines"].as_array().is_some_and(|lines| !lines.is_empty())
    });
    let reason = told["environments"]["blue"]["health_reason"].as_str().unwrap();
    assert!(reason.contains("its program ended (exit status 3)"), "{reason}");
    assert!(reason.contains("was started again"), "{reason}");
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("| the database is gone"), "{text}");
    std::fs::remove_file(&marker).unwrap();
    host.eventually("it is healed by itself", |status| status["environments"]["blue"]["health"] == "healthy");
}

#[test]
fn a_history_is_as_long_as_it_was_told_to_be() {
    let mut host = Host::without_controller();
    host.serve_as(|mut serve| {
        serve.args(["--keep-deployments", "2", "--keep-history", "0s", "--tidy-every", "100ms"]);
        serve
    });
    for version in ["v1", "v2", "v3", "v4"] {
        good(&host, version, NO_BAKE);
        host.run(&["deploy", version]).exits(0);
    }
    let versions = |host: &Host| -> Vec<String> {
        let history = host.run(&["--json", "history", "shop"]).exits(0).json();
        let deployments = history["deployments"].as_array().unwrap().clone();
        deployments.iter().map(|deployment| deployment["version"].as_str().unwrap().to_owned()).collect()
    };
    support::wait_until("two are left", || versions(&host) == ["v4", "v3"]);
    // What was forgotten is still accounted for.
    host.run(&["journal", "verify"]).exits(0);
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v3"), "what is warm is never removed");
}

#[test]
fn a_journal_that_is_deleted_under_its_controller_is_told_of_and_nothing_more_is_decided() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    std::fs::rename(host.state().join("journal.sqlite"), host.path("kept.sqlite")).unwrap();
    good(&host, "two", NO_BAKE);
    let refused = host.run(&["deploy", "v2"]).exits(4);
    assert!(refused.err.contains("its file was deleted while it was in use"), "{refused:#?}");
    let status = host.run(&["status", "shop"]).exits(0).out;
    assert!(status.contains("nothing can be decided now") && status.contains("deleted"), "{status}");
    assert!(host.get("/").contains("x-version: v1"));
    // Put back, it is the same file again, and the trouble ends by itself.
    std::fs::rename(host.path("kept.sqlite"), host.state().join("journal.sqlite")).unwrap();
    host.eventually("it is noticed", |status| status["journal_trouble"].is_null());
    host.run(&["deploy", "v2"]).exits(0);
}

#[test]
fn an_abort_in_the_bake_does_not_switch_to_a_former_release_that_is_dead() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "");
    host.run(&["deploy", "v2"]).exits(0);
    let former = host.status()["environments"]["blue"]["instances"][0]["id"].as_str().unwrap().to_owned();
    let program = host.program(&former);
    signal(program, "STOP");
    let mut abort = host.command(&["abort"]).stderr(Stdio::null()).spawn().unwrap();
    host.eventually("v1 is brought back to health", |status| {
        status["deployment"]["steps"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(|step| step["name"] == "revive"))
    });
    assert!(host.get("/").contains("x-version: v2"), "traffic is where it was");
    signal(program, "CONT");
    assert!(abort.wait().unwrap().success());
    assert!(host.get("/").contains("x-version: v1"));
}
