//! Rescue without a controller.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use serde_json::Value;
use support::data_plane::{admin, kill_instances, route};
use support::{CUTOVER, Host, PATIENCE, Said, signal, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\n";
const BREAK: &[&str] = &["rollback", "--break-glass"];
const BREAK_YES: &[&str] = &["rollback", "--break-glass", "--yes"];

fn release(host: &Host, name: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n[run]\ninstances = 2\n{QUICK}"));
}

/// v2 is live on green and in its bake, v1 is warm on blue.
fn baking() -> Host {
    let host = Host::start();
    release(&host, "one");
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two");
    host.run(&["deploy", "v2"]).exits(0);
    assert!(host.get("/").contains("x-version: v2"));
    host
}

/// As [`baking`], with its controller dead.
fn without_controller() -> Host {
    let mut host = baking();
    host.kill_controller();
    host
}

#[track_caller]
fn tells(said: &Said, words: &[&str]) {
    for word in words {
        assert!(said.err.contains(word), "`{word}` is missing: {said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_was_killed_in_the_bake_is_not_needed_to_move_traffic_back_without_a_failure() {
    let mut host = baking();
    let load = Load::start(
        Plan::new(host.address)
            .with(3, Client::keep_alive("/"))
            .with(1, Client::fresh("/"))
            .with(2, Client::post("/", 20_000))
            .pausing(Duration::from_millis(2)),
    );
    load.expect("green");
    let more = async |count: u64| {
        let before = load.report().requests;
        let moved = load.wait_for(PATIENCE, |report| report.requests > before + count).await;
        assert!(moved.is_ok(), "the load stands still");
    };
    more(200).await;
    host.kill_controller();
    let before = route(&host, "shop")["epoch"].as_u64().unwrap();
    load.expect_nothing();
    let said = host.run(&["--json", "rollback", "--break-glass", "--yes"]).exits(0);
    load.expect("blue");
    more(200).await;
    // The controller comes back and makes it the truth, in the bake.
    host.serve();
    let status = host.eventually("it is adopted", |status| status["status"] == "rolled_back");
    let decision = status["recovery"]["decision"].as_str().unwrap();
    assert!(decision.contains("moved to blue by hand"), "{decision}");
    assert_eq!(status["live"], "blue");
    more(200).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.answered_by("green") > 0 && report.answered_by("blue") > 0, "{report}");

    tells(&said, &["from  green  v2 (release ", "to    blue   v1 (release ", "2 instances, 2 healthy"]);
    let object = said.json();
    assert_eq!((object["v"].as_u64(), object["success"].as_bool()), (Some(1), Some(true)));
    assert_eq!(
        (object["to"]["environment"].as_str(), object["to"]["version"].as_str()),
        (Some("blue"), Some("v1"))
    );
    assert_eq!(object["epoch"].as_u64(), Some(before + 65_536));
    assert!(
        route(&host, "shop")["epoch"].as_u64() > Some(before + 65_536),
        "the controller speaks with a newer one"
    );
    let notes = std::fs::read_to_string(host.state().join("break-glass.jsonl")).unwrap();
    let note: Value = serde_json::from_str(notes.trim_end()).unwrap();
    assert_eq!((note["service"].as_str(), note["to"].as_str()), (Some("shop"), Some("blue")));
    assert_eq!(note["epoch"].as_u64(), Some(before + 65_536));
    assert!(note["actor"].is_string() && note["at"].is_string(), "{note}");
}

#[test]
fn what_was_moved_by_hand_after_the_bake_is_a_rollback_in_the_history_also_under_a_controller_that_lives() {
    let host = Host::start();
    for name in ["v1", "v2"] {
        host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}[rollout]\nbake = \"0s\"\n"));
        host.run(&["deploy", name]).exits(0);
    }
    wait_until("v1 is known to be well", || host.run(&[BREAK_YES, &["--force"]].concat()).exit == 0);
    let status = host.eventually("a look adopts it", |status| status["live"] == "blue");
    let decision = status["recovery"]["decision"].as_str().unwrap();
    assert!(decision.contains("moved to blue by hand"), "{decision}");
    assert!(host.get("/").contains("x-version: v1"));
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    let newest = &history["deployments"][0];
    assert_eq!((newest["kind"].as_str(), newest["status"].as_str()), (Some("rollback"), Some("live")));
}

#[test]
fn what_was_moved_by_hand_stays_moved_when_the_proxy_starts_again() {
    let host = without_controller();
    host.run(BREAK_YES).exits(0);
    let epoch = route(&host, "shop")["epoch"].clone();
    signal(host.proxy_pid().unwrap(), "KILL");
    wait_until("the proxy is gone", || std::net::TcpStream::connect(host.address).is_err());
    // Without a controller somebody has to start it by hand.
    let seed = host.path("listen.toml");
    std::fs::write(&seed, format!("[listen]\nhttp = [\"{}\"]\n", host.address)).unwrap();
    let mut proxy = Command::new(CUTOVER)
        .args(["proxy", "--workers", "1", "--table"])
        .arg(&seed)
        .arg("--admin")
        .arg(host.state().join("proxy/admin.sock"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("a proxy runs again", || host.proxy_pid() == Some(proxy.id()));
    assert!(host.get("/").contains("x-version: v1"));
    assert_eq!(route(&host, "shop")["epoch"], epoch);
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

#[test]
fn a_full_disk_does_not_keep_it_from_moving_traffic() {
    let host = without_controller();
    let files = ["proxy/admin.table.0.json", "proxy/admin.table.1.json", "break-glass.jsonl"];
    for name in files {
        let file = host.state().join(name);
        let _ = std::fs::remove_file(&file);
        std::os::unix::fs::symlink("/dev/full", file).unwrap();
    }
    let said = host.run(BREAK_YES);
    let answer = host.get("/");
    for name in files {
        std::fs::remove_file(host.state().join(name)).unwrap();
    }
    tells(&said.exits(0), &["break-glass.jsonl", "could not be written", "No space left"]);
    assert!(answer.contains("x-version: v1"), "{answer}");
}

#[test]
fn a_controller_that_answers_is_left_to_do_it_and_one_that_hangs_is_gone_past() {
    let host = baking();
    let said = host.run(BREAK_YES).exits(4);
    tells(&said, &[&format!("(pid {}) answers", host.controller_pid()), "`cutover rollback`", "--force"]);
    assert!(host.get("/").contains("x-version: v2"));
    signal(host.controller_pid(), "STOP");
    let said = host.run(BREAK_YES);
    let answer = host.get("/");
    signal(host.controller_pid(), "CONT");
    said.exits(0);
    assert!(answer.contains("x-version: v1"), "{answer}");
}

#[test]
fn what_would_be_a_guess_is_refused_and_traffic_stays() {
    let host = without_controller();
    tells(&host.run(&[BREAK_YES, &["other"]].concat()).exits(4), &["no service `other`", "it routes: shop"]);
    let said = host.run(&["--json", "rollback", "--break-glass", "--yes", "other"]).exits(4).json();
    assert_eq!((said["success"].as_bool(), said["exit"].as_u64()), (Some(false), Some(4)));

    admin(&host, "PATCH", "/v1/services/shop/weights", r#"{"blue":50,"green":50}"#);
    tells(&host.run(&[BREAK_YES, &["--force"]].concat()).exits(4), &["split: blue 50 %, green 50 %"]);
    admin(&host, "PATCH", "/v1/services/shop/weights", r#"{"blue":0,"green":100}"#);

    kill_instances(&host, "shop", "blue");
    wait_until("the probes have noticed", || {
        let seen = admin(&host, "GET", "/v1/stats", "");
        let instances = seen["instances"].as_array().unwrap();
        instances.iter().filter(|instance| instance["in_rotation"] == false).count() == 2
    });
    tells(&host.run(BREAK_YES).exits(4), &["2 instances, 0 healthy", "--force"]);
    assert!(host.get("/").contains("x-version: v2"));
    host.run(&[BREAK_YES, &["--force"]].concat()).exits(0);
    assert!(host.get("/").starts_with("HTTP/1.1 502"), "who insists gets it");
    tells(
        &host.run(BREAK_YES).exits(4),
        &["was moved to v1 on blue by breaking the glass already", "--force"],
    );
    host.run(&[BREAK_YES, &["--force"]].concat()).exits(0);
    assert!(host.get("/").contains("x-version: v2"), "and the way back is the same");
}

#[test]
fn what_an_ordinary_rollback_has_taken_back_is_not_brought_back_while_it_drains() {
    let mut host = baking();
    let mut held = std::net::TcpStream::connect(host.address).unwrap();
    write!(held, "GET /slow?ms=600000 HTTP/1.1\r\nhost: shop\r\n\r\n").unwrap();
    let in_flight = || {
        let seen = admin(&host, "GET", "/v1/stats", "");
        seen["instances"].as_array().unwrap().iter().any(|instance| instance["in_flight"] == 1)
    };
    wait_until("v2 has a request that takes its time", in_flight);
    host.run(&["rollback"]).exits(0);
    host.kill_controller();
    assert_eq!(route(&host, "shop")["green"].as_array().unwrap().len(), 2, "v2 is still there");
    let said = host.run(BREAK_YES).exits(4);
    tells(&said, &["v2 on green of `shop` was taken back", "traffic is on v1 on blue", "--force"]);
    assert!(host.get("/").contains("x-version: v1"));
    // What cannot be read says nothing, and fails nothing.
    let journal = host.state().join("journal.sqlite");
    let elsewhere = host.path("journal");
    std::fs::rename(&journal, &elsewhere).unwrap();
    let said = host.run(BREAK_YES);
    std::fs::rename(&elsewhere, &journal).unwrap();
    said.exits(0);
    assert!(host.get("/").contains("x-version: v2"));
    host.run(&[BREAK_YES, &["--force"]].concat()).exits(0);
    support::journal::damage(&journal, "UPDATE latest SET state = '{' WHERE service = 'shop'");
    tells(&host.run(BREAK_YES).exits(4), &["by breaking the glass already"]);
    std::fs::remove_file(host.state().join("break-glass.jsonl")).unwrap();
    let said = host.run(BREAK_YES);
    let repair =
        "UPDATE latest SET state = (SELECT record -> 'state' FROM journal WHERE sequence = latest.sequence)";
    support::journal::damage(&journal, repair);
    said.exits(0);
    assert!(host.get("/").contains("x-version: v2"));
    drop(held);
}

#[test]
fn without_a_former_release_or_without_a_proxy_it_says_so() {
    let mut host = Host::start();
    tells(&host.run(&[BREAK_YES, &["--force"]].concat()).exits(4), &["routes no service"]);
    release(&host, "one");
    host.run(&["deploy", "v1"]).exits(0);
    host.kill_controller();
    tells(&host.run(BREAK_YES).exits(4), &["no instance of `shop` on green", "cutover serve"]);
    signal(host.proxy_pid().unwrap(), "KILL");
    wait_until("the proxy is gone", || host.proxy_pid().is_none());
    tells(&host.run(BREAK_YES).exits(3), &["the proxy cannot be reached", "cutover serve"]);
}

/// Runs a verb on a terminal of its own, where somebody types this line.
fn on_terminal(host: &Host, line: &str, arguments: &[&str]) -> Said {
    const TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
os.write(terminal, sys.argv[1].encode() + b'\\n')
said = b''
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    said += piece
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let output = Command::new("python3")
        .args(["-c", TERMINAL, line, CUTOVER])
        .args(arguments)
        .current_dir(host.path("application"))
        .env("CUTOVER_STATE_DIR", host.state())
        .output();
    output.unwrap().into()
}

#[test]
fn it_is_not_done_before_somebody_has_said_yes() {
    let host = without_controller();
    tells(&host.run(BREAK).exits(2), &["all traffic of `shop` will be moved", "nobody is here", "--yes"]);
    host.run(&["--json", "rollback", "--break-glass"]).exits(2);
    host.run(&["rollback", "--yes"]).exits(2);
    for answer in ["no", "", "nonsense"] {
        let said = on_terminal(&host, answer, BREAK).exits(4);
        assert!(said.out.contains("type `yes`") && said.out.contains("nothing was moved"), "{said:#?}");
    }
    assert!(host.get("/").contains("x-version: v2"));
    let said = on_terminal(&host, "yes", BREAK).exits(0);
    for words in ["from  green  v2", "to    blue   v1", "2 instances, 2 healthy", "adopts this"] {
        assert!(said.out.contains(words), "{said:#?}");
    }
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn what_the_proxy_says_is_kept_small_while_it_runs() {
    let host = baking();
    let log = host.state().join("proxy/proxy.log");
    let line = "x".repeat(1023) + "\n";
    let mut file = std::fs::File::options().append(true).open(&log).unwrap();
    file.write_all(line.repeat(9 * 1024).as_bytes()).unwrap();
    let length = || std::fs::metadata(&log).unwrap().len();
    wait_until("the log is small again", || length() < 1024 * 1024);
    let kept = std::fs::metadata(host.state().join("proxy/proxy.log.1")).unwrap().len();
    assert!(kept > 7 * 1024 * 1024, "{kept}");
    std::fs::remove_file(host.state().join("proxy/admin.sock")).unwrap();
    let says = || std::fs::read_to_string(&log).unwrap().contains("the admin socket was gone");
    wait_until("the proxy goes on to say what it sees", says);
    assert!(length() < 1024 * 1024, "at the new end, not at the old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_hung_while_traffic_was_moved_does_not_move_it_back_when_it_goes_on() {
    let host = Host::start();
    for (name, bake) in [("v1", "0s"), ("v2", "0s"), ("v3", "1s")] {
        let rollout = format!("[rollout]\nbake = \"{bake}\"\n");
        host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}{rollout}"));
        host.run(&["deploy", name]).exits(0);
    }
    // v4 waits: it wants the slot of v2, to which the traffic is about to be moved.
    host.configure(&format!("[env]\nRELEASE_NAME = \"v4\"\n{QUICK}"));
    let mut waiting = host.command(&["deploy", "v4", "--queue"]).stderr(std::process::Stdio::null()).spawn();
    host.eventually("v4 waits or has begun", |status| {
        status["queue"].as_array().is_some_and(|queue| !queue.is_empty())
            || status["deployment"]["version"] == "v4"
    });
    let controller = host.controller_pid();
    signal(controller, "STOP");
    let moved = host.run(BREAK_YES);
    // v4 may have begun to empty the slot before the controller stood still; then there is nothing to move to.
    if moved.exit != 0 {
        signal(controller, "CONT");
        tells(&moved.exits(4), &["no instance"]);
        let _ = waiting.as_mut().unwrap().wait();
        return;
    }
    let load = Load::start(
        Plan::new(host.address).with(2, Client::keep_alive("/")).pausing(Duration::from_millis(5)),
    );
    wait_until("the bake is over by the clock", || {
        host.get("/").contains("x-version: v2") && load.report().requests > 300
    });
    signal(controller, "CONT");
    let status = host.eventually("it is adopted", |status| {
        status["live"] == "green"
            && status["environments"]["green"]["version"] == "v2"
            && status["deployment"]["ended_at"].is_string()
    });
    assert!(host.get("/").contains("x-version: v2"), "{status:#}");
    let _ = waiting.as_mut().unwrap().wait();
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_controller_that_hangs_is_told_of_with_the_way_out() {
    let host = baking();
    let controller = host.controller_pid();
    signal(controller, "STOP");
    let said = host.run(&["rollback"]);
    signal(controller, "CONT");
    tells(&said.exits(3), &["it hangs", "cutover rollback --break-glass"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_journal_that_is_restored_keeps_what_serves_until_what_it_knows_of_serves() {
    let mut host = Host::start();
    for name in ["v1", "v2"] {
        host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}[rollout]\nbake = \"0s\"\n"));
        host.run(&["deploy", name]).exits(0);
    }
    let backup = host.path("backup.jsonl");
    host.run(&["journal", "export", backup.to_str().unwrap()]).exits(0);
    for name in ["v3", "v4"] {
        host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}[rollout]\nbake = \"0s\"\n"));
        host.run(&["deploy", name]).exits(0);
    }
    let load = Load::start(
        Plan::new(host.address).with(2, Client::keep_alive("/")).pausing(Duration::from_millis(5)),
    );
    host.terminate_controller();
    for file in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
        let _ = std::fs::remove_file(host.state().join(file));
    }
    host.run(&["journal", "import", backup.to_str().unwrap()]).exits(0);
    host.serve();
    wait_until("v2 serves", || host.get("/").contains("x-version: v2"));
    host.eventually("what nobody knows is stopped, and v2 is well", |status| {
        status["environments"]["green"]["health"] == "healthy" && host.pids("supervisor.json").len() == 2
    });
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}
