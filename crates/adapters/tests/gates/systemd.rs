//! Commands of gates in units of their own. What stands in for `systemd-run` here starts what it is told to, in another
//! session and with nothing but the variables that it is given; what systemd itself does with the unit is not shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_core::gates::{Finding, Gate, HookPoint, Verdict};

use crate::bench::{Bench, is_dead, until};

const SYSTEMD_RUN: &str = "#!/bin/sh
variables=
while [ \"$1\" != -- ]; do
    case $1 in --setenv=*) variables=\"$variables ${1#--setenv=}\" ;; esac
    shift
done
shift
setsid env -i $variables \"$@\" </dev/null >/dev/null 2>&1 &
";
const GATE: Gate = Gate::Hook(HookPoint::BeforeDeploy);

fn bench(script: impl Fn(&Bench) -> String) -> Bench {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("bin")).unwrap();
    let file = bench.path("bin/systemd-run");
    fs::write(&file, SYSTEMD_RUN).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(bench.path("systemd"), "").unwrap();
    let script = script(&bench);
    bench.hook(HookPoint::BeforeDeploy, &script);
    bench
}

async fn find(script: &str) -> Finding {
    let bench = bench(|_| script.to_owned());
    let mut controller = bench.controller(&GATE);
    tokio::task::spawn_blocking(move || controller.wait()).await.unwrap().unwrap();
    until("nothing is left", || async { bench.carriers().is_empty() }).await;
    serde_json::from_str(&bench.read("finding.json")).unwrap()
}

#[tokio::test]
async fn a_command_in_a_unit_of_its_own_is_told_and_judged_like_others() {
    let check = async |script: &str, verdict: Verdict, reason: &str| {
        let finding = find(script).await;
        assert_eq!((finding.verdict, finding.reason.as_str()), (verdict, reason), "{finding:#?}");
        finding
    };
    check("grep -q '\"v\":1'", Verdict::Pass, "1 of 1").await;
    let finding =
        check("setsid sleep 1000 & echo no room; exit 3", Verdict::Fail, "hook 1: exit status 3").await;
    assert_eq!(finding.checks[0].output, ["no room"]);
    check("kill -9 $$", Verdict::NotYet, "hook 1: killed by SIGKILL").await;
    check("kill -9 $PPID; sleep 1000", Verdict::NotYet, "hook 1: its guard was killed").await;
}

#[tokio::test]
async fn a_command_in_a_unit_of_its_own_ends_with_the_controller_that_wanted_it() {
    let bench = bench(|bench| format!("echo $$ > {}; sleep 1000", bench.path("pid").display()));
    let mut controller = bench.controller(&GATE);
    let pid = bench.pid("pid").await;
    controller.kill().unwrap();
    controller.wait().unwrap();
    until("it is ended", || async { is_dead(pid) && bench.carriers().is_empty() }).await;
}
