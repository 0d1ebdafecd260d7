//! One controller per state directory, also when one of two does not know that the other is there.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![allow(dead_code, reason = "the support is shared with tests that need more of it")]

mod support;

use std::fs::{self, File};

use support::Host;

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"\n";

fn release(host: &Host, name: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}"));
}

#[test]
fn a_controller_whose_lock_file_another_has_made_anew_starts_and_stops_nothing() {
    let mut host = Host::start();
    release(&host, "one");
    host.run(&["deploy", "v1"]).exits(0);
    let running = || {
        let mut pids = [host.pids("supervisor.json"), host.pids("program.json")];
        pids.iter_mut().for_each(|pids| pids.sort_unstable());
        pids
    };
    let before = running();
    let lock = host.state().join("controller.lock");
    fs::remove_file(&lock).unwrap();
    let another = File::create_new(&lock).unwrap();
    another.try_lock().unwrap();

    release(&host, "two");
    let said = host.run(&["deploy", "v2"]);
    assert_ne!(said.exit, 0, "{said:#?}");
    assert!(said.err.contains("another controller has taken over"), "{said:#?}");
    assert_eq!(running(), before);
    assert!(host.get("/").contains("x-version: v1"));

    // The one that has taken over goes on with what is there.
    drop(another);
    host.kill_controller();
    host.serve();
    assert_eq!(host.status()["environments"]["blue"]["version"], "v1");
}
