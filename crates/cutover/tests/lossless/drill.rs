//! A rehearsal of one's own service: what it plays, what it says, and that nothing of it stays.

use crate::every_kind;
use crate::support::{CUTOVER, Host};

fn drill(host: &Host, more: &[&str]) -> crate::support::Said {
    let words = [&["--json", "drill", "--each", "200ms", "--clients", "4"][..], more].concat();
    let mut command = std::process::Command::new(CUTOVER);
    command.args(words).current_dir(host.path("application")).env_remove("CUTOVER_STATE_DIR");
    command.output().unwrap().into()
}

#[test]
fn each_act_has_its_figures_and_none_of_them_fails_a_request() {
    let host = Host::without_controller();
    every_kind(&host, "drain = { requests = \"1s\", rate = \"100/s\" }", "[run]\ninstances = 2\n");
    let said = drill(&host, &["--web-socket", "/ws", "--events", "/events?ms=20"]).exits(0);
    let report = said.json();
    let acts = report["acts"].as_array().unwrap();
    let names: Vec<&str> = acts.iter().map(|act| act["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first release", "deploy", "rollback", "failing release", "killed instance"]);
    assert_eq!((&report["failed"], &report["service"]), (&0.into(), &"shop".into()));
    assert!(acts.iter().skip(1).all(|act| act["requests"].as_u64() > Some(20)), "{report}");
    assert!(acts[1]["switch_ms"].is_f64() && acts[2]["switch_ms"].is_f64(), "{report}");
    assert!(acts[1]["asked_to_leave"].as_u64() > Some(0), "{report}");
    assert!(said.err.contains("is used for real"), "{}", said.err);
}

#[test]
fn a_path_that_fails_anyway_is_told_instead_of_counted() {
    let host = Host::without_controller();
    host.configure("");
    let said = drill(&host, &["--path", "/no-such-page"]).exits(4);
    assert!(
        said.err.contains("`/no-such-page` is not answered well even without any trouble"),
        "{}",
        said.err
    );
}
