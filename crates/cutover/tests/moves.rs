//! Moves of what is deployed already, and the wait for a person, as people meet them: the real binary under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use support::{Host, Said, wait_until};

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

#[test]
fn an_approval_that_the_file_asks_for_is_waited_for_also_without_a_word_on_the_command_line() {
    let host = Host::start();
    good(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "[rollout]\nbake = \"0s\"\napproval = \"before_shift\"\n");
    let said = host.run(&["deploy", "v2"]).exits(6);
    assert!(said.out.contains("`cutover promote shop` switches traffic to it"), "{said:#?}");
    assert!(host.get("/").contains("x-version: v1"));
    host.run(&["promote"]).exits(0);
    assert!(host.get("/").contains("x-version: v2"));
}

const ROUNDS: &str = "[run]\ninstances = 2\n[rollout]\nbake = \"0s\"\n";

fn instances(status: &serde_json::Value, color: &str) -> Vec<String> {
    let instances = status["environments"][color]["instances"].as_array().unwrap();
    instances.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_exchanges_every_instance_and_fails_no_request_also_of_one_instance_alone() {
    let host = Host::start();
    for (version, count) in [("v1", 2), ("v2", 1)] {
        let rollout = if count == 2 { ROUNDS } else { "[rollout]\nbake = \"0s\"\n" };
        good(&host, version, rollout);
        host.run(&["deploy", version]).exits(0);
        let load = load(&host);
        let status = host.status();
        let live = status["live"].as_str().unwrap().to_owned();
        let (before, pids) = (instances(&status, &live), host.pids("program.json"));
        let said = host.run(&["restart"]).exits(0);
        assert!(said.out.contains(&format!("{version} was restarted on {live}")), "{said:#?}");
        let after = instances(&host.status(), &live);
        assert_eq!(after.len(), count);
        assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
        assert!(host.get("/").contains(&format!("x-version: {version}")));
        assert_eq!(host.pids("program.json").len(), pids.len(), "nothing of the old ones is left");
        let history = host.run(&["--json", "history", "shop"]).exits(0).json();
        assert_eq!(
            (&history["deployments"][0]["kind"], &history["deployments"][0]["status"]),
            (&"restart".into(), &"live".into())
        );
        let report = load.finish().await;
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_under_the_next_controller_and_its_end_by_a_person_leaves_what_serves() {
    let mut host = Host::start();
    good(&host, "one", ROUNDS);
    host.run(&["deploy", "v1"]).exits(0);
    let load = load(&host);
    let before = instances(&host.status(), "blue");
    let mut restart = host.command(&["restart"]).spawn().unwrap();
    host.eventually("it has begun", |status| status["deployment"]["kind"] == "restart");
    host.kill_controller();
    host.serve();
    let status = host.eventually("it ends", |status| {
        status["deployment"]["kind"] == "restart" && status["deployment"]["ended_at"].is_string()
    });
    assert!(restart.wait().unwrap().success());
    assert_eq!(status["deployment"]["status"], "live", "{status:#}");
    assert!(instances(&status, "blue").iter().all(|id| !before.contains(id)));
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_adds_and_takes_away_without_a_failed_request_and_holds_until_a_deploy() {
    let mut host = Host::start();
    good(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    let load = load(&host);
    for count in [3, 2] {
        host.run(&["scale", &count.to_string()]).exits(0);
        let status = host.eventually("all are there", |status| instances(status, "blue").len() == count);
        assert_eq!(status["deployment"]["kind"], "scale");
    }
    host.run(&["scale", "0"]).exits(2);
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
    host.shut_down();
    host.serve();
    host.eventually("they are back", |status| {
        status["environments"]["blue"]["health"] == "healthy" && instances(status, "blue").len() == 2
    });
    good(&host, "two", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v2"]).exits(0);
    assert_eq!(instances(&host.status(), "green").len(), 1, "a deploy brings its own number");
}

#[test]
fn a_stopped_service_answers_503_until_somebody_starts_it_and_nothing_heals_it() {
    let mut host = Host::start();
    good(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v2"]).exits(0);
    let said = host.run(&["stop", "shop", "idle", "--yes"]).exits(0);
    assert!(
        said.err.contains("a rollback to v1 is possible after that, but has to start it first"),
        "{said:#?}"
    );
    host.run(&["stop", "live", "--yes"]).exits(2);
    let asks = host.run(&["stop"]).exits(2);
    assert!(asks.err.contains("nobody is here to say yes") && asks.err.contains("`--yes`"), "{asks:#?}");
    host.run(&["stop", "--yes"]).exits(0);
    assert!(host.get("/").starts_with("HTTP/1.1 503"), "{}", host.get("/"));
    assert_eq!(host.pids("program.json"), Vec::<u32>::new());
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("v2 stopped by "), "{text}");
    host.run(&["stop", "--yes"]).exits(4);
    let refused = host.run(&["scale", "2"]).exits(4);
    assert!(refused.err.contains("`cutover restart` starts it again"), "{refused:#?}");

    host.terminate_controller();
    host.serve();
    assert!(host.get("/").starts_with("HTTP/1.1 503"));
    host.run(&["restart"]).exits(0);
    assert!(host.get("/").contains("x-version: v2"));
    host.run(&["stop", "--yes"]).exits(0);
    host.run(&["deploy", "v2"]).exits(0);
    assert!(host.get("/").contains("x-version: v2"), "the identical release is no reason to stay down");
}

#[test]
fn who_does_not_wait_for_the_end_of_a_stop_is_told_that_it_goes_on() {
    let host = Host::start();
    good(
        &host,
        "one",
        "[rollout]\nbake = \"0s\"\n[run]\nstop_signal = \"SIGWINCH\"\nstop_timeout = \"3s\"\n",
    );
    host.run(&["deploy", "v1"]).exits(0);
    let mut stop = host.command(&["stop", "shop", "--yes"]);
    let stop = stop.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", stop.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
        u64::from_str_radix(caught, 16).unwrap() & 0b10 != 0
    };
    wait_until("it listens for SIGINT", listens);
    support::signal(stop.id(), "INT");
    let said = Said::from(stop.wait_with_output().unwrap()).exits(6);
    assert!(said.err.contains("waiting ended after a signal; what was asked goes on"), "{said:#?}");
    assert!(said.out.contains("`cutover status` tells how far it is"), "{said:#?}");
    wait_until("its instances have ended", || host.pids("program.json").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_an_older_release_says_how_long_it_takes_and_fails_no_request() {
    let host = Host::start();
    for version in ["v1", "v2", "v3"] {
        good(&host, version, "[rollout]\nbake = \"0s\"\n");
        host.run(&["deploy", version]).exits(0);
    }
    let text = host.run(&["history"]).exits(0).out;
    assert!(
        text.contains("`cutover rollback --to VERSION` goes back to v2 (warm), v1 (cold, about "),
        "{text}"
    );
    let unknown = host.run(&["rollback", "--to", "v9", "--yes"]).exits(4);
    assert!(unknown.err.contains("it can go back to v2 (warm), v1 (cold"), "{unknown:#?}");
    let asks = host.run(&["rollback", "--to", "v1"]).exits(2);
    assert!(asks.err.contains("about") && asks.err.contains("`--yes`"), "{asks:#?}");
    let load = load(&host);
    let said = host.run(&["rollback", "--to", "v1", "--yes"]).exits(0);
    assert!(said.err.contains("it is cold and has to be started and checked first, about "), "{said:#?}");
    assert!(host.get("/").contains("x-version: v1"));
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
    // v3 was taken back by that; v2 has left its slot and is still kept.
    let refused = host.run(&["rollback", "--to", "v3", "--yes"]).exits(4);
    assert!(refused.err.contains("it can go back to v2"), "{refused:#?}");
    host.run(&["rollback", "--to", "v2", "--yes"]).exits(0);
    assert!(host.get("/").contains("x-version: v2"));
}

#[test]
fn a_removed_service_is_gone_but_for_its_history_and_can_begin_anew() {
    let mut host = Host::start();
    good(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    host.run(&["remove", "shop"]).exits(2);
    assert!(host.get("/").contains("x-version: v1"), "nobody has said yes");
    host.run(&["remove", "shop", "--yes"]).exits(0);
    assert!(!host.get("/").contains("x-version"), "{}", host.get("/"));
    assert_eq!(host.pids("program.json"), Vec::<u32>::new());
    let all = host.run(&["--json", "status", "shop"]).exits(2);
    assert!(all.err.contains("service `shop` was removed by "), "{all:#?}");
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    let id = history["deployments"][0]["deployment"].as_str().unwrap().to_owned();
    host.run(&["show", &id, "--service", "shop"]).exits(0);
    host.run(&["remove", "shop", "--yes"]).exits(2);
    host.terminate_controller();
    host.serve();
    host.run(&["deploy", "v1"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
    assert_eq!(host.status()["deployment"]["version"], "v1");
}

/// `v2` on green is live and `v1` on blue is warm and known to be healthy.
fn warm(host: &Host, health: &str) {
    for version in ["v1", "v2"] {
        good(host, version, &format!("{health}[rollout]\nbake = \"0s\"\n"));
        host.run(&["deploy", version]).exits(0);
    }
    host.eventually("what is idle is known to be well", |status| {
        status["environments"]["blue"]["health"] == "healthy"
    });
}

/// How many of so many requests `v1` has answered; `v2` has answered the others.
fn answered_by_v1(host: &Host, requests: usize) -> usize {
    let answers: Vec<String> = (0..requests).map(|_| host.get("/")).collect();
    let by = |version: &str| answers.iter().filter(|answer| answer.contains(version)).count();
    let (one, two) = (by("x-version: v1"), by("x-version: v2"));
    assert_eq!(one + two, requests, "{answers:?}");
    one
}

fn weights(status: &serde_json::Value) -> (u64, u64) {
    let weight = |color: &str| status["environments"][color]["weight"].as_u64().unwrap();
    (weight("blue"), weight("green"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_goes_to_what_is_warm_and_back_or_all_of_it_without_a_failed_request() {
    let mut host = Host::start();
    warm(&host, "");
    let load = load(&host);
    assert_eq!(answered_by_v1(&host, 20), 0);
    let said = host.run(&["traffic", "shop", "idle=20"]).exits(0);
    assert!(said.out.contains("20 % of new requests go to v1 on blue"), "{said:#?}");
    let one = answered_by_v1(&host, 300);
    assert!(one > 0 && one < 150, "{one} of 300 is about 20 %");
    assert_eq!(weights(&host.status()), (20, 80));

    for verb in [&["deploy", "v3"][..], &["restart"], &["scale", "2"], &["stop", "shop", "idle", "--yes"]] {
        good(&host, "three", "");
        let said = host.run(verb).exits(4);
        assert!(said.err.contains("traffic is split: 20 % goes to blue"), "{said:#?}");
        assert!(said.err.contains("`cutover traffic blue=0` ends the split"), "{said:#?}");
    }
    let said = host.run(&["traffic", "idle=100"]).exits(4);
    assert!(said.err.contains("would be a switch") && said.err.contains("`cutover rollback`"), "{said:#?}");

    let said = host.run(&["traffic", "live=100"]).exits(0);
    assert!(said.out.contains("everything goes to green"), "{said:#?}");
    assert_eq!(answered_by_v1(&host, 50), 0);
    let said = host.run(&["traffic", "green=100"]).exits(4);
    assert!(said.err.contains("traffic is not split: everything goes to green"), "{said:#?}");

    // Live is the one that is live also with the smaller part, and also for the next controller.
    host.run(&["traffic", "blue=60"]).exits(0);
    host.kill_controller();
    host.serve();
    let status = host.status();
    assert_eq!((weights(&status), status["live"].as_str()), ((60, 40), Some("green")));
    assert!(answered_by_v1(&host, 100) > 20);
    host.run(&["rollback"]).exits(0);
    assert_eq!(answered_by_v1(&host, 50), 50);
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    let kinds: Vec<_> = history["deployments"].as_array().unwrap().iter().map(|d| &d["kind"]).collect();
    assert_eq!(kinds, ["rollback", "traffic", "traffic", "traffic", "deploy", "deploy"]);
    let receipt = &history["deployments"][1]["receipts"][0]["weights"];
    assert_eq!((&receipt["blue"], &receipt["green"]), (&60.into(), &40.into()));
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_loses_its_health_with_a_share_of_the_traffic_loses_the_share_and_status_says_why() {
    let host = Host::start();
    // Sooner than a client gives up.
    warm(&host, "timeout = \"1s\"\n");
    let load = load(&host);
    host.run(&["traffic", "idle=50"]).exits(0);
    let sick = instances(&host.status(), "blue").remove(0);
    // It hangs: what was sent to it already is answered once it goes on.
    support::signal(host.program(&sick), "STOP");
    let status = host.eventually("traffic is live's alone", |status| weights(status) == (0, 100));
    support::signal(host.program(&sick), "CONT");
    let told = status["recovery"]["decision"].as_str().unwrap();
    assert!(told.starts_with("blue, which shared the traffic, lost its share: "), "{told}");
    assert_eq!(status["deployment"]["actor"], "the controller");
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("lost its share"), "{text}");
    assert_eq!(answered_by_v1(&host, 50), 0);
    let report = load.finish().await;
    assert!(report.is_clean(), "{report}");
}
