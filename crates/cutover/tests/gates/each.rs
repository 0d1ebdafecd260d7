//! Each kind of gate both ways: it lets a good release pass, and keeps a bad one from every user.

use crate::shop::{KINDS, Shop, Users, step};

const ROLLOUT: &str = "bake = \"1h\"";

#[test]
fn a_good_release_passes_every_kind_of_gate_and_users_get_it() {
    let shop = Shop::with_v1_live(ROLLOUT);
    let users = Users::start(&shop);
    let said = shop.deploy("v2").exits(0);
    assert!(said.out.starts_with("v2 is live"), "{}", said.out);
    for (kind, label) in KINDS {
        assert!(shop.asked(kind, "v2") >= 1, "`{kind}` was never asked");
        let shown = shop.show();
        let gate = step(&shown, label);
        assert_eq!(
            (&gate["outcome"], &gate["finding"]["verdict"]),
            (&"passed".into(), &"pass".into()),
            "{gate}"
        );
    }
    // The old release has proved itself once more, on the new schema.
    assert_eq!(shop.asked("smoke", "v1"), 2);
    assert_eq!(step(&shop.show(), "still works")["outcome"], "passed");
    crate::support::wait_until("users get v2", || shop.users_of("v2") > 0);
    users.end_well();
    shop.assert_never_twice();
}

/// Deploys bad releases, one for each kind.
fn stopped_by(kinds: &[(&str, &str)]) {
    let shop = Shop::with_v1_live(ROLLOUT);
    let users = Users::start(&shop);
    for (number, (kind, label)) in kinds.iter().enumerate() {
        let version = format!("v{}", number + 2);
        shop.fail(kind, true);
        let said = shop.deploy(&version).exits(1);
        shop.fail(kind, false);
        let shown = shop.show();
        assert_eq!(shown["version"], version.as_str());
        let reason = shown["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("`{label}` failed: ")), "{kind}: {reason}");
        let gate = step(&shown, label);
        assert_eq!(
            (&gate["outcome"], &gate["finding"]["verdict"]),
            (&"failed".into(), &"fail".into()),
            "{gate}"
        );
        assert!(said.err.contains("✗"), "{}", said.err);
        // The expansion alone may have had to be asked: nothing was started before it.
        assert_eq!(shop.live(), "v1", "{kind}");
        assert_eq!(shop.users_of(&version), 0, "{kind} let a user through");
        crate::support::wait_until("its last hooks are told", || {
            let shown = shop.show();
            !step(&shown, "on_failure")["outcome"].is_null()
        });
    }
    users.end_well();
    shop.assert_never_twice();
}

#[test]
fn hooks_and_the_expansion_keep_a_bad_release_from_users() {
    stopped_by(&KINDS[..5]);
}

#[test]
fn suites_and_what_follows_them_keep_a_bad_release_from_users() {
    stopped_by(&KINDS[5..]);
}

#[test]
fn a_release_that_breaks_the_old_one_by_its_schema_is_stopped() {
    let shop = Shop::with_v1_live(ROLLOUT);
    let users = Users::start(&shop);
    shop.fail_for("smoke", "v1");
    shop.deploy("v2").exits(1);
    let shown = shop.show();
    assert_eq!(step(&shown, "smoke")["outcome"], "passed");
    assert!(shown["reason"].as_str().unwrap().starts_with("`still works` failed: requests"), "{shown}");
    assert_eq!((shop.live(), shop.users_of("v2")), ("v1".to_owned(), 0));
    users.end_well();
}

#[test]
fn what_gives_no_verdict_has_not_passed() {
    let shop = Shop::with_v1_live(ROLLOUT);
    let text = |more: &str| {
        format!(
            "name = \"shop\"\ncommand = [\"python3\", \"app.py\"]\n[env]\nCONTROL = \"{}\"\n{more}",
            shop.host.path("control").display()
        )
    };
    let cases = [
        ("[hooks]\nafter_healthy = { command = [\"sh\", \"-c\", \"kill -9 $$\"] }", "killed by SIGKILL"),
        ("[hooks]\nafter_healthy = { command = [\"sleep\", \"600\"], timeout = \"300ms\" }", "300ms"),
        ("[hooks]\nafter_healthy = { url = \"http://127.0.0.1:1/\" }", "onnect"),
        (
            "[[smoke]]\nname = \"none\"\ncommand = [\"true\"]\njunit = \"no-such-report.xml\"",
            "no-such-report.xml",
        ),
        (
            "[[smoke]]\nname = \"empty\"\ncommand = [\"sh\", \"-c\", \"echo '<testsuite/>' > $CONTROL/empty.xml\"]\njunit = \"$CONTROL/empty.xml\"",
            "no test",
        ),
    ];
    for (number, (more, said)) in cases.iter().enumerate() {
        let version = format!("v{}", number + 2);
        let more =
            more.replace("junit = \"$CONTROL", &format!("junit = \"{}", shop.host.path("control").display()));
        shop.host.write("cutover.toml", &text(&format!("RELEASE = \"{version}\"\n{more}")));
        shop.host.run(&["deploy", &version, "--end-bake", "--wait", "live"]).exits(1);
        let reason = shop.show()["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("gave no verdict: ") && reason.contains(said), "{more}: {reason}");
        assert_eq!((shop.live(), shop.users_of(&version)), ("v1".to_owned(), 0));
    }
}

#[test]
fn the_report_is_told_with_request_answer_and_assertion_as_text_json_and_junit() {
    let shop = Shop::with_v1_live(ROLLOUT);
    shop.fail("smoke", true);
    shop.deploy("v2").exits(1);
    let said = shop.host.run(&["show", "--junit", "report.xml"]).exits(0);
    for part in ["GET /smoke HTTP/1.1", "HTTP/1.1 500 ", "✗ status == 200", "found 500"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let report = std::fs::read_to_string(shop.host.path("application/report.xml")).unwrap();
    for part in ["<testsuites", "name=\"smoke\"", "<failure", "status == 200"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let finding = step(&shop.show(), "smoke")["finding"].clone();
    let failed =
        finding["checks"].as_array().unwrap().iter().find(|check| check["verdict"] == "fail").unwrap();
    assert_eq!(failed["assertions"][0]["text"], "status == 200");
    assert_eq!(failed["assertions"][0]["found"], "500");
}

#[test]
fn suites_can_be_run_by_hand_at_what_is_live_and_at_what_is_kept_warm() {
    let shop = Shop::with_v1_live(ROLLOUT);
    shop.deploy("v2").exits(0);
    let view = shop.host.run(&["--json", "smoke", "idle"]).exits(0).json();
    assert_eq!((&view["version"], &view["finding"]["verdict"]), (&"v1".into(), &"pass".into()));
    shop.fail_for("smoke", "v2");
    let said = shop.host.run(&["smoke", "live", "--suite", "requests"]).exits(1);
    assert!(said.out.contains("✗ v2 on green: ") && said.out.contains("found 500"), "{}", said.out);
    let said = shop.host.run(&["smoke", "live", "--suite", "nosuch"]).exits(4);
    assert!(said.err.contains("no suite `nosuch`") && said.err.contains("`requests`"), "{}", said.err);
    assert_eq!(shop.live(), "v2", "nothing depends on it");
}

#[test]
fn a_plan_tells_what_will_be_asked_and_which_gates_are_new() {
    let shop = Shop::with_v1_live(ROLLOUT);
    let text = std::fs::read_to_string(shop.host.path("application/cutover.toml")).unwrap();
    let text = text.replace("name = \"requests\"", "name = \"renamed\"");
    shop.host.write("cutover.toml", &text);
    let plan = shop.host.run(&["--json", "plan", "v2"]).exits(0).json();
    assert_eq!(plan["gates"]["added"], serde_json::json!(["smoke renamed"]));
    assert_eq!(plan["gates"]["removed"], serde_json::json!(["smoke requests"]));
    assert_eq!(plan["configuration"], serde_json::json!([]));
    let asked = plan["asked"].as_array().unwrap();
    assert_eq!(asked.len(), 8, "{asked:?}");
    assert_eq!(
        (&asked[4], &asked[6]),
        (&"smoke (5 suites)".into(), &"still works (5 suites of what is live)".into())
    );
    let said = shop.host.run(&["plan", "v2"]).exits(0).out;
    assert!(said.contains("  asks         before_deploy, expand, after_provision, "), "{said}");
}
