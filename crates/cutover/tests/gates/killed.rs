//! The controller is killed while a gate is asked: the gate is asked again, never twice at once, and its answer counts.

use crate::shop::{KINDS, Shop, Users};

fn killed_amid(kinds: &[(&str, &str)]) {
    let mut shop = Shop::with_v1_live("bake = \"1h\"");
    let users = Users::start(&shop);
    let (mut live, mut number) = ("v1".to_owned(), 1);
    for (kind, label) in kinds {
        for passes in [false, true] {
            number += 1;
            let version = format!("v{number}");
            shop.hold(kind, true);
            let mut client = shop.begin(&version);
            shop.until_asked(kind, &version, 1);
            shop.host.kill_controller();
            shop.host.serve();
            shop.until_asked(kind, &version, 2);
            shop.fail(kind, !passes);
            shop.hold(kind, false);
            let settled = shop.settled(&version);
            shop.fail(kind, false);
            let reason = settled["reason"].as_str().unwrap_or_default();
            if passes {
                assert_eq!(settled["status"], "live", "{kind}: {reason}");
                live = version;
            } else {
                assert!(reason.starts_with(&format!("`{label}` failed: ")), "{kind}: {reason}");
                assert_eq!(shop.users_of(&version), 0, "{kind} let a user through");
            }
            assert_eq!(shop.live(), live, "{kind}");
            client.kill().unwrap_or_default();
            client.wait().unwrap();
            // The next deployment ends the bake of this one.
            shop.host.eventually("its undo has ended", |status| {
                let newest = &status["deployment"];
                !newest["ended_at"].is_null() || newest["status"] == "live"
            });
        }
    }
    users.end_well();
    shop.assert_never_twice();
}

#[test]
fn amid_hooks_before_it_is_healthy() {
    killed_amid(&KINDS[..3]);
}

#[test]
fn amid_hooks_of_a_healthy_release() {
    killed_amid(&KINDS[3..5]);
}

#[test]
fn amid_requests_and_hurl() {
    killed_amid(&[KINDS[5], KINDS[8]]);
}

#[test]
fn amid_suites_that_are_programs() {
    killed_amid(&KINDS[6..8]);
}

#[test]
fn amid_what_follows_the_suites() {
    killed_amid(&KINDS[9..]);
}

#[test]
fn amid_the_suites_of_the_release_that_is_live() {
    for passes in [false, true] {
        let mut shop = Shop::with_v1_live("bake = \"1h\"");
        let users = Users::start(&shop);
        let before = shop.asked("smoke", "v1");
        shop.hold_for("smoke", "v1");
        let mut client = shop.begin("v2");
        shop.until_asked("smoke", "v1", before + 1);
        shop.host.kill_controller();
        shop.host.serve();
        shop.until_asked("smoke", "v1", before + 2);
        if !passes {
            shop.fail_for("smoke", "v1");
        }
        shop.hold("smoke", false);
        let settled = shop.settled("v2");
        if passes {
            assert_eq!((settled["status"].as_str(), shop.live().as_str()), (Some("live"), "v2"));
        } else {
            assert!(settled["reason"].as_str().unwrap().starts_with("`still works` failed: "), "{settled}");
            assert_eq!((shop.users_of("v2"), shop.live().as_str()), (0, "v1"));
        }
        client.kill().unwrap_or_default();
        client.wait().unwrap();
        users.end_well();
    }
}
