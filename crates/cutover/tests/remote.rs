//! From a laptop to hosts behind a real sshd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::ssh::Hosts;

const NO_BAKE: &str = "[rollout]\nbake = \"0s\"\n[health]\ninterval = \"50ms\"\nrise = 1\ndeadline = \"60s\"\n";

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
