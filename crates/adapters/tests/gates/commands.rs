//! Hooks and steps of the database that are programs.

use std::fs;
use std::time::{Duration, Instant};

use cutover_core::gates::{Finding, Gate, HookAction, HookPoint, Migrate, Verdict};
use serde_json::json;
use tokio::sync::mpsc;

use crate::bench::{Bench, TOKEN};
use crate::proxy::{Proxy, idle};

const POINT: HookPoint = HookPoint::BeforeDeploy;

fn expect(finding: &Finding, verdict: Verdict, reason: &str) {
    assert_eq!((finding.verdict, finding.reason.as_str()), (verdict, reason), "{finding:#?}");
}

#[tokio::test]
async fn a_hook_is_told_what_for_by_its_environment_and_its_input_and_passes_by_its_exit_status() {
    let mut bench = Bench::new();
    bench.secret("KEY", "hunter2");
    let out = bench.path("out");
    let script = format!("cat > {0}.json; env | sort > {0}.env; echo \"$@\" > {0}.words", out.display());
    bench.hook(POINT, &script);
    let HookAction::Command(words) = &mut bench.release.configuration.gates.hooks[0].action else { panic!() };
    words.extend(["{version}", "{environment}", "{port}"].map(str::to_owned));
    expect(&bench.ask_hooks().await, Verdict::Pass, "1 of 1");
    let told: serde_json::Value = serde_json::from_str(&bench.read("out.json")).unwrap();
    let expected = json!({
        "v": 1, "gate": "before_deploy", "service": "shop", "deployment": "d-1", "kind": "deploy",
        "status": "validating", "actor": "eve", "version": "v2", "from": "v1", "environment": "green",
        "live": "blue", "reason": null,
    });
    assert_eq!(told, expected);
    assert_eq!(bench.read("out.words"), "v2 green {port}\n");
    let environment = bench.read("out.env");
    for line in [
        "CUTOVER_SERVICE=shop".to_owned(),
        "CUTOVER_VERSION=v2".to_owned(),
        "CUTOVER_ENVIRONMENT=green".to_owned(),
        "CUTOVER_DEPLOYMENT=d-1".to_owned(),
        "CUTOVER_HOOK=before_deploy".to_owned(),
        format!("CUTOVER_GATE={}", bench.id()),
        "KEY=hunter2".to_owned(),
    ] {
        assert!(environment.lines().any(|it| it == line), "{line} is not in\n{environment}");
    }
    assert!(!environment.contains("CUTOVER_INSTANCE") && !environment.contains("CUTOVER_TARGET_URL"));
    assert_eq!(fs::read_dir(bench.path("state/commands")).unwrap().count(), 0);
}

#[tokio::test]
async fn hooks_run_in_their_order_until_one_does_not_pass_and_the_last_lines_of_that_are_told() {
    let mut bench = Bench::new();
    let order = bench.path("order");
    bench.hook(POINT, &format!("echo 1 >> {}", order.display()));
    bench.hook(HookPoint::AfterCutover, &format!("echo other >> {}", order.display()));
    bench.hook(POINT, &format!("echo 2 >> {}; echo no room >&2; exit 3", order.display()));
    bench.hook(POINT, &format!("echo 3 >> {}", order.display()));
    let (tell, mut told) = mpsc::unbounded_channel();
    let finding = bench.ask_with(&bench.keeper(), &Gate::Hook(POINT), &tell).await;
    expect(&finding, Verdict::Fail, "hook 3: exit status 3");
    assert_eq!(bench.read("order"), "1\n2\n");
    // What failed comes first.
    assert_eq!(finding.checks[0].output, ["no room"]);
    assert_eq!(
        (told.try_recv().unwrap(), told.try_recv().unwrap()),
        ("hook `hook 1`".into(), "hook `hook 3`".into())
    );
}

#[tokio::test]
async fn megabytes_of_output_do_no_harm() {
    let mut bench = Bench::new();
    let lots = "head -c 30000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo the end; exit 1";
    bench.hook(POINT, lots);
    let finding = bench.ask_hooks().await;
    expect(&finding, Verdict::Fail, "hook 1: exit status 1");
    let output = &finding.checks[0].output;
    assert!(output.last().is_some_and(|line| line == "the end") && output.len() <= 20, "{output:?}");
}

#[tokio::test]
async fn what_is_killed_or_cannot_be_started_or_does_not_end_has_not_passed() {
    let check = async |script: &str, reason: &str| {
        let mut bench = Bench::new();
        bench.hook(POINT, script).timeout = Duration::from_millis(500);
        expect(&bench.ask_hooks().await, Verdict::NotYet, &format!("hook 1: {reason}"));
        assert_eq!(bench.carriers(), Vec::<i32>::new());
    };
    check("kill -9 $$", "killed by SIGKILL").await;
    check("kill -9 $PPID; sleep 100", "its guard was killed").await;
    check("echo; sleep 100", "it had not ended within 500ms, and was ended").await;

    let check = async |words: &[&str], part: &str| {
        let mut bench = Bench::new();
        let words = words.iter().map(|&word| word.to_owned()).collect();
        fs::write(bench.files().join("plain"), "#!/nowhere/sh\n").unwrap();
        let broken = bench.script("").remove(0);
        fs::write(bench.files().join(&broken), "#!/nowhere/sh\n").unwrap();
        bench.hook_of(POINT, HookAction::Command(words));
        let finding = bench.ask_hooks().await;
        assert_eq!(finding.verdict, Verdict::NotYet);
        assert!(finding.reason.contains(part), "{}", finding.reason);
    };
    check(&["no-such-program"], "is in none of the directories of PATH").await;
    check(&["./missing"], "does not exist").await;
    check(&["./plain"], "is not executable").await;
    check(&["./script-1"], "its interpreter").await;
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_in_bounded_time() {
    let mut bench = Bench::new();
    let script = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & \n\
                  while :; do sleep 0.1; done";
    bench.hook(POINT, script).timeout = Duration::from_millis(500);
    let started = Instant::now();
    let finding = bench.ask_hooks().await;
    expect(&finding, Verdict::NotYet, "hook 1: it had not ended within 500ms, and was ended");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(bench.carriers(), Vec::<i32>::new());
}

#[tokio::test]
async fn what_does_not_pass_is_begun_again_within_its_time() {
    let mut bench = Bench::new();
    let count = bench.path("count");
    let script = format!("echo >> {0}; test $(wc -l < {0}) -ge 3", count.display());
    bench.hook(POINT, &script).retries = 1;
    expect(&bench.ask_hooks().await, Verdict::Fail, "hook 1: exit status 1 (tried 2 times)");
    expect(&bench.ask_hooks().await, Verdict::Pass, "1 of 1");
}

#[tokio::test]
async fn a_secret_that_a_program_prints_is_not_told() {
    let mut bench = Bench::new();
    bench.secret("KEY", "correct horse battery");
    bench.hook(POINT, "echo \"the key is $KEY\"; printf %s \"$KEY\" | base64; exit 1");
    let finding = bench.ask_hooks().await;
    assert_eq!(finding.checks[0].output[0], "the key is ***");
    assert!(
        !format!("{finding:?}").contains("horse") && !format!("{finding:?}").contains("Y29ycmVjdCBob3Jz")
    );

    // One that is missing cannot be hidden, and nothing is run.
    fs::remove_file(bench.files().with_file_name("secrets").join("KEY")).unwrap();
    let finding = bench.ask_hooks().await;
    assert_eq!(finding.verdict, Verdict::NotYet);
    assert!(finding.reason.starts_with("cannot read the secret `KEY`"), "{}", finding.reason);
}

#[tokio::test]
async fn steps_of_the_database_are_programs_with_a_time_of_their_own() {
    let mut bench = Bench::new();
    let expand = bench.script("exit 0");
    let contract = bench.script("sleep 100");
    let timeout = Duration::from_millis(300);
    bench.release.configuration.gates.migrate =
        Migrate { expand: Some(expand), contract: Some(contract), timeout, ..Migrate::default() };
    expect(
        &bench.ask(&Gate::Contract).await,
        Verdict::NotYet,
        "contract: it had not ended within 300ms, and was ended",
    );
    bench.release.configuration.gates.migrate.timeout = Duration::from_secs(20);
    expect(&bench.ask(&Gate::Expand).await, Verdict::Pass, "1 of 1");
    bench.release.configuration.gates.migrate = Migrate::default();
    expect(&bench.ask(&Gate::Expand).await, Verdict::NotYet, "expand: the release has no command to expand");
}

#[tokio::test]
async fn a_point_without_hooks_is_no_pass() {
    expect(&Bench::new().ask_hooks().await, Verdict::NotYet, "nothing was checked");
}

#[tokio::test]
async fn a_hook_before_the_shift_can_ask_the_release() {
    let proxy = Proxy::start(|_| idle("200 OK", "", "fine")).await;
    let mut bench = Bench::before(proxy.address);
    bench.hook(HookPoint::BeforeShift, "curl -sf \"$CUTOVER_TARGET_URL/x\"");
    expect(&bench.ask(&Gate::Hook(HookPoint::BeforeShift)).await, Verdict::Pass, "1 of 1");
    assert_eq!(proxy.seen()[0].header("x-cutover-preview"), Some(TOKEN));
}
