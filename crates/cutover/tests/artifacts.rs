//! Artifacts as people bring them: directories and archives, sent piece by piece, cut, changed, too large, hostile.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::path::Path;

use support::{CUTOVER, Host};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\ndeadline = \"20s\"\n[rollout]\nbake = \"0s\"\n";

/// The application in `dist/`: a program that starts the sample application, and what `more` says.
fn application(host: &Host, artifact: &str, more: &str) {
    let program = host.path("application/dist/shop");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\nexec {CUTOVER} sample-application\n")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    configure(host, artifact, more);
}

fn configure(host: &Host, artifact: &str, more: &str) {
    let text = format!("name = \"shop\"\ncommand = \"./shop\"\nartifact = {artifact}\n{more}\n{QUICK}");
    host.write("cutover.toml", &text);
}

/// The release that is live, by its content.
fn live_release(host: &Host) -> String {
    let status = host.status();
    let live = status["live"].as_str().unwrap().to_owned();
    status["environments"][&live]["release"].as_str().unwrap().to_owned()
}

/// Bytes from the kernel, so that nothing is like anything else.
fn noise(file: &Path, bytes: u64) {
    use std::io::Read;
    let mut random = std::fs::File::open("/dev/urandom").unwrap().take(bytes);
    std::io::copy(&mut random, &mut std::fs::File::create(file).unwrap()).unwrap();
}

#[test]
fn what_is_on_the_host_already_is_not_sent_again() {
    let host = Host::start();
    application(&host, "\"dist/\"", "");
    noise(&host.path("application/dist/large"), 3 * 1024 * 1024);
    let first = host.run(&["deploy", "v1", "--upload"]).exits(0);
    assert!(first.err.contains("artifact: 2 files, 3.00 MiB; all of it sent"), "{}", first.err);
    let release = live_release(&host);

    let again = host.run(&["deploy", "v1", "--upload"]).exits(0);
    assert!(again.err.contains("all of it was there already"), "{}", again.err);
    assert!(again.out.contains("nothing to do"), "{}", again.out);
    let read_here = host.run(&["deploy", "v1"]).exits(0);
    assert!(read_here.out.contains("nothing to do"), "{}", read_here.out);

    host.write("dist/page", &"new".repeat(1000));
    let changed = host.run(&["deploy", "v2", "--upload"]).exits(0);
    assert!(changed.err.contains("2.93 KiB sent, the rest was there already"), "{}", changed.err);
    assert_ne!(live_release(&host), release);
    assert_eq!(std::fs::read_dir(host.state().join("uploads/contents")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(host.state().join("uploads/offers")).unwrap().count(), 0);
}
