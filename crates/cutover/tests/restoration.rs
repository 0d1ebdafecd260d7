//! How a controller starts where much is dead or damaged: no service keeps the others from their clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::data_plane::{admin, kill_instances};
use support::journal::damage;
use support::{CUTOVER, Host, PATIENCE, signal, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\n";
const WELL: &str = "exec $CUTOVER sample-application";
/// Never healthy again once the file is there.
const MOODY: &str = "test -e $SICK && exec $CUTOVER sample-application --never-healthy\n\
                     exec $CUTOVER sample-application";

/// Makes `v1` of a service live that runs this script, for a host of the service's own name.
fn deploy(host: &Host, name: &str, script: &str) {
    configure(host, name, script, "");
    host.run(&["deploy", "v1"]).exits(0);
}

fn configure(host: &Host, name: &str, script: &str, more: &str) {
    let sick = host.path("sick");
    let sick = sick.display();
    let text = format!(
        "name = \"{name}\"\nhosts = [\"{name}\"]\ncommand = [\"sh\", \"-c\", {script:?}]\n\
         [env]\nCUTOVER = \"{CUTOVER}\"\nSICK = \"{sick}\"\n{QUICK}{more}"
    );
    host.write("cutover.toml", &text);
}

/// One request to a service: the whole answer.
fn get(host: &Host, service: &str) -> String {
    let mut client = std::net::TcpStream::connect(host.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "GET / HTTP/1.1\r\nhost: {service}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Leaves what a power cut leaves: the files.
fn reboot(host: &mut Host) {
    host.kill_controller();
    let proxy = host.proxy_pid().unwrap();
    let instances = host.pids("supervisor.json").into_iter().chain(host.pids("program.json"));
    let pids: Vec<u32> = instances.chain([proxy]).collect();
    for pid in &pids {
        signal(*pid, "KILL");
    }
    // A zombie may have threads left, and those its sockets.
    let is_gone = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    wait_until("nothing runs", || pids.iter().all(is_gone));
}

/// Asks again and again, each time on a connection of its own: `refused`, or the version that answered, or the answer.
async fn ask_all_the_time(address: std::net::SocketAddr, enough: Arc<AtomicBool>) -> Vec<String> {
    let mut answers = Vec::new();
    while !enough.load(Ordering::SeqCst) {
        // From another address, so that it can never connect to itself while nobody listens.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let answer = match socket.connect(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => "refused".to_owned(),
            Err(error) => error.to_string(),
            Ok(mut stream) => {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut answer = String::new();
                let request = b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
                let asked = stream.write_all(request).await;
                if let Err(error) = asked.and(stream.read_to_string(&mut answer).await) {
                    answer = error.to_string();
                }
                let version = answer.lines().find_map(|line| line.strip_prefix("x-version: "));
                version.unwrap_or(&answer).to_owned()
            }
        };
        answers.push(answer);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reboot_clients_are_refused_until_the_live_release_answers_them() {
    let mut host = Host::start();
    let slow = |name: &str| {
        let command = format!("[\"sh\", \"-c\", \"sleep 1; exec {CUTOVER} sample-application\"]");
        let rollout = "[rollout]\nbake = \"0s\"\nstandby = \"1h\"\n";
        format!(
            "name = \"shop\"\ncommand = {command}\n[env]\nX = \"{name}\"\n[run]\ninstances = 2\n{QUICK}{rollout}"
        )
    };
    for version in ["v1", "v2"] {
        host.write("cutover.toml", &slow(version));
        host.run(&["deploy", version]).exits(0);
    }
    assert_eq!(host.pids("program.json").len(), 4, "the former release is warm");
    reboot(&mut host);
    let enough = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_all_the_time(host.address, Arc::clone(&enough)));
    host.serve();
    assert!(host.status()["service"] == "shop", "the controller answers while clients are refused");
    wait_until("clients are accepted", || admin(&host, "GET", "/v1/stats", "")["listening"] == true);
    host.eventually("both releases run again", |status| {
        let healthy = |color: &str| status["environments"][color]["health"] == "healthy";
        healthy("blue") && healthy("green")
    });
    enough.store(true, Ordering::SeqCst);
    let mut answers = asking.await.unwrap();
    answers.dedup();
    assert_eq!(answers, ["refused", "v2"], "{}", host.log());
}

fn lose(host: &Host, proxy: u32) {
    signal(proxy, "KILL");
    wait_until("the proxy is gone", || host.proxy_pid().is_none());
}

/// Starts a controller: nobody waits for the sake of anybody else.
#[track_caller]
fn assert_served_at_once(host: &mut Host) {
    host.serve();
    assert!(get(host, "shop").contains("x-version: v1"));
    assert!(!host.log().contains("clients are refused"), "{}", host.log());
}

#[test]
fn a_proxy_that_dies_with_its_controller_accepts_at_once_while_instances_run() {
    let mut host = Host::start();
    deploy(&host, "shop", WELL);
    let proxy = host.proxy_pid().unwrap();
    host.kill_controller();
    lose(&host, proxy);
    assert_served_at_once(&mut host);
}

#[test]
fn a_live_release_that_cannot_be_started_after_a_reboot_keeps_no_other_from_its_clients() {
    let mut host = Host::start();
    deploy(&host, "other", WELL);
    deploy(&host, "shop", WELL);
    reboot(&mut host);
    let releases = host.state().join("releases");
    let set = Command::new("chmod").args(["-R", "u+w"]).arg(releases.join("other")).status();
    assert!(set.unwrap().success());
    std::fs::remove_dir_all(releases.join("other")).unwrap();
    host.serve();
    wait_until("clients are accepted", || admin(&host, "GET", "/v1/stats", "")["listening"] == true);
    assert!(get(&host, "shop").contains("x-version: v1"));
    let log = host.log();
    assert!(log.contains("the live release was not restored") && log.contains("other"), "{log}");
    assert!(!log.contains("accepted all the same"), "before the time was over: {log}");
}

#[test]
fn a_service_whose_record_cannot_be_read_is_left_as_it_is_and_the_others_are_served() {
    let mut host = Host::start();
    deploy(&host, "cart", WELL);
    deploy(&host, "shop", WELL);
    host.terminate_controller();
    damage(&host.state().join("journal.sqlite"), "UPDATE latest SET state = '{' WHERE service = 'cart'");
    host.serve();
    configure(&host, "shop", WELL, "[rollout]\nbake = \"1h\"\n");
    host.run(&["deploy", "v2"]).exits(0);
    assert!(get(&host, "shop").contains("x-version: v2"));
    host.run(&["rollback"]).exits(0);
    assert!(get(&host, "shop").contains("x-version: v1"));

    let said = host.run(&["status", "cart"]).exits(0);
    let reason = "what service `cart` was last cannot be read";
    assert!(said.out.contains("nothing is known to be live") && said.out.contains(reason), "{said:#?}");
    configure(&host, "cart", WELL, "");
    for request in [&["deploy", "v2"][..], &["rollback"], &["abort"]] {
        let said = host.run(request).exits(4);
        assert!(said.err.contains(reason), "{said:#?}");
    }
    assert!(get(&host, "cart").contains("x-version: v1"), "its traffic stays");
}

#[test]
fn a_deployment_that_cannot_be_read_keeps_no_controller_from_starting() {
    let mut host = Host::start();
    deploy(&host, "cart", WELL);
    deploy(&host, "shop", WELL);
    host.terminate_controller();
    damage(
        &host.state().join("journal.sqlite"),
        "UPDATE deployments SET deployment = '{' WHERE service = 'cart'",
    );
    host.serve();
    for service in ["cart", "shop"] {
        assert!(get(&host, service).contains("x-version: v1"));
    }
    configure(&host, "shop", WELL, "[rollout]\nbake = \"1h\"\n");
    host.run(&["deploy", "v2"]).exits(0);
    assert!(get(&host, "shop").contains("x-version: v2"));
}

#[test]
fn a_service_that_serves_keeps_its_clients_although_another_does_not() {
    let mut host = Host::start();
    deploy(&host, "cart", MOODY);
    deploy(&host, "shop", WELL);
    let proxy = host.proxy_pid().unwrap();
    host.kill_controller();
    std::fs::write(host.path("sick"), "").unwrap();
    kill_instances(&host, "cart", "blue");
    lose(&host, proxy);
    assert_served_at_once(&mut host);
}

#[test]
fn a_live_release_that_never_gets_healthy_after_a_reboot_holds_the_others_for_a_while_only() {
    let mut host = Host::start();
    deploy(&host, "cart", MOODY);
    deploy(&host, "shop", WELL);
    reboot(&mut host);
    std::fs::write(host.path("sick"), "").unwrap();
    host.serve();
    wait_until("clients are accepted", || admin(&host, "GET", "/v1/stats", "")["listening"] == true);
    assert!(get(&host, "shop").contains("x-version: v1"));
    let log = host.log();
    assert!(log.contains("the others wait no longer") && log.contains("cart"), "{log}");
    assert!(!log.contains("accepted all the same"), "before the time was over: {log}");
}
