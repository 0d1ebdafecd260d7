//! Suites that are repeated in the bake, and hooks that trail.

use crate::shop::{Shop, Users, step};

#[test]
fn a_check_that_fails_in_the_bake_takes_the_release_back_and_people_are_told() {
    let notify = "[notify]\ncommand = [\"sh\", \"-c\", \"cat >> @CONTROL/told\"]";
    let shop = Shop::with_v1_live(&format!("bake = \"1h\"\n{notify}"));
    let users = Users::start(&shop);
    shop.deploy("v2").exits(0);
    // Once before the switch, and again and again after it.
    shop.until_asked("bake", "v2", 4);
    assert_eq!(shop.live(), "v2");
    shop.fail_for("bake", "v2");
    let status =
        shop.host.eventually("it is taken back", |status| status["deployment"]["status"] == "rolled_back");
    let reason = status["deployment"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("in the bake `again` failed: "), "{reason}");
    assert_eq!(shop.live(), "v1");
    let shown = shop.show();
    assert_eq!(step(&shown, "checks")["finding"]["verdict"], "fail", "{shown}");
    users.end_well();
    let told = shop.host.path("control/told");
    crate::support::wait_until("people are told", || {
        let told = std::fs::read_to_string(&told).unwrap_or_default();
        told.contains("rolled_back") && told.contains("in the bake `again` failed")
    });
    crate::support::wait_until("the hooks have run", || {
        shop.asked("on_rollback", "v2") == 1 && shop.asked("on_failure", "v2") == 1
    });
}

#[test]
fn a_controller_that_is_killed_amid_a_check_asks_it_again() {
    for passes in [true, false] {
        let mut shop = Shop::with_v1_live("bake = \"1h\"");
        shop.deploy("v2").exits(0);
        shop.hold("bake", true);
        let asked = shop.asked("bake", "v2") + 1;
        shop.until_asked("bake", "v2", asked);
        shop.host.kill_controller();
        shop.host.serve();
        shop.until_asked("bake", "v2", asked + 1);
        if passes {
            shop.hold("bake", false);
            shop.until_asked("bake", "v2", asked + 3);
            assert_eq!(shop.live(), "v2");
        } else {
            shop.fail_for("bake", "v2");
            shop.hold("bake", false);
            shop.host
                .eventually("it is taken back", |status| status["deployment"]["status"] == "rolled_back");
            assert_eq!(shop.live(), "v1");
        }
    }
}

#[test]
fn hooks_that_trail_run_in_order_and_are_in_the_report_whatever_they_say() {
    let shop = Shop::with_v1_live("bake = \"2s\"");
    shop.fail("after_cutover", true);
    shop.deploy("v2").exits(0);
    crate::support::wait_until("the last one is told", || {
        !step(&shop.show(), "after_bake")["outcome"].is_null()
    });
    let shown = shop.show();
    assert_eq!((shop.live().as_str(), shown["status"].as_str()), ("v2", Some("live")));
    let outcome = |name: &str| step(&shown, name)["outcome"].clone();
    let told = ["after_each_step", "after_cutover", "after_bake"].map(outcome);
    assert_eq!(told, ["passed", "failed", "passed"].map(serde_json::Value::from));
    assert_eq!(step(&shown, "after_cutover")["finding"]["checks"][0]["output"][0], "no: after_cutover");
}

#[test]
fn a_controller_that_is_killed_amid_a_hook_that_trails_runs_it_again() {
    let mut shop = Shop::with_v1_live("bake = \"2s\"");
    // The hooks of a service run one after the other.
    shop.until_asked("after_bake", "v1", 1);
    shop.hold("after_cutover", true);
    shop.deploy("v2").exits(0);
    shop.until_asked("after_cutover", "v2", 1);
    shop.host.eventually("the bake is over", |status| !status["deployment"]["ended_at"].is_null());
    shop.host.kill_controller();
    shop.host.serve();
    shop.until_asked("after_cutover", "v2", 2);
    shop.hold("after_cutover", false);
    crate::support::wait_until("all are told", || !step(&shop.show(), "after_bake")["outcome"].is_null());
    let shown = shop.show();
    assert_eq!(
        (&step(&shown, "after_cutover")["outcome"], &shown["status"]),
        (&"passed".into(), &"live".into())
    );
    shop.assert_never_twice();
}
