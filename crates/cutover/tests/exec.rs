//! `cutover exec`: commands with what a release is run with, by the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{CUTOVER, Host, Said, signal, wait_until};

const SECRET: &str = "hunter2-and-more";
const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";

/// A host with a release live whose file, variable and secret a command can look for.
fn host(rollout: &str) -> Host {
    let host = Host::start();
    host.write("greeting", "hello from the release\n");
    host.write("../key", SECRET);
    configure(&host, "one", rollout);
    host.run(&["deploy", "v1"]).exits(0);
    host
}

fn configure(host: &Host, name: &str, rollout: &str) {
    let key = host.path("key").display().to_string();
    host.configure(&format!(
        "[env]\nNAME = \"{name}\"\nOWN_ADDRESS = \"127.0.0.1:{{port}}\"\n[secrets]\nKEY = {{ file = \"{key}\" }}\n{QUICK}{rollout}"
    ));
}

/// Runs a script of a shell, with this to read.
fn shell(host: &Host, arguments: &[&str], script: &str, input: &str) -> Said {
    let words = [&["exec"], arguments, &["--", "sh", "-c", script]].concat();
    let mut child = host.command(&words);
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // Beside reading: it may write before it has read everything. It may also end without having read it.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let said = child.wait_with_output().unwrap().into();
    let _ = writing.join().unwrap();
    said
}

/// A command that goes on, once it has said its first line.
fn start(host: &Host, script: &str) -> Child {
    let mut child = host.command(&["exec", "--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn history(host: &Host) -> Vec<Value> {
    host.run(&["--json", "exec", "--history"]).exits(0).json()["commands"].as_array().unwrap().clone()
}

#[test]
fn a_command_gets_what_the_release_is_run_with_and_its_streams_and_status_are_passed_on() {
    let host = host("");
    let script = "cat greeting; cat; echo aside >&2; exit 3";
    let said = shell(&host, &[], script, "what it reads\n").exits(3);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("hello from the release\nwhat it reads\n", "aside\n")
    );

    // The kernel ends it before what it protects.
    let said = shell(&host, &[], "cat /proc/self/oom_score_adj", "").exits(0);
    assert_eq!(said.out, "600\n");

    let said = shell(&host, &["shop", "live"], "env | sort; pwd", "").exits(0);
    for line in [
        "CUTOVER_ENVIRONMENT=blue",
        "CUTOVER_EXEC=1",
        "CUTOVER_SERVICE=shop",
        "CUTOVER_VERSION=v1",
        &format!("KEY={SECRET}"),
        "NAME=one",
        "OWN_ADDRESS=127.0.0.1:0",
        "PORT=0",
    ] {
        assert!(said.out.lines().any(|it| it == line), "{line}: {said:?}");
    }
    for foreign in ["CUTOVER_INSTANCE", "CUTOVER_STATE", "CARGO"] {
        assert!(!said.out.contains(foreign), "{foreign}: {said:?}");
    }
    assert!(said.out.lines().last().unwrap().ends_with("/files"), "{said:?}");

    shell(&host, &[], "kill -TERM $$", "").exits(128 + 15);
    // More than any buffer on the way holds.
    let many =
        shell(&host, &[], "head -c 3000000 /dev/zero | tr '\\0' x; cat >/dev/null", &"y".repeat(2_000_000))
            .exits(0);
    assert_eq!(many.out.len(), 3_000_000);
    // What it leaves behind in the background holds nobody up.
    shell(&host, &[], "sleep 60 & echo $! > background", "");
}

#[test]
fn who_ran_what_and_how_it_ended_is_recorded_and_no_secret() {
    let host = host("");
    shell(&host, &[], "test ${#KEY} = 16", "").exits(0);
    shell(&host, &[], "exit 4", "").exits(4);
    let runs = history(&host);
    let told: Vec<_> =
        runs.iter().map(|run| (run["how"].as_str().unwrap(), run["status"].as_u64())).collect();
    assert_eq!(told, [("exit status 4", Some(4)), ("exit status 0", Some(0))]);
    assert_eq!(runs[0]["command"], serde_json::json!(["sh", "-c", "exit 4"]));
    let actor = runs[0]["actor"].as_str().unwrap();
    let shown = host.run(&["exec", "--history"]).exits(0).out;
    let line = shown.lines().next().unwrap();
    assert!(line.contains(&format!("by {actor}")) && line.ends_with("sh -c 'exit 4'"), "{line}");

    shell(&host, &[], "echo \"$KEY\" | tr a-z A-Z", "").exits(0);
    let export = host.path("journal.jsonl");
    host.run(&["journal", "export", export.to_str().unwrap()]).exits(0);
    let journal = std::fs::read_to_string(export).unwrap();
    assert!(journal.contains("exit 4") && journal.contains("has ended: exit status 4"));
    assert!(!journal.to_lowercase().contains(SECRET));
    assert!(
        !std::fs::read_dir(host.state().join("commands")).unwrap().any(|_| true),
        "a plan was left behind"
    );
    host.run(&["journal", "verify"]).exits(0);
}

#[test]
fn an_environment_without_instances_will_do_and_one_without_a_release_is_refused_in_words() {
    let host = host("[rollout]\nbake = \"0s\"\nstandby = \"0s\"\n");
    let said = shell(&host, &["idle"], "true", "").exits(4);
    assert!(said.err.contains("the idle environment of service `shop`, green, holds no release"), "{said:?}");
    configure(&host, "two", "[rollout]\nbake = \"0s\"\nstandby = \"0s\"\n");
    host.run(&["deploy", "v2"]).exits(0);
    host.eventually("v1 is stopped", |status| {
        status["environments"]["blue"]["instances"] == serde_json::json!([])
    });
    for (environment, name) in [("idle", "one"), ("blue", "one"), ("live", "two"), ("green", "two")] {
        assert_eq!(shell(&host, &[environment], "echo $NAME", "").exits(0).out, format!("{name}\n"));
    }
    let said = host.run(&["exec", "--", "no-such-program"]).exits(127);
    assert!(
        said.err.contains("the command `no-such-program` is in none of the directories of PATH"),
        "{said:?}"
    );
    host.run(&["exec", "--", "./greeting"]).exits(126);
    host.run(&["exec", "--", "./nowhere"]).exits(127);
    host.run(&["exec", "nosuch", "--", "true"]).exits(2);
    host.run(&["exec"]).exits(2);
    assert_eq!(history(&host).len(), 4, "what was refused was not run");
}

#[test]
fn a_command_whose_client_goes_away_is_hung_up_and_goes_on_only_if_it_ignores_that() {
    let host = host("");
    let (heard, stayed, over) = (host.path("heard"), host.path("stayed"), host.path("over"));
    let obedient = format!(
        "trap 'echo hung up > {}; exit 9' HUP; echo ready; while :; do sleep 0.02; done",
        heard.display()
    );
    let deaf = format!(
        "trap '' HUP; echo ready; while [ ! -e {} ]; do echo more; sleep 0.02; done; echo > {}",
        over.display(),
        stayed.display()
    );
    let (mut one, mut two) = (start(&host, &obedient), start(&host, &deaf));
    assert_eq!(host.status()["commands"].as_array().unwrap().len(), 2);
    for client in [&mut one, &mut two] {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    wait_until("it has heard", || heard.exists());
    wait_until("its end is recorded", || history(&host).iter().any(|run| run["status"] == 9));
    assert_eq!(host.status()["commands"].as_array().unwrap().len(), 1);
    std::fs::write(&over, "").unwrap();
    wait_until("it has ended well", || stayed.exists() && host.status()["commands"] == serde_json::json!([]));
    assert_eq!(history(&host).iter().filter(|run| run["status"] == 0).count(), 1);
}

#[test]
fn a_signal_for_the_client_is_one_for_the_command() {
    let host = host("");
    for (name, status) in [("INT", 11), ("TERM", 12)] {
        let mut client =
            start(&host, "trap 'exit 11' INT; trap 'exit 12' TERM; echo ready; while :; do sleep 0.02; done");
        signal(client.id(), name);
        assert_eq!(client.wait().unwrap().code(), Some(status));
    }
}

#[test]
fn a_command_ends_with_the_controller_that_ran_it_and_that_is_recorded() {
    let mut host = host("");
    let heard = host.path("heard");
    let script = format!(
        "exec 2>/dev/null; trap 'echo > {}; exit' HUP; echo ready; while :; do sleep 0.02; done",
        heard.display()
    );
    let mut client = start(&host, &script);
    host.terminate_controller();
    assert_eq!(client.wait().unwrap().code(), Some(3));
    wait_until("it has heard", || heard.exists());
    host.serve();
    wait_until("its end is recorded", || {
        history(&host)[0]["how"].as_str().is_some_and(|how| how.starts_with("lost with the controller"))
    });
    assert_eq!(host.status()["commands"], serde_json::json!([]));
}

/// Runs a command on a terminal, in these steps; what was seen.
fn on_a_terminal(host: &Host, words: &[&str], steps: &str) -> String {
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
    let mut python = Command::new("python3");
    python.arg(driver).arg(CUTOVER).args(words).current_dir(host.path("application"));
    python.env("CUTOVER_STATE_DIR", host.state()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(steps.as_bytes()).unwrap();
    Said::from(python.wait_with_output().unwrap()).exits(0).out
}

#[test]
fn on_a_terminal_a_command_has_one_of_the_same_size_with_job_control_and_keys() {
    let host = host("");
    let steps = r"
send PS1='% '; stty -echo; echo rea''dy\n
expect ready
send test -t 0 && test -t 1 && test -t 2 && echo it is a ter''minal $TERM\n
expect it is a terminal xterm-256color
until stty size => 33 99
resize 40 120
until stty size => 40 120
send cat greeting; echo $CUTOVER_EXEC:$PORT:$NAME\n
expect hello from the release
expect 1:0:one
send (echo wait''ing; exec sleep 1000)\n
expect waiting
send \x03
until echo still he''re => still here
send exit 7\n
";
    let seen = on_a_terminal(&host, &["exec", "--", "sh", "-i"], steps);
    assert!(seen.trim_end().ends_with("ended with 7"), "{seen}");
    assert_eq!(history(&host)[0]["status"], 7);

    let marker = host.path("hung-up");
    let script =
        format!("trap 'echo > {}; exit' HUP; echo ready; while :; do sleep 0.02; done", marker.display());
    on_a_terminal(&host, &["exec", "--", "sh", "-c", &script], "expect ready\nhang up\n");
    wait_until("the command was hung up", || marker.exists());
    wait_until("its end is recorded", || host.status()["commands"] == serde_json::json!([]));

    let seen =
        on_a_terminal(&host, &["exec", "-T", "--", "sh", "-c", "test -t 0 || echo pipes"], "expect pipes\n");
    assert!(seen.trim_end().ends_with("ended with 0"), "{seen}");
}
