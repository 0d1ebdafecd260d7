//! A person's promote as the last gate.

use crate::shop::{Shop, Users, step};

const HELD: &str = "bake = \"1h\"\napproval = \"before_shift\"\napproval_timeout = \"1h\"";

fn held(shop: &Shop, version: &str) {
    let said = shop.deploy(version).exits(6);
    let said = format!("{}{}", said.out, said.err);
    assert!(said.contains("`cutover promote shop` switches traffic to it"), "{said}");
}

#[test]
fn it_waits_in_front_of_users_until_somebody_promotes_it_also_over_a_crash() {
    let mut shop = Shop::new(HELD);
    held(&shop, "v1");
    shop.host.run(&["promote", "--wait", "live"]).exits(0);
    let users = Users::start(&shop);
    held(&shop, "v2");
    // Every other gate has passed by now; users get nothing of it.
    assert_eq!(step(&shop.show(), "before_shift")["outcome"], "passed");
    assert_eq!(shop.users_of("v2"), 0);
    shop.host.kill_controller();
    shop.host.serve();
    shop.host.eventually("it still waits", |status| !status["deployment"]["hold_until"].is_null());
    let link = shop.host.run(&["--json", "preview"]).exits(0).json();
    assert_eq!(link["version"], "v2");
    shop.host.run(&["promote", "--wait", "live"]).exits(0);
    assert_eq!(shop.live(), "v2");
    crate::support::wait_until("users get it", || shop.users_of("v2") > 0);
    users.end_well();
}

#[test]
fn whoever_comes_next_is_told_who_waits_since_when_and_what_settles_it() {
    let shop = Shop::new(HELD);
    held(&shop, "v1");
    let said = shop.deploy("v2").exits(4);
    assert!(said.err.contains("waits for somebody's promote since 2"), "{}", said.err);
    assert!(
        said.err.contains("`cutover promote` lets it go on, `cutover abort` takes it back"),
        "{}",
        said.err
    );
    shop.host.run(&["abort"]).exits(0);
}

#[test]
fn what_nobody_promotes_in_time_is_taken_back_and_no_user_has_seen_it() {
    let shop = Shop::with_v1_live("bake = \"1h\"");
    let users = Users::start(&shop);
    shop.configure("v2");
    shop.host.run(&["deploy", "v2", "--end-bake", "--hold-before-switch", "1s"]).exits(6);
    let status =
        shop.host.eventually("it is taken back", |status| status["deployment"]["status"] == "rolled_back");
    assert_eq!(status["deployment"]["reason"], "nobody promoted it within 1s");
    assert_eq!((shop.live(), shop.users_of("v2")), ("v1".to_owned(), 0));
    users.end_well();
}
