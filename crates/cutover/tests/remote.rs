//! From a laptop to hosts behind a real sshd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::ssh::Hosts;

const NO_BAKE: &str =
    "[rollout]\nbake = \"0s\"\n[health]\ninterval = \"50ms\"\nrise = 1\ndeadline = \"60s\"\n";

#[test]
fn a_release_is_deployed_from_a_directory_here_to_a_host_there_and_back() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    hosts.configure(NO_BAKE);
    hosts.change("one");
    let said = hosts.run(&["--json", "deploy", "v1", "--host", "alpha"]).exits(0);
    assert_eq!(said.json()["status"], "live", "{said:?}");
    hosts.change("two");
    hosts.run(&["deploy", "v2", "--host", "ssh://alpha"]).exits(0);
    assert_eq!(hosts.live(alpha), "v2");
    // The same content again: nothing to do.
    hosts.run(&["deploy", "v2", "--host", "alpha"]).exits(0);
    hosts.run(&["rollback", "--host", "alpha"]).exits(0);
    assert_eq!(hosts.live(alpha), "v1");
    let history = hosts.run(&["history", "--host", "alpha"]).exits(0).out;
    assert_eq!(history.lines().count(), 3, "{history}");
    assert!(history.contains("by alpha"), "{history}");
}

#[test]
fn a_host_that_cannot_be_reached_is_told_with_what_to_do() {
    let hosts = Hosts::start();
    hosts.configure(NO_BAKE);
    let check = |host: &str, words: &[&str]| {
        let said = hosts.run(&["status", "shop", "--host", host]).exits(3);
        for word in words {
            assert!(said.err.contains(word), "{host}: {word}: {said:#?}");
        }
    };
    check("stranger", &["Permission denied", "nobody can be asked here", "authorized_keys"]);
    check("never-seen", &["Host key verification failed", "compare the fingerprint"]);
    check("gone", &["Connection refused", "ssh gone true"]);
    // sshd and cutover are there, the controller is not.
    check("alpha", &["`alpha` says: no controller answers on `", "start it there with `cutover serve`"]);
    check("ssh://alpha/nowhere", &["no controller answers on `/nowhere/cutover.sock`"]);
    let mut command = hosts.command(&["status", "shop", "--host", "alpha"]);
    let said: support::Said = command.env("CUTOVER_REMOTE", "/opt/cutover").output().unwrap().into();
    assert!(said.err.contains("`/opt/cutover` is not found there"), "{said:#?}");
    let mut command = hosts.command(&["status", "shop", "--host", "alpha"]);
    let said: support::Said = command.env("CUTOVER_SSH", "no-such-ssh").output().unwrap().into();
    assert!(said.exits(3).err.contains("`no-such-ssh` cannot be started"));
    let said = hosts.run(&["status", "--host=-oProxyCommand=id"]).exits(2);
    assert!(said.err.contains("does not name a host"), "{said:#?}");
    let said = hosts.run(&["serve", "--host", "alpha"]).exits(2);
    assert!(said.err.contains("works on the files of its own host"), "{said:#?}");
}

#[test]
fn a_limited_key_does_what_it_is_for_and_nothing_else() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    let forced = "restrict,command=\"cutover ssh-entry --service shop --allow deploy,status --told ci\"";
    hosts.allow("alpha", "limited", forced);
    hosts.configure(NO_BAKE);
    hosts.run(&["deploy", "v1", "--host", "limited"]).exits(0);
    assert_eq!(hosts.live(alpha), "v1");
    let status = hosts.run(&["--json", "status", "shop", "--host", "limited"]).exits(0).json();
    assert_eq!(status["deployment"]["actor"], "alpha (ci)");
    let check = |arguments: &[&str], words: &str| {
        let said = hosts.run(&[arguments, &["--host", "limited"]].concat()).exits(4);
        assert!(said.err.contains(words), "{arguments:?}: {said:#?}");
    };
    check(&["rollback"], "this key may not `rollback`: it may deploy, status with shop");
    check(&["status", "other"], "nothing to do with `other`");
    check(&["shutdown"], "gives no command line");
    check(&["rollback", "--break-glass", "--yes"], "gives no command line");
    check(&["status", "shop", "--state-dir", "/elsewhere"], "cannot choose a state directory");
    assert_eq!(hosts.live(alpha), "v1");
    // What a hostile client sends in place of the command line's requests.
    let deploy_other = r#"{"spec":{"service":"other"}}"#;
    for (request, status) in [
        ("GET /v1/services/shop HTTP/1.1\r\n\r\n", "200"),
        ("GET /v1/services/shop/../other HTTP/1.1\r\n\r\n", "403"),
        ("GET /v1/services/%6fther HTTP/1.1\r\n\r\n", "403"),
        ("GET http://x/v1/services/other HTTP/1.1\r\n\r\n", "403"),
        ("POST /v1/services/shop/rollback HTTP/1.1\r\ncontent-length: 0\r\n\r\n", "403"),
        ("POST /v1/shutdown HTTP/1.1\r\ncontent-length: 0\r\n\r\n", "403"),
        ("GET /v1/services/shop HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "403"),
        ("CONNECT other:80 HTTP/1.1\r\n\r\n", "403"),
        (
            "GET /v1/controller HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nPOST /v1/shutdown HTTP/1.1\r\n\r\n",
            "",
        ),
        (
            &format!(
                "POST /v1/services/shop/deployments HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{deploy_other}",
                deploy_other.len()
            ),
            "422",
        ),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answers = hosts.say("limited", "cutover ssh-entry", request);
        let last = answers.rmatches("HTTP/1.1 ").count();
        assert!(last >= 1, "{request:?}: {answers}");
        assert!(answers.contains(&format!("HTTP/1.1 {status}")), "{request:?}: {answers}");
        assert!(!answers.contains("HTTP/1.1 202"), "{request:?}: {answers}");
    }
    assert_eq!(hosts.live(alpha), "v1");
    hosts.run(&["status", "shop", "--host", "alpha"]).exits(0);
    let said = hosts.there("alpha", "cutover ssh-entry --allow reboot").output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("`reboot` is no verb"), "{said:?}");
}

#[test]
fn setup_over_there_is_told_where_the_state_is() {
    let hosts = Hosts::start();
    // Nothing is done: the directory is refused over there, by the copy.
    for arguments in
        [["--host", "alpha", "--state-dir", "/x"], ["--host", "ssh://alpha/x", "--yes", "--dry-run"]]
    {
        let said = hosts.run(&[&["setup"], arguments.as_slice()].concat()).exits(2);
        assert!(said.err.contains("`/x`") && said.err.contains("it is too near to the root"), "{said:#?}");
    }
}

fn two_hosts(more: &str) -> String {
    format!("{NO_BAKE}\n[deploy]\nhosts = [\"alpha\", \"beta\"]\nhold = \"1m\"\n{more}")
}

#[test]
fn two_hosts_switch_together_or_not_at_all() {
    let (hosts, [alpha, beta]) = Hosts::with_controllers();
    hosts.configure(&two_hosts(""));
    hosts.change("one");
    hosts.run(&["deploy", "v1"]).exits(0);
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v1", "v1"]);
    // One cannot start it: nobody switches.
    hosts.change("two");
    hosts.break_host("beta", true);
    let said = hosts.run(&["--json", "deploy", "v2"]).exits(1);
    let answer = said.json();
    assert_eq!(answer["success"], false);
    assert_eq!(answer["hosts"][0]["stand"], "taken_back", "{answer:#}");
    assert_eq!(answer["hosts"][1]["stand"], "failed", "{answer:#}");
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v1", "v1"]);
    let steps = hosts.status("alpha")["deployment"]["receipts"].clone();
    assert_eq!(steps.as_array().map(Vec::len), Some(0), "nothing was switched on alpha: {steps:#}");
    // It is mended: the same command does it.
    hosts.break_host("beta", false);
    let said = hosts.run(&["deploy", "v2"]).exits(0);
    assert!(said.out.contains("v2 is live on all 2 hosts"), "{said:#?}");
    assert!(said.err.contains("alpha: validated: it waits for the others"), "{said:#?}");
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v2", "v2"]);
    hosts.run(&["rollback"]).exits(0);
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v1", "v1"]);
    let status = hosts.run(&["--json", "status"]).exits(0).json();
    assert_eq!(status["agree"], true, "{status:#}");
    assert_eq!(status["hosts"][1]["result"]["service"], "shop");
    // One is ahead of the other: that is told, and mended by the same command for both.
    hosts.change("three");
    hosts.run(&["deploy", "v3", "--host", "alpha"]).exits(0);
    let status = hosts.run(&["status"]).exits(0);
    assert!(status.out.contains("the hosts disagree about what is live: v1 on beta"), "{status:#?}");
    let said = hosts.run(&["deploy", "v3"]).exits(0);
    assert!(said.err.contains("the hosts disagree"), "{said:#?}");
    assert!(said.out.contains("was live already"), "{said:#?}");
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v3", "v3"]);
    // A host that cannot be reached is shown as such, and nothing is done to the others.
    hosts.change("four");
    let said = hosts.run(&["deploy", "v4", "--host", "alpha", "--host", "gone"]).exits(3);
    assert!(said.err.contains("nothing was done, because `gone` cannot be asked"), "{said:#?}");
    assert_eq!(hosts.live(alpha), "v3");
    let said = hosts.run(&["status", "--host", "alpha", "--host", "gone"]).exits(3);
    assert!(said.out.contains("v3 live on") && said.out.contains("Connection refused"), "{said:#?}");
}

#[test]
fn hosts_that_cannot_go_on_take_back_nothing_that_somebody_else_has_begun() {
    let (hosts, [_, beta]) = Hosts::with_controllers();
    hosts.configure(&two_hosts(""));
    hosts.change("one");
    hosts.run(&["deploy", "v1"]).exits(0);
    // Somebody is about to switch on beta, and the next release waits behind that.
    hosts.change("two");
    hosts.run(&["deploy", "v2", "--host", "beta", "--hold-before-switch", "5m"]).exits(6);
    hosts.change("three");
    hosts.break_host("alpha", true);
    let answer = hosts.run(&["--json", "deploy", "v3", "--queue"]).exits(1).json();
    assert_eq!(answer["hosts"][1]["stand"], "taken_back", "{answer:#}");
    assert_eq!(answer["message"], "failed before any host was switched: taken back on beta");
    assert_eq!([&answer["status"], &answer["deployment"]], [&Value::from("failed"), &Value::Null]);
    assert!(answer["duration_seconds"].as_f64().unwrap() > 0.0, "{answer:#}");
    let status = hosts.status("beta");
    assert!(status["deployment"]["hold_until"].is_string(), "v2 still waits for its word: {status:#}");
    hosts.run(&["promote", "--host", "beta"]).exits(0);
    assert_eq!(hosts.live(beta), "v2");
    // One alone can be ended by its name.
    let said = hosts.run(&["abort", "--host", "beta", "--deployment", "d0"]).exits(4);
    assert!(said.err.contains("deployment `d0` is neither open nor waiting"), "{said:#?}");
}

#[test]
fn a_host_that_is_lost_is_not_said_to_have_been_taken_back() {
    let (hosts, [alpha, beta]) = Hosts::with_controllers();
    hosts.configure(&two_hosts(""));
    hosts.change("one");
    hosts.run(&["deploy", "v1"]).exits(0);
    // All of them are live there already: nobody's word is waited for.
    let again = hosts.run(&["--json", "deploy", "v1", "--hold-before-switch", "5m"]).exits(0).json();
    assert_eq!([&again["success"], &again["status"]], [&Value::from(true), &Value::from("live")]);
    hosts.change("two");
    std::fs::write(hosts.path("slow-alpha"), "").unwrap();
    let mut deploy = hosts.command(&["--json", "deploy", "v2"]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    support::wait_until("beta waits for alpha", || {
        hosts.status("beta")["deployment"]["hold_until"].is_string()
    });
    hosts.cut_off("beta");
    for (pid, name) in children_of(deploy.id()) {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if name == "ssh" && line.contains("\0beta\0") {
            support::signal(pid, "KILL");
        }
    }
    std::fs::remove_file(hosts.path("slow-alpha")).unwrap();
    let said: support::Said = deploy.wait_with_output().unwrap().into();
    let answer = said.exits(3).json();
    let expected = "failed, because not every host was ready: taken back on alpha; not known on beta: `cutover status` \
                    tells";
    assert_eq!([&answer["message"], &answer["status"]], [expected, "unknown"], "{answer:#}");
    assert_eq!(answer["hosts"][1]["stand"], "unknown", "{answer:#}");
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v1", "v1"]);
}

#[test]
fn the_same_command_goes_on_where_one_that_was_killed_has_left_the_hosts() {
    let (hosts, [alpha, beta]) = Hosts::with_controllers();
    hosts.configure(&two_hosts(""));
    std::fs::write(hosts.path("slow-beta"), "").unwrap();
    let mut deploy = hosts.command(&["deploy", "v1"]);
    let mut deploy = deploy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let on = |host: &str| hosts.run(&["--json", "status", "shop", "--host", host]);
    support::wait_until("alpha waits for beta", || {
        let said = on("alpha");
        said.exit == 0 && said.json()["deployment"]["hold_until"].is_string()
    });
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    std::fs::remove_file(hosts.path("slow-beta")).unwrap();
    let said = hosts.run(&["deploy", "v1"]).exits(0);
    assert!(said.err.contains("alpha: the same release is being deployed there already"), "{said:#?}");
    assert_eq!([hosts.live(alpha), hosts.live(beta)], ["v1", "v1"]);
    let history = hosts.run(&["--json", "history"]).exits(0).json();
    for host in history["hosts"].as_array().unwrap() {
        assert_eq!(host["result"]["deployments"].as_array().unwrap().len(), 1, "{history:#}");
    }
}

#[test]
fn what_becomes_of_hosts_that_have_switched_is_the_users_choice() {
    let (hosts, [alpha, beta]) = Hosts::with_controllers();
    for (choice, kept) in [("rollback", "v1"), ("keep", "v2")] {
        let health = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\ndeadline = \"60s\"\n";
        hosts.configure(&format!(
            "[rollout]\nbake = \"60s\"\n{health}[deploy]\nhosts = [\"alpha\", \"beta\"]\non_partial = \"{choice}\"\n"
        ));
        hosts.change("one");
        hosts.run(&["deploy", "v1"]).exits(0);
        hosts.change(choice);
        let mut deploy = hosts.command(&["--json", "deploy", "v2", "--wait", "done"]);
        let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        support::wait_until("both have switched", || {
            hosts.live(alpha) == "v2" && hosts.status("beta")["status"] == "live" && hosts.live(beta) == "v2"
        });
        // In its bake the program of one host ends, and cannot be started again.
        hosts.break_host("beta", true);
        for program in hosts.programs("beta", "v2") {
            support::signal(program, "KILL");
        }
        let said: support::Said = deploy.wait_with_output().unwrap().into();
        let said = said.exits(1);
        assert!(said.err.contains("v2 is live on alpha, and not on beta"), "{choice}: {said:#?}");
        assert_eq!(hosts.live(alpha), kept, "{choice}: {said:#?}");
        hosts.break_host("beta", false);
        support::wait_until("beta is back", || hosts.status("beta")["status"] == "rolled_back");
    }
}

#[test]
fn a_connection_that_drops_while_a_deployment_is_followed_is_made_again() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    hosts.configure(NO_BAKE);
    std::fs::write(hosts.path("slow"), "").unwrap();
    let mut deploy = hosts.command(&["--json", "deploy", "v1", "--host", "alpha"]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let validating = |status: &Value| status["deployment"]["status"] == "validating";
    support::wait_until("it is validated", || {
        let said = hosts.run(&["--json", "status", "shop", "--host", "alpha"]);
        said.exit == 0 && validating(&said.json())
    });
    let ssh = child_of(deploy.id(), "ssh");
    support::signal(ssh, "KILL");
    support::wait_until("another ssh", || {
        children_of(deploy.id()).into_iter().any(|(pid, name)| name == "ssh" && pid != ssh)
    });
    // A second job with the same release follows the same deployment.
    let mut again = hosts.command(&["--json", "deploy", "v1", "--host", "alpha"]);
    let again = again.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::fs::remove_file(hosts.path("slow")).unwrap();
    let said: support::Said = deploy.wait_with_output().unwrap().into();
    let said = said.exits(0);
    assert!(said.err.contains("the connection was lost: trying to follow again"), "{said:#?}");
    let other: support::Said = again.wait_with_output().unwrap().into();
    let other = other.exits(0);
    assert!(other.json()["deployment"].is_null() || other.json()["deployment"] == said.json()["deployment"]);
    assert_eq!(hosts.live(alpha), "v1");
    let history = hosts.run(&["--json", "history", "shop", "--host", "alpha"]).exits(0).json();
    assert_eq!(history["deployments"].as_array().unwrap().len(), 1);
}

#[test]
fn what_needs_the_host_itself_runs_over_there() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    hosts.configure(NO_BAKE);
    for version in ["v1", "v2"] {
        hosts.change(version);
        hosts.run(&["deploy", version, "--host", "alpha"]).exits(0);
    }
    let said =
        hosts.run(&["exec", "--host", "alpha", "--", "sh", "-c", "echo $CUTOVER_VERSION; exit 7"]).exits(7);
    assert_eq!(said.out.trim(), "v2", "{said:#?}");
    // What ssh itself would end with is the command's own here.
    let said = hosts.run(&["exec", "--host", "alpha", "--", "sh", "-c", "exit 255"]).exits(255);
    assert_eq!(said.err, "");
    // Whoever goes away hangs it up, although it neither reads nor writes.
    let mut exec = hosts.command(&["exec", "--host", "alpha", "--", "sleep", "86399"]);
    let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    support::wait_until("it sleeps", || !sleepers().is_empty());
    // Between this process and the command line stands `setsid`.
    let client = children_of(exec.id()).first().map_or(exec.id(), |(pid, _)| *pid);
    support::signal(if children_of(client).is_empty() { exec.id() } else { client }, "KILL");
    support::wait_until("it is hung up", || sleepers().is_empty());
    exec.wait().unwrap();
    let said = hosts.run(&["rollback", "--break-glass", "--yes", "--host", "alpha"]).exits(4);
    assert!(said.err.contains("there is no need to break the glass"), "{said:#?}");
    hosts.run(&["rollback", "--break-glass", "--yes", "--force", "--host", "alpha"]).exits(0);
    assert_eq!(hosts.live(alpha), "v1");
    let said = hosts.run(&["--json", "shutdown", "--host", "alpha"]).exits(0);
    assert_eq!(said.json()["success"], true);
    hosts.run(&["status", "shop", "--host", "alpha"]).exits(3);
}

#[test]
fn an_upload_that_is_cut_goes_on_where_it_was_cut() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    hosts.configure(NO_BAKE);
    // Nothing that compresses, so that what is sent is what is counted.
    let mut state = 1_u64;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let bytes: Vec<u8> = random.take(48 << 20).collect();
    std::fs::write(hosts.path("application/dist/large"), &bytes).unwrap();
    let mut deploy = hosts.command(&["--json", "deploy", "v1", "--host", "alpha"]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // ssh has read more than a part of it, and not all.
    let read_by_ssh = |pid: u32| {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut ssh = 0;
    support::wait_until("a part was sent", || {
        let found = children_of(deploy.id()).into_iter().find(|(_, name)| name == "ssh");
        ssh = found.map_or(0, |(pid, _)| pid);
        ssh != 0 && read_by_ssh(ssh) > 8 << 20
    });
    support::signal(ssh, "KILL");
    let said: support::Said = deploy.wait_with_output().unwrap().into();
    let said = said.exits(0);
    assert!(said.err.contains("the upload goes on where it was cut"), "{said:#?}");
    assert_eq!(hosts.live(alpha), "v1");
    let releases = hosts.path("home/alpha/.local/state/cutover/releases/shop");
    let release = std::fs::read_dir(releases)
        .unwrap()
        .flatten()
        .find(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let large = walk(&release.unwrap().path()).into_iter().find(|path| path.ends_with("large")).unwrap();
    assert!(std::fs::read(large).unwrap() == bytes, "what arrived is what was sent");
}

/// Who sleeps for a day less a second.
fn sleepers() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sleep\x0086399\0")
    })
    .collect()
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

fn children_of(pid: u32) -> Vec<(u32, String)> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(|pid| (pid, name(pid).trim().to_owned())).collect()
}

fn child_of(pid: u32, name: &str) -> u32 {
    let children = children_of(pid);
    children.iter().find(|(_, known)| known == name).unwrap_or_else(|| panic!("{children:?}")).0
}
