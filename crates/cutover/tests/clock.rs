//! A host's clock that is set by an hour, forward and back, while the controller runs and while it does not.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use serde_json::Value;
use support::crashing::Paused;
use support::wall_clock::{WallClock, forget};
use support::{Host, PATIENCE, Said, journal, signal, wait_until};

const HOUR: i64 = 3600;
const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";
const NO_BAKE: &str = "[rollout]\nbake = \"0s\"\n";

/// A host on which `v1` is live and the controller lives by a clock that can be set.
fn host() -> (Host, WallClock) {
    let mut host = Host::start();
    deploy(&host, "v1", NO_BAKE);
    let clock = WallClock::new(host.path("clock"));
    // The proxy was started by the clock of everybody.
    host.terminate_controller();
    serve(&mut host, &clock);
    (host, clock)
}

fn serve(host: &mut Host, clock: &WallClock) {
    host.serve_as(|mut serve| {
        serve.env("CUTOVER_LOG", "debug");
        clock.apply(serve)
    });
}

fn kill(host: &mut Host) {
    let pid = host.controller_pid();
    host.kill_controller();
    forget(pid);
}

fn configure(host: &Host, version: &str, more: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{version}\"\n{QUICK}{more}"));
}

fn deploy(host: &Host, version: &str, more: &str) {
    configure(host, version, more);
    host.run(&["deploy", version, "--wait", "live"]).exits(0);
}

fn load(host: &Host) -> Load {
    let mut plan = Plan::new(host.address)
        .with(1, Client::keep_alive("/"))
        .with(1, Client::fresh("/"))
        .with(1, Client::post("/", 5_000))
        .pausing(Duration::from_millis(5));
    // A proxy that stands still is waited for.
    plan.timeout = PATIENCE;
    Load::start(plan)
}

async fn assert_clean(load: Load, host: &Host) {
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}\n{}", host.log());
}

/// Fails the test unless no record is told to be older than the one before it.
fn assert_in_order(host: &Host) {
    let records = journal::records(&host.state().join("journal.sqlite"), "shop");
    let moments: Vec<u64> = records.iter().map(|record| record["at"].as_u64().unwrap()).collect();
    assert!(moments.is_sorted(), "{moments:?}");
}

/// Waits until the controller's log has a line whose time of day is that far from now.
fn wait_until_it_lives_at(host: &Host, offset: i64) {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    wait_until("the controller is told the other time", || {
        host.log().lines().filter_map(seconds_of_day).any(|told| {
            let day = 24 * HOUR;
            let real = now().cast_signed() % day;
            (told - real - offset).rem_euclid(day).min((real + offset - told).rem_euclid(day)) < 120
        })
    });
}

/// The time of day with which a line of the log begins, such as `2026-01-31T12:34:56.789Z`.
fn seconds_of_day(line: &str) -> Option<i64> {
    let time = line.split('T').nth(1)?.get(..8)?;
    let parts: Vec<i64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    Some(hours * HOUR + minutes * 60 + seconds)
}

/// Waits until the controller has looked at what rests, which it shows by replacing supervisors that were killed.
fn wait_for_a_look(host: &Host) {
    let last = host.pids("supervisor.json");
    for pid in &last {
        signal(*pid, "KILL");
    }
    wait_until("a look has passed", || {
        let now = host.pids("supervisor.json");
        now.len() == last.len() && now.iter().all(|pid| !last.contains(pid))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_forward_in_the_bake_does_not_end_it() {
    let (mut host, clock) = host();
    deploy(&host, "v2", "[rollout]\nbake = \"10m\"\n");
    let load = load(&host);
    let before = host.status();
    clock.set(HOUR);
    wait_for_a_look(&host);
    wait_until_it_lives_at(&host, HOUR);
    let after = host.status();
    assert!(after["deployment"]["ended_at"].is_null(), "{after:#}");
    assert_eq!(after["deployment"]["bake_until"], before["deployment"]["bake_until"]);
    let ahead = after["clock_ahead_seconds"].as_i64().unwrap();
    assert!((3_540..=3_660).contains(&ahead), "{ahead}");
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("behind the host's clock, which was set"), "{text}");
    assert_eq!(after["rollback"]["warm"], true, "{after:#}");
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
    assert_clean(load, &host).await;
    assert_in_order(&host);
    kill(&mut host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_back_while_an_effect_hangs_does_not_have_it_waited_for_longer() {
    let (mut host, clock) = host();
    let load = load(&host);
    host.configure("[env]\nRELEASE_NAME = \"v2\"\n[health]\ninterval = \"300ms\"\nrise = 4\n");
    let deploy = host.command(&["deploy", "v2"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    host.eventually("v2 is being validated", |status| status["deployment"]["status"] == "validating");
    // A proxy that stands still holds the shift open.
    let proxy = host.proxy_pid().unwrap();
    let paused = Paused::now(proxy);
    host.eventually("v2 is being shifted to", |status| status["deployment"]["status"] == "shifting");
    clock.set(-HOUR);
    host.eventually("the shift is given up", |status| status["deployment"]["status"] == "rolling_back");
    wait_until_it_lives_at(&host, -HOUR);
    drop(paused);
    host.eventually("v2 is taken back", |status| status["status"] == "rolled_back");
    let said: Said = deploy.wait_with_output().unwrap().into();
    assert!(said.exits(1).err.contains("no answer within 10 s"));
    assert!(host.get("/").contains("x-version: v1"));
    assert_clean(load, &host).await;
    assert_in_order(&host);
    kill(&mut host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_started_again_with_the_clock_an_hour_off_goes_on_in_order() {
    let (mut host, clock) = host();
    let load = load(&host);
    for (version, seconds) in [("v2", -HOUR), ("v3", HOUR), ("v4", 0)] {
        let slow = "[health]\ninterval = \"300ms\"\nrise = 4\n[rollout]\nbake = \"2s\"\n";
        host.configure(&format!("[env]\nRELEASE_NAME = \"{version}\"\n{slow}"));
        let deploy = host.command(&["deploy", version, "--wait", "done"]).spawn().unwrap();
        host.eventually("it is being validated", |status| status["deployment"]["status"] == "validating");
        kill(&mut host);
        clock.set(seconds);
        serve(&mut host, &clock);
        host.eventually("it is live", |status| status["status"] == "live");
        assert!(host.get("/").contains(&format!("x-version: {version}\r\n")));
        // The clock goes back, or forward, once more, now within the bake, which ends all the same.
        kill(&mut host);
        clock.set(-seconds);
        serve(&mut host, &clock);
        let ended = |status: &Value| status["deployment"]["ended_at"].is_string();
        host.eventually("the bake is over", ended);
        Said::from(deploy.wait_with_output().unwrap()).exits(0);
    }
    assert_clean(load, &host).await;
    assert_in_order(&host);
    let history = host.run(&["--json", "history"]).exits(0).json();
    let told = history["deployments"].as_array().unwrap().clone();
    let field = |name: &str| -> Vec<String> {
        told.iter().map(|deployment| deployment[name].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(field("version"), ["v4", "v3", "v2", "v1"]);
    assert_eq!(field("status"), ["live"; 4]);
    assert!(field("started_at").is_sorted_by(|newer, older| newer >= older), "{:?}", field("started_at"));
    kill(&mut host);
}
