//! A controller that stands still, as SIGSTOP or a host short of everything has it do, and goes on later than anybody
//! expects: after its deadlines, or when another one has long taken its place.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cutover_load::{Client, Load, Plan};
use support::journal::{assert_contiguous, sequences};
use support::processes::Processes;
use support::{Host, PATIENCE, Said, wait_until};

/// Longer than a shift may take.
const LONG: Duration = Duration::from_secs(12);

fn configure(host: &Host, version: &str) {
    let quick = "[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"\n";
    host.configure(&format!("[env]\nRELEASE_NAME = \"{version}\"\n{quick}"));
}

fn deploy(host: &Host, version: &str) {
    configure(host, version);
    host.run(&["deploy", version]).exits(0);
}

/// A host on which `v1` is live, under load, and a controller that stands still in the deployment of `v2`.
fn host_that_pauses_at(point: &str) -> (Host, Load, Child) {
    let mut host = Host::start();
    deploy(&host, "v1");
    let plan = Plan::new(host.address)
        .with(1, Client::keep_alive("/"))
        .with(1, Client::fresh("/"))
        .with(1, Client::post("/", 5_000))
        .with(1, Client::slow(Duration::from_millis(50)))
        .pausing(Duration::from_millis(5));
    let load = Load::start(plan);
    host.terminate_controller();
    host.serve_until_it_pauses(point);
    configure(&host, "v2");
    let mut deploy = host.command(&["deploy", "v2"]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    (host, load, deploy)
}

async fn assert_clean(load: Load, host: &Host) {
    let report = load.stop().await;
    assert!(report.is_clean() && report.requests > 100, "{report}\n{}", host.log());
}

/// What it comes to is for the controller to say: it may find the answer in time or not. But it says it, and
/// traffic is where it says.
async fn goes_on_after_the_deadline(point: &str) {
    let (host, load, deploy) = host_that_pauses_at(point);
    let paused = host.wait_for_pause(point);
    let since = Instant::now();
    wait_until("every deadline of a shift is over", || since.elapsed() > LONG);
    drop(paused);
    let said: Said = deploy.wait_with_output().unwrap().into();
    let status = host.eventually("it has ended", |status| status["deployment"]["ended_at"].is_string());
    let (live, reason) = match said.exit {
        0 => ("v2", None),
        1 => ("v1", status["deployment"]["reason"].as_str()),
        _ => panic!("{said:#?}"),
    };
    let expected = if live == "v2" { "live" } else { "rolled_back" };
    assert_eq!(status["status"], expected, "{status:#}");
    assert!(
        live == "v2" || reason.is_some_and(|reason| reason.contains("no answer within 10 s")),
        "{status:#}"
    );
    assert!(host.get("/").contains(&format!("x-version: {live}\r\n")));
    let instances = if live == "v2" { 2 } else { 1 };
    wait_until("nothing runs for nobody", || Processes::of(&host.state()).count() == (instances, instances));
    assert_contiguous(&host.state().join("journal.sqlite"), "shop");
    assert_clean(load, &host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_longer_than_its_deadline_before_a_shift_costs_no_request() {
    goes_on_after_the_deadline("before effect shift#1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_longer_than_its_deadline_after_a_shift_costs_no_request() {
    goes_on_after_the_deadline("before append answered shift#1").await;
}

/// The lock is gone, a second controller has taken over and released `v3`; then the first goes on where it stood.
async fn does_no_harm_once_it_is_replaced(point: &str) {
    let (mut host, load, deploying) = host_that_pauses_at(point);
    let paused = host.wait_for_pause(point);
    let mut first = host.leave_controller();
    std::fs::remove_file(host.state().join("controller.lock")).unwrap();
    host.serve();
    host.eventually("the second takes v2 live", |status| status["status"] == "live");
    deploy(&host, "v3");
    wait_until("v3 and v2 run", || Processes::of(&host.state()).count() == (2, 2));
    let before = Processes::of(&host.state());
    drop(paused);

    let deadline = Instant::now() + PATIENCE;
    while first.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            first.kill().unwrap();
            first.wait().unwrap();
            panic!("the first controller goes on for ever\n{}", host.log());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = deploying.wait_with_output().unwrap();
    let status = host.status();
    assert_eq!(status["status"], "live", "{status:#}");
    assert!(host.get("/").contains("x-version: v3\r\n"));
    wait_until("nothing else runs than before", || Processes::of(&host.state()) == before);
    assert_contiguous(&host.state().join("journal.sqlite"), "shop");
    // The second one is in command.
    let records = sequences(&host.state().join("journal.sqlite"), "shop").len();
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v2\r\n"));
    assert!(sequences(&host.state().join("journal.sqlite"), "shop").len() > records);
    assert_clean(load, &host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_was_replaced_before_it_started_an_instance_does_no_harm() {
    does_no_harm_once_it_is_replaced("before effect provision#1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_was_replaced_before_a_record_does_no_harm() {
    does_no_harm_once_it_is_replaced("before append answered await_healthy#1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_was_replaced_before_a_shift_does_no_harm() {
    does_no_harm_once_it_is_replaced("before effect shift#1").await;
}
