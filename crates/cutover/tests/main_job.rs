//! The main job through the real binary, under load: deploy, validate, switch, roll back, with no failed request.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use cutover_load::{Client, Load, Plan, Report};
use support::{CUTOVER, Host, PATIENCE, copy_tree, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";

fn release(host: &Host, name: &str, rollout: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n[run]\ninstances = 2\n{QUICK}{rollout}"));
}

fn mixed(host: &Host) -> Plan {
    Plan::new(host.address)
        .with(3, Client::keep_alive("/"))
        .with(1, Client::fresh("/"))
        .with(2, Client::post("/", 20_000))
        .with(1, Client::slow(Duration::from_millis(50)))
        .pausing(Duration::from_millis(2))
}

async fn some_traffic(load: &Load) {
    let before = load.report().requests;
    let more = load.wait_for(PATIENCE, |report| report.requests > before + 200).await;
    assert!(more.is_ok(), "the load stands still");
}

fn assert_clean(report: &Report, host: &Host) {
    assert!(report.is_clean(), "{report}\n{}", host.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_knows_nothing_of_cutover_is_deployed_switched_and_rolled_back_without_a_failure() {
    let host = Host::start();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/static-site");
    copy_tree(&example, &host.path("application"));
    host.write("site/index.html", "this is the first\n");
    host.run(&["deploy", "v1"]).exits(0);
    assert!(host.get("/").ends_with("this is the first\n"));

    // Python's server speaks HTTP/1.0 and takes no POST.
    let plan = Plan::new(host.address)
        .with(2, Client::keep_alive("/"))
        .with(2, Client::fresh("/"))
        .pausing(Duration::from_millis(2));
    let load = Load::start(plan);
    some_traffic(&load).await;
    host.write("site/index.html", "this is the second\n");
    host.run(&["deploy", "v2"]).exits(0);
    assert!(host.get("/").ends_with("this is the second\n"));
    some_traffic(&load).await;
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").ends_with("this is the first\n"));
    some_traffic(&load).await;
    assert_clean(&load.stop().await, &host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_and_none_goes_to_the_old_environment_once_a_command_has_returned() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    let load = Load::start(mixed(&host));
    load.expect("blue");
    some_traffic(&load).await;

    release(&host, "two", "");
    load.expect_nothing();
    let said = host.run(&["--json", "deploy", "v2"]).exits(0).json();
    load.expect("green");
    assert_eq!((said["success"].as_bool(), said["status"].as_str()), (Some(true), Some("live")));
    some_traffic(&load).await;

    load.expect_nothing();
    let said = host.run(&["--json", "rollback"]).exits(0).json();
    load.expect("blue");
    assert_eq!(said["status"].as_str(), Some("rolled_back"));
    some_traffic(&load).await;

    let report = load.stop().await;
    assert_clean(&report, &host);
    assert!(report.judged > 0 && report.answered_by("green") > 0, "{report}");

    let status = host.status();
    assert_eq!(status["live"], "blue");
    assert_eq!(status["environments"]["blue"]["version"], "v1");
    assert_eq!(status["environments"]["blue"]["weight"], 100);
    assert_eq!(status["environments"]["blue"]["instances"].as_array().unwrap().len(), 2);
    assert_eq!(status["rollback"]["ready"], false, "nothing goes back to what was taken back: {status:#}");
    host.run(&["rollback"]).exits(4);

    let history = host.run(&["--json", "history"]).exits(0).json();
    let deployments = history["deployments"].as_array().unwrap();
    let told: Vec<_> = deployments.iter().map(|d| (d["version"].as_str(), d["status"].as_str())).collect();
    assert_eq!(told, [(Some("v2"), Some("rolled_back")), (Some("v1"), Some("live"))]);
    assert_eq!(deployments[0]["reason"], "rolled back by hand");
    assert_eq!(deployments[0]["receipts"].as_array().unwrap().len(), 2);
    let id = deployments[0]["deployment"].as_str().unwrap();
    let shown = host.run(&["show", id]).exits(0).out;
    assert!(shown.contains("✓ switch") && shown.contains("receipt of epoch "), "{shown}");
}

#[test]
fn a_rollback_after_the_bake_is_a_deployment_of_its_own_and_works_warm_and_cold() {
    let host = Host::start();
    let quick = "[rollout]\nbake = \"0s\"\nstandby = \"1h\"\n";
    release(&host, "one", quick);
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", quick);
    host.run(&["deploy", "v2"]).exits(0);
    let status = host.status();
    assert_eq!(
        (status["rollback"]["ready"].as_bool(), status["rollback"]["warm"].as_bool()),
        (Some(true), Some(true))
    );
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
    let history = host.run(&["--json", "history"]).exits(0).json();
    assert_eq!(history["deployments"][0]["kind"], "rollback");
    assert_eq!(history["deployments"][1]["status"], "live");
    assert_eq!(history["deployments"][1]["undone_by"], history["deployments"][0]["deployment"]);

    release(&host, "three", "[rollout]\nbake = \"0s\"\nstandby = \"0s\"\n");
    host.run(&["deploy", "v3"]).exits(0);
    let cold = host.eventually("the former release is stopped", |status| {
        status["environments"]["blue"]["instances"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(
        (cold["rollback"]["ready"].as_bool(), cold["rollback"]["warm"].as_bool()),
        (Some(true), Some(false))
    );
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
    let live = host.status()["environments"]["blue"]["instances"][0]["id"].as_str().unwrap().to_owned();
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", host.program(&live))).unwrap();
    assert!(environment.contains("RELEASE_NAME=one\0"), "with the configuration it had: {environment}");
}

#[test]
fn memory_pressure_takes_the_idle_before_the_live_and_the_proxy_last() {
    let host = Host::start();
    release(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v2"]).exits(0);
    let score = |pid: u32| -> i32 {
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
    };
    let of = |color: &str| {
        let status = host.status();
        let id = status["environments"][color]["instances"][0]["id"].as_str().unwrap().to_owned();
        score(host.program(&id))
    };
    wait_until("blue is idle and green live", || of("blue") > of("green"));
    assert!(of("green") > score(host.proxy_pid().unwrap()));
}

#[test]
fn identical_content_is_live_already_and_the_same_version_with_other_content_is_said_aloud() {
    let host = Host::start();
    release(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    let again = host.run(&["deploy", "v1"]).exits(0);
    assert!(again.out.contains("already live"), "{again:?}");
    assert_eq!(host.run(&["--json", "deploy", "v1"]).exits(0).json()["message"], "already live");
    release(&host, "other", "[rollout]\nbake = \"0s\"\n");
    let other = host.run(&["deploy", "v1"]).exits(0);
    assert!(other.err.contains("`v1` has other content"), "{other:?}");
}

#[test]
fn a_deploy_during_a_bake_is_refused_and_names_the_way_through_and_what_it_costs() {
    let host = Host::start();
    release(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", "");
    host.run(&["deploy", "v2"]).exits(0);
    release(&host, "three", "");
    let refused = host.run(&["deploy", "v3"]).exits(4);
    assert!(refused.err.contains("--end-bake") && refused.err.contains("`v1`"), "{refused:?}");
    host.run(&["deploy", "v3", "--end-bake"]).exits(0);
    assert!(host.get("/").contains("x-version: v3"));
}

#[test]
fn a_detached_deployment_goes_on_and_the_same_command_follows_it() {
    let host = Host::start();
    // Healthy after a second and a half: time to look away.
    host.configure("[health]\ninterval = \"500ms\"\nrise = 4\n[rollout]\nbake = \"0s\"\n");
    let deploy = host.command(&["deploy", "v1"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("the deployment is open", || {
        host.run(&["--json", "status", "shop"]).json()["deployment"]["status"] == "validating"
    });
    support::signal(deploy.id(), "INT");
    let said: support::Said = deploy.wait_with_output().unwrap().into();
    let said = said.exits(6);
    assert!(said.err.contains("the deployment goes on") && said.err.contains("cutover abort"), "{said:?}");
    let again = host.run(&["--json", "deploy", "v1"]).exits(0);
    assert!(again.err.contains("following it") || again.json()["message"] == "already live", "{again:?}");
    assert!(host.get("/").contains("x-version: v1"));
    let history = host.run(&["--json", "history"]).json();
    assert_eq!(history["deployments"].as_array().unwrap().len(), 1, "one deployment, followed twice");
}

#[test]
fn a_deployment_in_its_bake_is_followed_by_the_same_command_when_its_end_is_waited_for() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", "[rollout]\nbake = \"3s\"\n");
    host.run(&["deploy", "v2", "--wait", "done", "--timeout", "1s"]).exits(6);
    let again = host.run(&["--json", "deploy", "v2", "--wait", "done"]).exits(0);
    assert!(again.err.contains("following its bake"), "{again:?}");
    assert!(host.status()["deployment"]["ended_at"].is_string());
    assert_eq!(host.run(&["--json", "deploy", "v2"]).exits(0).json()["message"], "already live");
}

#[test]
fn shutdown_ends_everything_and_serve_brings_back_what_was_live() {
    let mut host = Host::start();
    release(&host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    let programs = host.pids("program.json");
    assert_eq!(programs.len(), 2);
    host.run(&["shutdown"]).exits(0);
    wait_until("no program is left", || {
        programs.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
    assert!(std::net::TcpStream::connect(host.address).is_err());
    host.run(&["status"]).exits(3);
    host.serve();
    // Until it can answer, clients are refused.
    wait_until("clients are accepted", || std::net::TcpStream::connect(host.address).is_ok());
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn the_demo_tells_its_story_in_one_object_and_loses_no_request() {
    let output = std::process::Command::new(CUTOVER).args(["demo", "--json"]).output().unwrap();
    let said = support::Said::from(output).exits(0);
    let report = said.json();
    assert_eq!((report["v"].as_u64(), report["failed"].as_u64()), (Some(1), Some(0)));
    assert!(report["requests"].as_u64().unwrap() > 1000);
    assert_eq!(report["live_version"], "v3");
    let acts = report["deployments"].as_array().unwrap();
    let told: Vec<_> =
        acts.iter().map(|act| (act["version"].as_str().unwrap(), act["status"].as_str().unwrap())).collect();
    assert_eq!(told, [("v1", "live"), ("v2", "rolled_back"), ("v3", "live"), ("v4", "rolled_back")]);
    assert_eq!(acts[1]["reason"], "rolled back by hand");
    assert!(acts[3]["reason"].as_str().unwrap().contains("was not healthy within 2s"));
}
