//! A disk that is full to the last byte: rescue works, nothing else does, no request is lost.
//!
//! The state directory is a small tmpfs in a mount namespace of the test's own, in which the test is run again.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use support::{Host, Said, signal, wait_until};

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "CUTOVER_TEST_ON_A_SMALL_DISK";
const QUICK: &str =
    "[health]\ninterval = \"50ms\"\ntimeout = \"300ms\"\nrise = 1\nfall = 2\ndeadline = \"20s\"\n";

/// Plays a scene with a state directory on a disk of its own.
fn on_a_small_disk(test: &str, scene: impl AsyncFnOnce(Host)) {
    if std::env::var_os(INSIDE).is_some() {
        let host = Host::without_controller();
        std::fs::create_dir(host.state()).unwrap();
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=160m,mode=0700", "tmpfs"]).arg(host.state());
        let done = done.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(scene(host));
        return;
    }
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let done: Said = command.env(INSIDE, "1").output().expect("unshare, of util-linux").into();
    assert!(done.exit == 0 && done.out.contains("1 passed"), "{}{}", done.out, done.err);
}

/// Fills a disk until nothing more is accepted, however much is freed meanwhile.
fn fill(disk: &Path) {
    let mut filler = File::options().create(true).append(true).open(disk.join("filler")).unwrap();
    wait_until("the disk is full", || {
        for size in [65_536, 4096, 1] {
            while filler.write_all(&vec![7; size]).is_ok() {}
        }
        rustix::fs::statvfs(disk).unwrap().f_bavail == 0
    });
}

fn reserve(host: &Host) -> usize {
    std::fs::read_dir(host.state().join("reserve")).unwrap().count()
}

fn good(host: &Host, name: &str, rollout: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}{rollout}"));
}

fn two_releases(host: &mut Host) {
    host.serve();
    good(host, "one", "[rollout]\nbake = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    good(host, "two", "");
    host.run(&["deploy", "v2"]).exits(0);
}

#[test]
fn a_rollback_by_hand_works_on_a_full_disk_also_after_a_restart_and_costs_no_request() {
    let test = "a_rollback_by_hand_works_on_a_full_disk_also_after_a_restart_and_costs_no_request";
    on_a_small_disk(test, async |mut host| {
        two_releases(&mut host);
        let load = Load::start(
            Plan::new(host.address).with(2, Client::keep_alive("/")).pausing(Duration::from_millis(5)),
        );
        fill(&host.state());
        good(&host, "three", "");
        let refused = host.run(&["deploy", "v3", "--end-bake", "--force"]).exits(4);
        for word in ["0 MiB are free", "rollback and abort still work"] {
            assert!(refused.err.contains(word), "{refused:#?}");
        }

        host.kill_controller();
        host.serve();
        fill(&host.state());
        let before = host.status()["deployment"]["version"].clone();
        host.run(&["rollback"]).exits(0);
        let status = host.status();
        assert_eq!(status["deployment"]["status"], "rolled_back", "{before} {status:#}");
        assert!(host.get("/").contains("x-version: v1"));
        let report = load.finish().await;
        assert!(report.is_clean(), "{report}");

        std::fs::remove_file(host.state().join("filler")).unwrap();
        good(&host, "three", "[rollout]\nbake = \"0s\"\n");
        host.run(&["deploy", "v3"]).exits(0);
        assert_eq!(reserve(&host), 8, "the reserve is whole again");
        host.run(&["journal", "verify"]).exits(0);
    });
}

#[test]
fn an_automatic_rollback_works_on_a_full_disk() {
    let test = "an_automatic_rollback_works_on_a_full_disk";
    on_a_small_disk(test, async |mut host| {
        two_releases(&mut host);
        let sick = host.status()["environments"]["green"]["instances"][0]["id"].as_str().unwrap().to_owned();
        fill(&host.state());
        signal(host.program(&sick), "STOP");
        host.eventually("v2 is taken back", |status| status["deployment"]["status"] == "rolled_back");
        signal(host.program(&sick), "CONT");
        assert!(host.get("/").contains("x-version: v1"));
        std::fs::remove_file(host.state().join("filler")).unwrap();
    });
}

#[test]
fn an_abort_works_on_a_full_disk() {
    let test = "an_abort_works_on_a_full_disk";
    on_a_small_disk(test, async |mut host| {
        two_releases(&mut host);
        host.configure(&format!(
            "[env]\nRELEASE_NAME = \"three\"\n{}",
            QUICK.replace("rise = 1", "rise = 300")
        ));
        let deploy =
            host.command(&["deploy", "v3", "--end-bake"]).stderr(std::process::Stdio::null()).spawn();
        let mut deploy = deploy.unwrap();
        host.eventually("v3 is being validated", |status| status["deployment"]["status"] == "validating");
        fill(&host.state());
        host.run(&["abort"]).exits(0);
        assert_eq!(deploy.wait().unwrap().code(), Some(1));
        assert!(host.get("/").contains("x-version: v2"));
        std::fs::remove_file(host.state().join("filler")).unwrap();
    });
}

#[test]
fn a_rollback_to_a_former_release_that_is_not_well_works_on_a_full_disk() {
    let test = "a_rollback_to_a_former_release_that_is_not_well_works_on_a_full_disk";
    on_a_small_disk(test, async |mut host| {
        two_releases(&mut host);
        let former = host.status()["environments"]["blue"]["instances"][0]["id"].as_str().unwrap().to_owned();
        fill(&host.state());
        signal(host.program(&former), "STOP");
        let mut rollback = host.command(&["rollback"]).spawn().unwrap();
        host.eventually("v2 is being taken back", |status| status["deployment"]["status"] == "rolling_back");
        signal(host.program(&former), "CONT");
        assert!(rollback.wait().unwrap().success());
        assert!(host.get("/").contains("x-version: v1"));
        std::fs::remove_file(host.state().join("filler")).unwrap();
    });
}
