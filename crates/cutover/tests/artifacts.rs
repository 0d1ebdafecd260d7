//! Artifacts as people bring them: directories and archives, sent piece by piece, cut, changed, too large, hostile.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{CUTOVER, Host, Said, wait_until};

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
fn who_does_not_wait_for_what_is_fetched_is_told_how_to_go_on() {
    let host = Host::start();
    let slow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = slow.local_addr().unwrap();
    configure(
        &host,
        &format!("{{ url = \"http://{address}/shop.tar\", sha256 = \"{}\" }}", "0".repeat(64)),
        "",
    );
    let mut deploy = host.command(&["--json", "deploy", "v1"]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever answers nothing.
    let _fetching = slow.accept().unwrap();
    support::signal(deploy.id(), "INT");
    let said = Said::from(deploy.wait_with_output().unwrap()).exits(6);
    assert_eq!(said.json()["status"], "unknown");
    assert!(said.err.contains("the same command goes on from there"), "{said:#?}");
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

fn tar(host: &Host, arguments: &[&str]) {
    let mut tar = Command::new("tar");
    let done: Said = tar.args(arguments).current_dir(host.path("application")).output().expect("tar").into();
    assert_eq!(done.exit, 0, "{done:?}");
}

/// Bytes of what is coming.
fn coming(host: &Host) -> u64 {
    let partial = std::fs::read_dir(host.state().join("uploads/partial")).into_iter().flatten().flatten();
    partial.map(|file| file.metadata().map_or(0, |found| found.len())).sum()
}

/// Files that a refused artifact may have left.
fn leftovers(host: &Host) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for directory in ["releases", "uploads/partial"] {
        let entries = std::fs::read_dir(host.state().join(directory)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path()));
    }
    left
}

#[test]
fn an_archive_its_upload_and_its_directory_are_one_release() {
    let host = Host::start();
    application(&host, "\"dist/\"", "");
    host.run(&["deploy", "v1"]).exits(0);
    tar(&host, &["-czf", "shop.bin", "-C", "dist", "."]);
    configure(&host, "\"shop.bin\"", "");
    for upload in [&["deploy", "v1"][..], &["deploy", "v1", "--upload"], &["deploy", "v1", "--upload"]] {
        let said = host.run(upload).exits(0);
        assert!(said.out.contains("nothing to do"), "{said:?}");
    }
    let checked = host.run(&["config", "check"]).exits(0);
    assert!(checked.out.contains("artifact: an archive of "), "{}", checked.out);
    configure(&host, &format!("{{ path = \"shop.bin\", sha256 = \"{}\" }}", "0a".repeat(32)), "");
    for upload in [&["deploy", "v2"][..], &["deploy", "v2", "--upload"]] {
        let said = host.run(upload).exits(2);
        assert!(said.err.contains("and 0a0a0a") && said.err.contains(" is wanted"), "{}", said.err);
    }
}

#[test]
fn an_upload_that_was_cut_goes_on_where_it_was_cut() {
    let mut host = Host::start();
    application(&host, "\"dist/\"", "");
    noise(&host.path("application/dist/large"), 160 * 1024 * 1024);
    // First the client dies; the same command goes on.
    let mut deploy = host.command(&["deploy", "v1", "--upload"]).stderr(Stdio::null()).spawn().unwrap();
    wait_until("some of it has come", || coming(&host) > 8 * 1024 * 1024);
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    let here = coming(&host);
    assert!(here > 0 && here < 160 * 1024 * 1024, "{here}");

    // Then the controller dies; the client goes on by itself.
    let mut deploy = host.command(&["deploy", "v1", "--upload"]);
    let deploy = deploy.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("more of it has come", || coming(&host) > here + 8 * 1024 * 1024);
    host.kill_controller();
    host.serve();
    let said: Said = deploy.wait_with_output().unwrap().into();
    assert_eq!(said.exit, 0, "{said:?}");
    assert!(said.err.contains("the upload goes on where it was cut"), "{}", said.err);
    assert!(said.err.contains("sent, the rest was there already"), "{}", said.err);
}

#[test]
fn what_changes_while_it_is_read_or_is_no_file_is_refused_by_name() {
    let host = Host::start();
    application(&host, "\"dist/\"", "");
    let growing = host.path("application/dist/growing");
    noise(&growing, 64 * 1024 * 1024);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let file = growing.clone();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        while !stopped.load(Ordering::Relaxed) {
            file.write_all(b"x").unwrap();
        }
    });
    for arguments in [&["deploy", "v1"][..], &["deploy", "v1", "--upload"]] {
        let said = host.run(arguments).exits(2);
        assert!(said.err.contains("growing` was changed while it was"), "{}", said.err);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    std::fs::remove_file(growing).unwrap();

    tar(&host, &["-cf", "device.tar", "-C", "dist", ".", "-C", "/dev", "null"]);
    configure(&host, "\"device.tar\"", "");
    let said = host.run(&["deploy", "v1"]).exits(2);
    assert!(said.err.contains("`null` is a device file"), "{}", said.err);
    assert_eq!(leftovers(&host), Vec::<PathBuf>::new());
}

#[test]
fn what_is_shared_outlives_releases() {
    let host = Host::start();
    application(&host, "\"dist/\"", "[run]\nshared = [\"uploads\"]");
    host.run(&["deploy", "v1"]).exits(0);
    let shared = host.state().join("shared/shop/uploads");
    std::fs::write(shared.join("photo"), "a photo").unwrap();
    host.write("dist/page", "two");
    host.run(&["deploy", "v2"]).exits(0);
    for release in std::fs::read_dir(host.state().join("releases/shop")).unwrap().flatten() {
        let seen = std::fs::read_to_string(release.path().join("files/uploads/photo"));
        assert_eq!(seen.unwrap(), "a photo");
    }
    host.write("dist/uploads/ours", "would be hidden");
    let said = host.run(&["deploy", "v3"]).exits(2);
    assert!(said.err.contains("`uploads` is shared, and the artifact has `uploads/ours`"), "{}", said.err);
}

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "CUTOVER_TEST_ON_A_SMALL_DISK";

#[test]
fn what_the_disk_has_no_room_for_is_refused_with_figures_and_leaves_room_to_work() {
    if std::env::var_os(INSIDE).is_none() {
        let test = "what_the_disk_has_no_room_for_is_refused_with_figures_and_leaves_room_to_work";
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
        let done: Said = command.env(INSIDE, "1").output().expect("unshare, of util-linux").into();
        assert!(done.exit == 0 && done.out.contains("1 passed"), "{}{}", done.out, done.err);
        return;
    }
    let mut host = Host::without_controller();
    std::fs::create_dir(host.state()).unwrap();
    let mut mount = Command::new("mount");
    let done = mount.args(["-t", "tmpfs", "-o", "size=160m,mode=0700", "tmpfs"]).arg(host.state()).output();
    assert!(done.unwrap().status.success());
    host.serve();
    application(&host, "\"dist/\"", "");
    host.run(&["deploy", "v1"]).exits(0);
    let releases = leftovers(&host);

    // Known before: refused before a byte is sent.
    noise(&host.path("application/dist/large"), 200 * 1024 * 1024);
    for arguments in [&["deploy", "v2"][..], &["deploy", "v2", "--upload"]] {
        let said = host.run(arguments).exits(4);
        assert!(
            said.err.contains("MiB with the reserve, ") && said.err.contains("MiB are free"),
            "{}",
            said.err
        );
        assert_eq!(coming(&host), 0);
    }
    std::fs::remove_file(host.path("application/dist/large")).unwrap();

    // Known only when it is unpacked: a few kilobytes that become much.
    let zeros = std::fs::File::create(host.path("application/dist/zeros")).unwrap();
    zeros.set_len(300 * 1024 * 1024).unwrap();
    tar(&host, &["-czf", "bomb.tgz", "-C", "dist", "."]);
    configure(&host, "\"bomb.tgz\"", "");
    for arguments in [&["deploy", "v2"][..], &["deploy", "v2", "--upload"]] {
        let said = host.run(arguments).exits(4);
        assert!(said.err.contains("MiB were written, "), "{}", said.err);
        assert!(said.err.contains("rollback and abort still work"), "{}", said.err);
    }
    assert_eq!(leftovers(&host), releases);
    std::fs::remove_file(host.path("application/dist/zeros")).unwrap();
    configure(&host, "\"dist/\"", "[env]\nRELEASE_NAME = \"two\"");
    host.run(&["deploy", "v2"]).exits(0);
}
