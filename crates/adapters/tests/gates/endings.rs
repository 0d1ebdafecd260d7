//! Nothing of a gate outlives it, and nothing of it runs twice.

use std::fs;
use std::time::Duration;

use cutover_core::gates::{Gate, HookPoint, Verdict};
use tokio::sync::mpsc;

use crate::bench::{Bench, is_dead, kill, until};

const POINT: HookPoint = HookPoint::BeforeDeploy;

/// Says who it is, and fails if another of its kind runs; stays unless the test has said that it is enough.
fn alone(bench: &Bench) -> String {
    let (pids, lock, enough) = (bench.path("pids"), bench.path("lock"), bench.path("enough"));
    format!(
        "exec 9>{lock}; flock -n 9 || exit 7\necho $$ >> {pids}\nwhile ! test -e {enough}; do sleep 0.05; done",
        lock = lock.display(),
        pids = pids.display(),
        enough = enough.display(),
    )
}

#[tokio::test]
async fn what_a_program_leaves_running_is_ended_with_it_wherever_it_has_gone() {
    let mut bench = Bench::new();
    let (stays, hides) = (bench.path("stays"), bench.path("hides"));
    let script = format!(
        "sh -c 'echo $$ > {0}; exec sleep 1000' &\n\
         env -i /usr/bin/setsid sh -c 'echo $$ > {1}; exec /bin/sleep 1000' <&- >/dev/null 2>&1 &\n\
         while ! test -s {0} || ! test -s {1}; do sleep 0.01; done",
        stays.display(),
        hides.display(),
    );
    bench.hook(POINT, &script);
    let finding = bench.ask_hooks().await;
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    assert!(is_dead(bench.pid("stays").await) && is_dead(bench.pid("hides").await));
}

#[tokio::test]
async fn a_program_whose_guard_is_killed_is_ended_at_once_although_it_goes_on_writing() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    bench.hook(POINT, &format!("echo $$ >> {}\nwhile :; do echo more; sleep 0.02; done", pids.display()));
    let killed = async {
        let pid = bench.pid("pids").await;
        kill(parent(pid));
        pid
    };
    let (finding, pid) = tokio::join!(bench.ask_hooks(), killed);
    assert_eq!(finding.verdict, Verdict::NotYet, "{finding:?}");
    assert!(finding.reason.contains("its guard was killed"), "{finding:?}");
    assert!(is_dead(pid));
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_its_program() {
    let mut bench = Bench::new();
    let script = alone(&bench);
    bench.hook(POINT, &script);
    let (keeper, tell) = (bench.keeper(), mpsc::unbounded_channel().0);
    let asked = async {
        bench.ask_with(&keeper, &Gate::Hook(POINT), &tell).await;
    };
    let pid = tokio::select! {
        () = asked => panic!("it stays"),
        pid = bench.pid("pids") => pid,
    };
    until("it is ended", || async { is_dead(pid) && bench.carriers().is_empty() }).await;
    let nothing_is_left = || async { fs::read_dir(bench.path("state/commands")).unwrap().count() == 0 };
    until("its plan is gone", nothing_is_left).await;
}

#[tokio::test]
async fn a_killed_controller_takes_the_programs_of_its_gates_along() {
    let mut bench = Bench::new();
    let script = alone(&bench);
    bench.hook(POINT, &script);
    let mut controller = bench.controller(&Gate::Hook(POINT));
    let pid = bench.pid("pids").await;
    controller.kill().unwrap();
    controller.wait().unwrap();
    until("it is ended", || async { is_dead(pid) && bench.carriers().is_empty() }).await;
}

#[tokio::test]
async fn what_outlived_its_controller_and_its_guard_is_ended_before_the_gate_is_asked_again() {
    let mut bench = Bench::new();
    let script = format!("trap '' TERM\n{}", alone(&bench));
    bench.hook(POINT, &script);
    let mut controller = bench.controller(&Gate::Hook(POINT));
    let pid = bench.pid("pids").await;
    let guard = parent(pid);
    // Stopped, it cannot notice; so it is as if both had been killed in the same moment.
    let stop = rustix::process::Signal::STOP;
    rustix::process::kill_process(rustix::process::Pid::from_raw(guard).unwrap(), stop).unwrap();
    controller.kill().unwrap();
    controller.wait().unwrap();
    kill(guard);
    until("the guard is gone", || async { is_dead(guard) }).await;
    assert!(!is_dead(pid));

    let (keeper, tell) = (bench.keeper(), mpsc::unbounded_channel().0);
    let gate = Gate::Hook(POINT);
    let again = bench.ask_with(&keeper, &gate, &tell);
    let second = async {
        until("it runs again", || async { bench.read("pids").lines().count() == 2 }).await;
        // It has the lock, so that the first had ended.
        assert!(is_dead(pid));
        fs::write(bench.path("enough"), "").unwrap();
    };
    let (finding, ()) = tokio::join!(again, second);
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
}

#[tokio::test]
async fn what_a_run_under_the_same_id_left_is_ended_first_and_what_another_gate_runs_stays() {
    let mut bench = Bench::new();
    let script = alone(&bench);
    bench.hook(POINT, &script);
    let first_keeper = bench.keeper();
    let (tell, gate) = (mpsc::unbounded_channel().0, Gate::Hook(POINT));
    let other = Bench::new();
    let (others, enough) = (other.path("pids"), other.path("enough"));
    let mut other = other;
    let stays =
        format!("echo $$ >> {}\nwhile ! test -e {}; do sleep 0.05; done", others.display(), enough.display());
    other.hook(POINT, &stays);
    let first = bench.ask_with(&first_keeper, &gate, &tell);
    let second = async {
        let (pid, of_other) = (bench.pid("pids").await, other.pid("pids").await);
        let keeper = bench.keeper();
        let again = bench.ask_with(&keeper, &gate, &tell);
        let looked_at = async {
            until("it runs again", || async { bench.read("pids").lines().count() == 2 }).await;
            assert!(is_dead(pid) && !is_dead(of_other));
            fs::write(bench.path("enough"), "").unwrap();
            fs::write(other.path("enough"), "").unwrap();
        };
        tokio::join!(again, looked_at).0
    };
    let (first, second, of_other) = tokio::join!(first, second, other.ask_hooks());
    assert_eq!(first.verdict, Verdict::NotYet, "{first:?}");
    assert_eq!((second.verdict, of_other.verdict), (Verdict::Pass, Verdict::Pass), "{second:?}");
}

#[tokio::test]
async fn a_program_that_holds_its_streams_open_from_elsewhere_does_not_delay_the_answer() {
    let mut bench = Bench::new();
    let left = bench.path("left");
    let script = format!(
        "setsid sh -c 'trap \"\" TERM HUP; echo $$ > {0}; while :; do sleep 0.1; done' &\n\
         while ! test -s {0}; do sleep 0.01; done; echo done",
        left.display()
    );
    bench.hook(POINT, &script).timeout = Duration::from_secs(30);
    let started = std::time::Instant::now();
    let finding = bench.ask_hooks().await;
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(is_dead(bench.pid("left").await));
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}
