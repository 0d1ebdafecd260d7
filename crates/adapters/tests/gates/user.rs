//! Programs of gates as the release's user. Only root can switch; for others their own user is the one that works.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use cutover_core::gates::{Gate, HookPoint, SuiteKind, Verdict};
use nix::unistd::{User, geteuid};

use crate::bench::Bench;
use crate::proxy::{Proxy, idle};

const GOOD: &str = "<testsuite><testcase name='a'/></testsuite>";

fn another() -> User {
    let own = User::from_uid(geteuid()).unwrap().unwrap();
    if own.uid.is_root() { User::from_name("nobody").unwrap().unwrap() } else { own }
}

#[tokio::test]
async fn a_program_runs_as_the_user_of_the_release_and_is_ended_all_the_same() {
    let user = another();
    let mut bench = Bench::new();
    bench.release.configuration.run.user = Some(user.name.clone());
    let script = format!("test $(id -u) = {} || exit 9; trap '' TERM; while :; do sleep 0.1; done", user.uid);
    bench.hook(HookPoint::BeforeDeploy, &script).timeout = Duration::from_millis(500);
    let finding = bench.ask_hooks().await;
    assert_eq!(finding.reason, "hook 1: it had not ended within 500ms, and was ended");
    assert_eq!((finding.verdict, bench.carriers()), (Verdict::NotYet, Vec::new()));
}

#[tokio::test]
async fn a_report_is_read_only_if_the_programs_user_could_have_written_it() {
    let proxy = Proxy::start(|_| idle("200 OK", "", "")).await;
    let mut bench = Bench::before(proxy.address);
    bench.release.configuration.run.user = Some(another().name);
    let (open, closed) = (bench.path("open"), bench.path("closed"));
    for (directory, mode) in [(&open, 0o777), (&closed, 0o700)] {
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, PermissionsExt::from_mode(mode)).unwrap();
    }
    let report = open.join("report.xml");
    let command = bench.script(&format!("echo \"{GOOD}\" > {}", report.display()));
    let junit = Some(report.display().to_string());
    bench.suite("unit", SuiteKind::Command { command, junit });
    let finding = bench.ask(&Gate::Smoke).await;
    assert_eq!((finding.verdict, finding.reason.as_str()), (Verdict::Pass, "1 of 1"), "{finding:#?}");

    // Through a directory that leads to a file of ours, written at the right moment.
    if !geteuid().is_root() {
        return;
    }
    symlink(&closed, open.join("link")).unwrap();
    let junit = Some(open.join("link/report.xml").display().to_string());
    let ready = bench.path("open/ready");
    let command = bench.script(&format!("while ! test -e {}; do sleep 0.01; done", ready.display()));
    bench.release.configuration.gates.smoke.clear();
    bench.suite("unit", SuiteKind::Command { command, junit });
    let written = async {
        crate::bench::until("it runs", || async { !bench.carriers().is_empty() }).await;
        fs::write(closed.join("report.xml"), GOOD).unwrap();
        fs::write(&ready, "").unwrap();
    };
    let (finding, ()) = tokio::join!(bench.ask(&Gate::Smoke), written);
    assert!(
        finding.verdict == Verdict::NotYet && finding.reason.ends_with("belongs to another user"),
        "{finding:#?}"
    );
}
