//! From a laptop to hosts behind a real sshd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

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
