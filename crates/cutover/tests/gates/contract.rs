//! The contraction of the schema, and the end of the way back.

use crate::shop::Shop;

#[test]
fn in_the_bake_there_is_a_way_back_that_is_not_cut_off() {
    let shop = Shop::with_v1_live("bake = \"1h\"");
    shop.deploy("v2").exits(0);
    let refused = shop.host.run(&["contract", "--yes"]).exits(4);
    assert!(refused.err.contains("in its bake"), "{}", refused.err);
    assert_eq!(shop.asked("contract", "v2"), 0);
    shop.host.run(&["rollback"]).exits(0);
}

#[test]
fn once_contracted_there_is_no_way_back_and_everybody_is_told() {
    let mut shop = Shop::with_v1_live("bake = \"2s\"");
    shop.deploy("v2").exits(0);
    shop.host.eventually("the bake is over", |status| !status["deployment"]["ended_at"].is_null());
    assert_eq!(shop.host.status()["rollback"]["ready"], true);
    shop.hold("contract", true);
    let mut client = shop.host.command(&["contract", "--yes"]).spawn().unwrap();
    shop.until_asked("contract", "v2", 1);
    // From the moment it began: half of it is as good as all.
    assert_eq!(shop.host.status()["rollback"]["ready"], false);
    shop.host.kill_controller();
    shop.host.serve();
    shop.until_asked("contract", "v2", 2);
    shop.host.run(&["rollback"]).exits(4);
    shop.hold("contract", false);
    client.kill().unwrap_or_default();
    client.wait().unwrap();
    let status =
        shop.host.eventually("it is contracted", |status| !status["contraction"]["finding"].is_null());
    assert_eq!(status["contraction"]["finding"]["verdict"], "pass");
    let said = shop.host.run(&["status"]).exits(0).out;
    assert!(said.contains("no rollback: the schema was contracted for `v2`"), "{said}");
    shop.host.run(&["rollback"]).exits(4);
    let again = shop.host.run(&["contract", "--yes"]).exits(4);
    assert!(again.err.contains("that was done for `v2`"), "{}", again.err);
    shop.assert_never_twice();
}

#[test]
fn a_contraction_that_fails_is_told_and_can_be_asked_for_again() {
    let shop = Shop::with_v1_live("bake = \"2s\"");
    shop.deploy("v2").exits(0);
    shop.host.eventually("the bake is over", |status| !status["deployment"]["ended_at"].is_null());
    shop.fail("contract", true);
    let said = shop.host.run(&["contract", "--yes"]).exits(1);
    assert!(said.out.contains("no: contract") && said.out.contains("there is no rollback"), "{}", said.out);
    assert_eq!(shop.host.status()["rollback"]["ready"], false);
    shop.fail("contract", false);
    shop.host.run(&["contract", "--yes"]).exits(0);
    assert_eq!(shop.live(), "v2");
}

#[test]
fn one_that_is_under_way_is_ended_by_an_abort_that_says_so() {
    let shop = Shop::with_v1_live("bake = \"2s\"");
    shop.deploy("v2").exits(0);
    shop.host.eventually("the bake is over", |status| !status["deployment"]["ended_at"].is_null());
    shop.hold("contract", true);
    let mut client = shop.host.command(&["contract", "--yes"]).spawn().unwrap();
    shop.until_asked("contract", "v2", 1);
    let said = shop.host.run(&["abort"]).exits(0).out;
    assert!(said.contains("the contraction of the schema for v2 was ended"), "{said}");
    assert_eq!(client.wait().unwrap().code(), Some(1));
    let said = shop.host.run(&["status"]).exits(0).out;
    assert!(said.contains("has not passed: aborted by ") && said.contains("no rollback: "), "{said}");
    shop.hold("contract", false);
    shop.host.run(&["contract", "--yes"]).exits(0);
}

#[test]
fn not_even_broken_glass_leads_back_to_what_cannot_run_on_the_schema() {
    let mut shop = Shop::with_v1_live("bake = \"2s\"");
    shop.deploy("v2").exits(0);
    shop.host.eventually("the bake is over", |status| !status["deployment"]["ended_at"].is_null());
    shop.host.run(&["contract", "--yes"]).exits(0);
    let history = shop.host.run(&["history"]).exits(0).out;
    assert!(!history.contains("goes back to v1"), "{history}");
    shop.host.kill_controller();
    let refused = shop.host.run(&["rollback", "--break-glass", "--yes"]).exits(4);
    assert!(refused.err.contains("the schema was contracted for `v2`"), "{}", refused.err);
    assert!(shop.host.get("/").ends_with("v2"), "traffic stays where it is");
    shop.host.serve();
}
