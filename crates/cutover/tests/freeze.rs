//! When not to deploy: a freeze that a person sets, the windows of a release, and what goes on to work.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::process::Stdio;

use support::{CUTOVER, Host, Said};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\n[rollout]\nbake = \"0s\"\n";

fn release(host: &Host, name: &str, more: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}{more}"));
}

fn service(host: &Host, name: &str, path: &str) {
    let command = format!("[\"{CUTOVER}\", \"sample-application\"]");
    host.write(
        "cutover.toml",
        &format!("name = \"{name}\"\npath = \"{path}\"\ncommand = {command}\n{QUICK}"),
    );
}

#[track_caller]
fn tells(said: &Said, words: &[&str]) {
    for word in words {
        assert!(said.err.contains(word) || said.out.contains(word), "`{word}` is missing: {said:#?}");
    }
}

#[test]
fn a_freeze_that_nobody_can_mean_is_refused_and_nobody_is_left_without_a_status() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    for until in ["9999-12-01T23:00:00Z", "2199-01-01", "20years", "300000000years"] {
        let said = host.run(&["freeze", "shop", "--until", until, "--reason", "x"]).exits(2);
        tells(&said, &["ten years"]);
    }
    host.run(&["freeze", "shop", "--until", "9years", "--reason", "x"]).exits(0);
    host.run(&["status", "shop"]).exits(0);
}

#[test]
fn nobody_forges_a_line_or_paints_on_the_terminal_of_others() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    for reason in ["a\nfrozen by root", "\u{1b}[2J", "a\u{202e}b", "a\rb"] {
        let said = host.run(&["freeze", "shop", "--until", "2h", "--reason", reason]).exits(2);
        tells(&said, &["a reason is one line"]);
        release(&host, "two", "");
        tells(&host.run(&["deploy", "v2", "--override-freeze", reason]).exits(2), &["a reason is one line"]);
    }
    // What an application writes before it ends, in the middle of what deploy says of it.
    host.write("cutover.toml", &format!(
        "name = \"shop\"\ncommand = [\"sh\", \"-c\", \"printf '\\\\033[2Jpainted\\\\n'; exit 1\"]\n{QUICK}"
    ));
    let said = host.run(&["deploy", "v3"]).exits(1);
    assert!(!said.err.contains('\u{1b}') && said.err.contains("\\u{1b}[2Jpainted"), "{said:#?}");
}

#[test]
fn a_script_gets_an_object_of_what_it_asked_wrongly_and_seconds_of_what_it_asked_rightly() {
    let host = Host::start();
    let said = host.run(&["--json", "freeze", "shop", "--no-such-option"]).exits(2).json();
    assert_eq!((&said["v"], &said["success"], &said["exit"]), (&1.into(), &false.into(), &2.into()));
    assert!(said["message"].as_str().unwrap().contains("--no-such-option"), "{said}");
    assert_eq!(host.run(&["freeze", "shop", "--no-such-option"]).exits(2).out, "");
    for version in ["v1", "v2"] {
        release(&host, version, "");
        host.run(&["deploy", version]).exits(0);
    }
    for arguments in [&["--json", "restart", "shop"][..], &["--json", "scale", "2"], &["--json", "rollback"]]
    {
        let said = host.run(arguments).exits(0).json();
        let milliseconds = said["duration_seconds"].as_f64().unwrap() * 1000.0;
        assert!(milliseconds > 0.0 && (milliseconds - milliseconds.round()).abs() < 1e-6, "{said}");
    }
}

#[test]
fn a_deploy_that_meets_a_controller_on_its_way_out_goes_to_the_next_one() {
    let mut host = Host::without_controller();
    release(&host, "one", "");
    std::fs::create_dir_all(host.state()).unwrap();
    // Takes the request and ends without an answer, as one that is killed.
    let dying = std::os::unix::net::UnixListener::bind(host.state().join("cutover.sock")).unwrap();
    let mut deploy = host.command(&["deploy", "v1"]).stderr(Stdio::piped()).spawn().unwrap();
    let (mut request, mut start) = (dying.accept().unwrap().0, [0; 16]);
    std::io::Read::read_exact(&mut request, &mut start).unwrap();
    drop((request, dying));
    host.serve();
    assert!(deploy.wait().unwrap().success());
    assert!(host.get("/").contains("x-version: v1"));
}

/// A window that was open yesterday and is not now, whatever day it is.
const CLOSED: &str = "[windows]\ntimezone = \"Europe/Vienna\"\nallow = [\"2020-01-01\"]\n";

#[test]
fn a_frozen_service_is_not_deployed_and_everyone_is_told_by_whom_why_and_until_when() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    let said = host.run(&["freeze", "shop", "--until", "2h", "--reason", "the sale goes on"]).exits(0);
    tells(&said, &["shop is frozen until ", "`cutover unfreeze shop`"]);

    release(&host, "two", "");
    let me = host.run(&["--json", "status", "shop"]).json()["freeze"]["by"].as_str().unwrap().to_owned();
    for arguments in [&["deploy", "v2"][..], &["deploy", "v2", "--queue"], &["deploy", "v2", "--supersede"]] {
        let refused = host.run(arguments).exits(4);
        tells(
            &refused,
            &[&format!("frozen by {me} until 2"), "the sale goes on", "--override-freeze REASON"],
        );
    }
    tells(
        &host.run(&["status", "shop"]).exits(0),
        &[&format!("frozen by {me} until "), ": the sale goes on"],
    );
    assert!(host.get("/").contains("x-version: v1"));

    // What is live already is no deployment: a repeated job is not refused.
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);

    release(&host, "two", "");
    let said = host.run(&["--json", "deploy", "v2", "--override-freeze", "the mend for the sale"]).exits(0);
    let id = said.json()["deployment"].as_str().unwrap().to_owned();
    tells(
        &host.run(&["show", &id]).exits(0),
        &["in spite of a freeze or closed windows: the mend for the sale"],
    );
    tells(&host.run(&["history"]).exits(0), &["overrode: the mend for the sale"]);
    let view = host.run(&["--json", "show", &id]).exits(0).json();
    assert_eq!(view["overrode"], "the mend for the sale");

    // A freeze is no reason to leave people with a bad release.
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));

    host.run(&["unfreeze", "shop"]).exits(0);
    tells(&host.run(&["unfreeze", "shop"]).exits(4), &["there is nothing to unfreeze"]);
    release(&host, "three", "");
    host.run(&["deploy", "v3"]).exits(0);
    let view = host.run(&["--json", "history", "shop"]).exits(0).json();
    assert_eq!(view["deployments"][0]["overrode"], serde_json::Value::Null);
}

#[test]
fn a_freeze_survives_the_controller_runs_out_by_itself_and_is_in_the_journal() {
    let mut host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    host.run(&["freeze", "--until", "20s", "--reason", "a short one"]).exits(0);
    host.kill_controller();
    host.serve();
    release(&host, "two", "");
    tells(&host.run(&["deploy", "v2"]).exits(4), &["a short one"]);
    host.eventually("the freeze is over", |status| status["freeze"].is_null());
    host.run(&["deploy", "v2"]).exits(0);
    host.run(&["journal", "verify"]).exits(0);
}

#[test]
fn a_freeze_of_all_holds_for_a_service_that_is_made_meanwhile() {
    let host = Host::start();
    tells(
        &host.run(&["freeze", "--all", "--until", "1h", "--reason", "x"]).exits(4),
        &["no service to freeze"],
    );
    service(&host, "one", "/one");
    host.run(&["deploy", "v1"]).exits(0);
    service(&host, "two", "/two");
    host.run(&["deploy", "v1"]).exits(0);
    let said = host.run(&["freeze", "--all", "--until", "1h", "--reason", "moving house"]).exits(0);
    tells(&said, &["one, two are frozen until"]);

    service(&host, "three", "/three");
    tells(&host.run(&["deploy", "v1"]).exits(4), &["every service is frozen by", "moving house"]);
    let services = host.run(&["--json", "history", "three"]);
    assert_ne!(services.exit, 0, "a refused first deployment leaves nothing: {services:#?}");
    host.run(&["deploy", "v1", "--override-freeze", "needed to move"]).exits(0);
    let status = host.run(&["--json", "status", "three"]).exits(0).json();
    assert_eq!(
        (&status["freeze"]["all"], &status["freeze"]["reason"]),
        (&true.into(), &"moving house".into())
    );

    tells(&host.run(&["unfreeze", "one"]).exits(0), &["one is frozen no more"]);
    tells(&host.run(&["unfreeze", "--all"]).exits(0), &["three, two are frozen no more"]);
    tells(&host.run(&["unfreeze", "--all"]).exits(0), &["nothing was frozen"]);
}

#[test]
fn a_moment_that_is_past_or_none_is_refused_and_one_far_away_is_not() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    let freeze = |until: &str| host.run(&["freeze", "shop", "--until", until, "--reason", "x"]);
    tells(&freeze("2020-01-01T00:00").exits(2), &["would be over: it is", "still to come"]);
    tells(&freeze("0s").exits(2), &["would be over"]);
    tells(&freeze("tomorrow").exits(2), &["`tomorrow` is no moment", "`2026-12-24T18:00 Europe/Vienna`"]);
    tells(&freeze("2099-12-24T18:00 Europe/Viena").exits(2), &["did you mean `Europe/Vienna`?"]);
    let said = host.run(&["freeze", "shop", "--until", "1h", "--reason", " "]).exits(2);
    tells(&said, &["a freeze needs a reason"]);
    let unknown = host.run(&["freeze", "shpo", "--until", "1h", "--reason", "x"]).exits(2);
    tells(&unknown, &["there is no service `shpo`"]);
    let far = jiff::Zoned::now().year() + 9;
    freeze(&format!("{far}-12-24T18:00 Europe/Vienna")).exits(0);
    assert_eq!(host.status()["freeze"]["until"], format!("{far}-12-24T17:00:00.000Z"));
    freeze(&format!("{far}-12-24T18:00:00+05:00")).exits(0);
    assert_eq!(host.status()["freeze"]["until"], format!("{far}-12-24T13:00:00.000Z"));
}

#[test]
fn a_freeze_does_not_stop_what_is_open_and_ends_what_waits_when_its_turn_comes() {
    let host = Host::start();
    release(&host, "one", "");
    host.run(&["deploy", "v1"]).exits(0);
    host.configure(
        "[env]\nRELEASE_NAME = \"two\"\n[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"\n",
    );
    let held = host
        .command(&["--json", "deploy", "v2", "--hold-before-switch", "10m"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    host.eventually("v2 waits for somebody", |status| {
        status["deployment"]["waiting_for"].as_str().is_some_and(|wait| wait.contains("promote"))
    });
    release(&host, "three", "");
    let queued = host
        .command(&["--json", "deploy", "v3", "--queue"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    host.eventually("v3 waits", |status| status["queue"].as_array().is_some_and(|queue| queue.len() == 1));
    host.run(&["freeze", "--until", "1h", "--reason", "audit"]).exits(0);
    host.run(&["promote"]).exits(0);
    Said::from(held.wait_with_output().unwrap()).exits(6);
    let dropped = Said::from(queued.wait_with_output().unwrap()).exits(1).json();
    let message = dropped["message"].as_str().unwrap();
    assert!(message.contains("its turn came, and the service is frozen by"), "{message}");
    assert!(host.get("/").contains("x-version: v2"), "a freeze stops nothing that has begun");
}

#[test]
fn outside_of_its_windows_a_release_is_refused_and_told_when_the_next_opens() {
    let host = Host::start();
    release(&host, "one", "[windows]\ntimezone = \"Europe/Vienna\"\nallow = [\"daily\"]\n");
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", CLOSED);
    let refused = host.run(&["deploy", "v2"]).exits(4);
    tells(
        &refused,
        &[
            "in Europe/Vienna, outside of `allow`",
            "no window opens within two years",
            "--override-freeze REASON",
        ],
    );
    release(
        &host,
        "two",
        "[windows]\ntimezone = \"UTC\"\nallow = [\"2020-01-01\", \"2399-01-01T12:00..2399-01-02\"]\n",
    );
    tells(&host.run(&["deploy", "v2"]).exits(4), &["the next window opens on Fri 2399-01-01 12:00"]);
    let said = host.run(&["--json", "deploy", "v2", "--override-freeze", "it burns"]).exits(0).json();
    let view = host.run(&["--json", "show", said["deployment"].as_str().unwrap()]).exits(0).json();
    assert_eq!(view["overrode"], "it burns");
    // A way back is never closed.
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
    release(&host, "three", "[windows]\ntimezone = \"Europe/Viena\"\nallow = [\"daily\"]\n");
    tells(
        &host.run(&["deploy", "v3"]).exits(2),
        &["there is no time zone `Europe/Viena`", "`Europe/Vienna`"],
    );
}
