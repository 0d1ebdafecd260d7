//! Bad input and trouble: a clear message, the right exit code, nothing lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use support::{CUTOVER, Host, Said, signal, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\ndeadline = \"2s\"\n";
const NO_BAKE: &str = "[rollout]\nbake = \"0s\"\n";

fn good(host: &Host, name: &str, rollout: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}{rollout}"));
}

fn bad(host: &Host, command: &str, more: &str) {
    host.write("cutover.toml", &format!("name = \"shop\"\ncommand = {command}\n{QUICK}{more}\n"));
}

#[track_caller]
fn tells(said: &Said, words: &[&str]) {
    for word in words {
        assert!(said.err.contains(word), "`{word}` is missing: {said:#?}");
    }
}

fn live_version(host: &Host) -> String {
    let status = host.status();
    let live = status["live"].as_str().unwrap().to_owned();
    status["environments"][&live]["version"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn mistakes_in_the_configuration_are_told_with_their_place_before_anything_happens() {
    let host = Host::start();
    let check = |text: &str, words: &[&str]| {
        host.write("cutover.toml", text);
        for verb in [&["deploy", "v1"][..], &["config", "check"]] {
            let said = host.run(verb).exits(2);
            tells(&said, words);
        }
    };
    check("name = \"shop\"\ncomand = \"./x\"\n", &["cutover.toml:2", "comand", "`command`"]);
    check("name = \"shop\"\ncommand = \"true\"\nhosts = \"a\"\n", &["cutover.toml:3", "hosts"]);
    check("name = \"shop\"\ncommand = \"./missing\"\n", &["./missing"]);
    check("name = \"shop\"\n", &["command"]);
    let none = host.run(&["deploy", "v1", "-f", "nowhere.toml"]).exits(2);
    tells(&none, &["nowhere.toml"]);
    host.run(&["deploy", "--nonsense"]).exits(2);
    host.write("cutover.toml", "name = \"shop\"\ncommand = \"true\"\n");
    tells(&host.run(&["deploy", "no/version"]).exits(2), &["no/version"]);
}

#[test]
fn a_command_that_cannot_be_executed_is_found_before_anything_is_started() {
    let host = Host::start();
    host.write("plain.txt", "not a program");
    bad(&host, "\"./plain.txt\"", "");
    tells(&host.run(&["deploy", "v1"]).exits(2), &["plain.txt", "executable"]);
    bad(&host, "\"no-such-program-anywhere\"", "");
    let refused = host.run(&["deploy", "v1"]).exits(4);
    tells(&refused, &["cannot run it", "no-such-program-anywhere"]);
    assert!(host.pids("supervisor.json").is_empty());
    let forced = host.run(&["deploy", "v1", "--force"]).exits(1);
    tells(&forced, &["no-such-program-anywhere"]);
}

#[test]
fn an_instance_that_ends_hangs_or_answers_badly_is_taken_back_with_the_reason_and_its_last_lines() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);

    host.write("die.sh", "#!/bin/sh\necho 'cannot reach the database' >&2\nexit 3\n");
    let file = host.path("application/die.sh");
    std::process::Command::new("chmod").arg("+x").arg(file).status().unwrap();
    bad(&host, "\"./die.sh\"", "");
    let said = host.run(&["deploy", "v2"]).exits(1);
    tells(&said, &["exit status 3", "cannot reach the database"]);

    bad(&host, "[\"python3\", \"-c\", \"import time; print('starting', flush=True); time.sleep(600)\"]", "");
    tells(&host.run(&["deploy", "v3"]).exits(1), &["was not healthy within 2s", "refused", "| starting"]);

    bad(&host, &format!("[\"{CUTOVER}\", \"sample-application\", \"--never-healthy\"]"), "");
    tells(&host.run(&["deploy", "v4"]).exits(1), &["answered 503"]);

    bad(&host, "\"python3 -m http.server {port} --bind 127.0.0.1\"", "");
    tells(&host.run(&["deploy", "v5"]).exits(1), &["answered 404", "`path`"]);

    assert_eq!(live_version(&host), "v1");
    assert!(host.get("/").contains("x-version: v1"));
    let said = host.run(&["--json", "deploy", "v6"]).exits(1).json();
    assert_eq!((said["success"].as_bool(), said["status"].as_str()), (Some(false), Some("rolled_back")));
    wait_until("only v1 is left", || host.pids("program.json").len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_loses_its_health_in_the_bake_is_taken_back_by_itself() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    // Healthy for as long as a file is there.
    host.write(
        "moody.py",
        "import http.server, os, sys\n\
         class H(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       sick = self.path == '/health' and not os.path.exists(sys.argv[2])\n\
         \x20       self.send_response(500 if sick else 200)\n\
         \x20       self.send_header('content-length', '0')\n\
         \x20       self.end_headers()\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n",
    );
    let well = host.path("well");
    std::fs::write(&well, "").unwrap();
    bad(&host, &format!("[\"python3\", \"moody.py\", \"{{port}}\", \"{}\"]", well.display()), "");
    host.run(&["deploy", "v2"]).exits(0);
    assert_eq!(live_version(&host), "v2");
    let load =
        Load::start(Plan::new(host.address).with(2, Client::fresh("/")).pausing(Duration::from_millis(2)));
    std::fs::remove_file(&well).unwrap();
    let status = host.eventually("v2 is taken back", |status| status["status"] == "rolled_back");
    assert_eq!(live_version(&host), "v1");
    let reason = status["deployment"]["reason"].as_str().unwrap();
    assert!(reason.contains("lost health") && reason.contains("500"), "{reason}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_cannot_be_granted_is_refused_with_what_to_do() {
    let host = Host::start();
    tells(&host.run(&["rollback", "shop"]).exits(2), &["no service `shop`"]);
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    tells(&host.run(&["rollback"]).exits(4), &["nothing to roll back to"]);
    tells(&host.run(&["abort"]).exits(4), &["nothing to abort"]);
    tells(&host.run(&["show", "nosuch"]).exits(2), &["no deployment `nosuch`"]);

    host.write(
        "cutover.toml",
        &format!("name = \"other\"\ncommand = [\"{CUTOVER}\", \"sample-application\"]\n"),
    );
    tells(&host.run(&["deploy", "v1"]).exits(4), &["service `shop` already answers every host"]);

    host.configure("[health]\ninterval = \"1s\"\nrise = 60\n");
    let mut open = host.command(&["deploy", "v2"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("v2 is being validated", || host.status()["deployment"]["status"] == "validating");
    let id = host.status()["deployment"]["deployment"].as_str().unwrap().to_owned();
    host.configure("[env]\nX = \"3\"\n");
    tells(&host.run(&["deploy", "v3"]).exits(4), &[&id, "`v2`", "cutover abort"]);
    let aborted = host.run(&["--json", "abort"]).exits(0).json();
    assert_eq!(aborted["status"], "rolled_back");
    assert_eq!(open.wait().unwrap().code(), Some(1), "whoever followed it is told");
    assert_eq!(live_version(&host), "v1");
}

#[test]
fn without_a_controller_every_verb_says_so() {
    let host = Host::without_controller();
    good(&host, "one", "");
    for verb in [&["deploy", "v1"][..], &["status"], &["rollback"], &["abort"], &["history"], &["shutdown"]] {
        tells(&host.run(verb).exits(3), &["no controller answers", "cutover serve"]);
    }
    let said = host.run(&["--json", "status"]).exits(3).json();
    assert_eq!((said["success"].as_bool(), said["exit"].as_u64()), (Some(false), Some(3)));
}

#[test]
fn a_controller_that_cannot_start_says_why() {
    let host = Host::start();
    let serve = |state: &std::path::Path, http: &str| -> Said {
        let state = state.to_str().unwrap();
        host.run(&["serve", "--state-dir", state, "--http", http])
    };
    let taken = serve(&host.path("second"), &host.address.to_string());
    tells(&taken.exits(4), &[&host.address.to_string(), "another program has it"]);
    tells(&serve(&host.state(), "127.0.0.1:0").exits(4), &["another controller uses the state directory"]);
    std::fs::write(host.path("file"), "").unwrap();
    tells(&serve(&host.path("file/state"), "127.0.0.1:0").exits(4), &["cannot be used", "--state-dir"]);
}

#[test]
fn a_data_plane_that_cannot_start_says_why() {
    let host = Host::without_controller();
    let proxy = |table: &str| -> Said {
        let admin = host.path("admin.sock");
        host.run(&["proxy", "--table", table, "--admin", admin.to_str().unwrap(), "--workers", "1"])
    };
    tells(&proxy("/nowhere/table.toml").exits(2), &["cannot read the table file `/nowhere/table.toml`"]);
    host.write("table.toml", "[listen]\nhttp = [\"127.0.0.1\"]\n");
    tells(&proxy("table.toml").exits(2), &["table.toml` is not a table", "line 2"]);
    let twice = "[[service]]\nname = \"NAME\"\nweights = { blue = 100, green = 0 }\n";
    let twice = twice.replace("NAME", "a") + &twice.replace("NAME", "b");
    host.write("table.toml", &format!("[listen]\nhttp = [\"127.0.0.1:0\"]\n{twice}"));
    tells(&proxy("table.toml").exits(2), &["`a` and `b` both claim every host"]);
}

#[test]
fn a_proxy_that_hangs_is_named_and_the_next_start_goes_on_once_it_is_gone() {
    let mut host = Host::start();
    good(&host, "v1", NO_BAKE);
    host.run(&["deploy", "v1", "--wait", "live"]).exits(0);
    let proxy = host.proxy_pid().unwrap();
    signal(proxy, "STOP");
    host.kill_controller();
    let (mut child, said) = host.try_serve_as(|serve| serve);
    let refused = child.wait().unwrap().code();
    let found = host.run(&["doctor"]);
    signal(proxy, "KILL");
    let said = said.unwrap().to_string();
    assert_eq!(refused, Some(4), "{said}");
    assert!(said.contains(&format!("pid {proxy}, does not answer")), "{said}");
    assert!(said.contains(&format!("`kill -KILL {proxy}`")), "{said}");
    assert!(found.out.contains(&format!("pid {proxy} does not answer")), "{}", found.out);
    host.serve();
    assert!(host.get("/").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_journal_from_a_newer_version_is_left_alone() {
    let mut host = Host::start();
    host.terminate_controller();
    let journal = host.state().join("journal.sqlite");
    let set_format = |format: u32| {
        let script = format!(
            "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = {format}')"
        );
        let done =
            std::process::Command::new("python3").args(["-c", &script]).arg(&journal).status().unwrap();
        assert!(done.success());
    };
    set_format(99);
    let (mut child, ready) = host.try_serve();
    assert!(ready.is_none_or(|ready| ready["success"] == false));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(host.log().contains("written by a newer cutover (format 99"), "{}", host.log());
    set_format(2);
    host.serve();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_controller_costs_no_request_and_its_deployment_goes_on_when_it_is_back() {
    let mut host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    let load = Load::start(
        Plan::new(host.address)
            .with(2, Client::keep_alive("/"))
            .with(1, Client::post("/", 1000))
            .pausing(Duration::from_millis(2)),
    );
    host.configure(
        "[env]\nRELEASE_NAME = \"two\"\n[health]\ninterval = \"300ms\"\nrise = 4\n[rollout]\nbake = \"0s\"\n",
    );
    let deploy = host.command(&["deploy", "v2"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("v2 is being validated", || host.status()["deployment"]["status"] == "validating");
    let program = host.pids("program.json");
    host.kill_controller();
    host.serve();
    host.eventually("v2 is live", |status| status["status"] == "live");
    assert_eq!(live_version(&host), "v2");
    let after = host.pids("program.json");
    assert!(
        program.iter().all(|pid| after.contains(pid)),
        "adopted, not started twice: {program:?} {after:?}"
    );
    let said: Said = deploy.wait_with_output().unwrap().into();
    assert_eq!(said.exit, 0, "whoever followed it was taken along: {said:#?}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_proxy_and_a_supervisor_that_are_killed_in_the_middle_of_a_deployment_do_not_keep_it_from_going_live() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    host.configure("[env]\nX = \"2\"\n[health]\ninterval = \"300ms\"\nrise = 5\n[rollout]\nbake = \"0s\"\n");
    let deploy = host.command(&["deploy", "v2"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("v2 is being validated", || host.status()["deployment"]["status"] == "validating");
    let proxy = host.proxy_pid().unwrap();
    let programs = host.pids("program.json");
    for pid in host.pids("supervisor.json").into_iter().chain([proxy]) {
        signal(pid, "KILL");
    }
    let said: Said = deploy.wait_with_output().unwrap().into();
    said.exits(0);
    assert!(host.get("/").contains("x-version: v2"));
    assert!(host.proxy_pid().is_some_and(|pid| pid != proxy));
    assert_eq!(host.pids("program.json"), programs, "no program was started twice");
}

#[test]
fn a_killed_proxy_comes_back_with_the_table_it_had() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", NO_BAKE);
    host.run(&["deploy", "v2"]).exits(0);
    let before = host.proxy_pid().unwrap();
    signal(before, "KILL");
    wait_until("another proxy runs", || host.proxy_pid().is_some_and(|pid| pid != before));
    assert!(host.get("/").contains("x-version: v2"));
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn a_torn_table_and_a_dead_controller_still_end_with_the_right_release_live() {
    let mut host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    let proxy = host.proxy_pid().unwrap();
    host.kill_controller();
    signal(proxy, "KILL");
    wait_until("the proxy is gone", || std::net::TcpStream::connect(host.address).is_err());
    for name in ["admin.table.0.json", "admin.table.1.json", "admin.table.durable.json"] {
        let file = host.state().join("proxy").join(name);
        std::fs::write(file, "{\"torn").unwrap();
    }
    host.serve();
    wait_until("v1 answers again", || host.get("/").contains("x-version: v1"));
}

#[test]
fn what_is_killed_with_its_supervisor_is_started_again_and_a_service_at_rest_writes_no_record() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    let before = (host.pids("supervisor.json"), host.pids("program.json"));
    for pid in before.0.iter().chain(&before.1) {
        signal(*pid, "KILL");
    }
    wait_until("v1 answers again", || host.get("/").contains("x-version: v1"));
    let records = || {
        let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM journal').fetchone()[0])";
        let journal = host.state().join("journal.sqlite");
        let said = std::process::Command::new("python3").args(["-c", script]).arg(journal).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().parse::<u64>().unwrap()
    };
    // Each supervisor that is killed is found by a look, so two of them in a row prove that one has passed.
    let mut last = host.pids("supervisor.json");
    let mut written = 0;
    for _ in 0..2 {
        written = records();
        for pid in &last {
            signal(*pid, "KILL");
        }
        wait_until("another supervisor is there", || {
            let now = host.pids("supervisor.json");
            now.len() == last.len() && now.iter().all(|pid| !last.contains(pid))
        });
        last = host.pids("supervisor.json");
    }
    assert_eq!(records(), written, "a look that finds everything as it should be is not worth a record");
}

#[test]
fn a_warm_release_that_is_dead_gets_no_traffic_but_is_started_again_first() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", NO_BAKE);
    host.run(&["deploy", "v2"]).exits(0);
    let idle = host.status()["environments"]["blue"]["instances"][0]["id"].as_str().unwrap().to_owned();
    let supervisor =
        std::fs::read_to_string(host.state().join("instances").join(&idle).join("supervisor.json")).unwrap();
    let supervisor: serde_json::Value = serde_json::from_str(&supervisor).unwrap();
    let program = host.program(&idle);
    signal(u32::try_from(supervisor["pid"].as_u64().unwrap()).unwrap(), "KILL");
    signal(program, "KILL");
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn a_rollback_that_cannot_reach_the_proxy_is_stuck_aloud_and_ends_well_when_it_can() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    good(&host, "two", "");
    host.run(&["deploy", "v2"]).exits(0);
    let proxy = host.proxy_pid().unwrap();
    signal(proxy, "STOP");
    let said = host.run(&["rollback"]);
    signal(proxy, "CONT");
    let said = said.exits(5);
    assert!(said.out.contains("v2 is stuck"), "{said:#?}");
    // A look may have tried again already, and then there is nothing left to abort.
    let _ = host.run(&["abort"]);
    host.eventually("v2 is taken back", |status| status["status"] == "rolled_back");
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn a_rollback_amid_the_shift_is_granted_however_sick_the_new_release_is() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    host.configure("[env]\nX = \"2\"\n[health]\ninterval = \"300ms\"\nrise = 5\n");
    let mut deploy = host.command(&["deploy", "v2"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    host.eventually("v2 is being validated", |status| status["deployment"]["status"] == "validating");
    // A proxy that stands still holds the shift open.
    let proxy = host.proxy_pid().unwrap();
    signal(proxy, "STOP");
    let status =
        host.eventually("v2 is being shifted to", |status| status["deployment"]["status"] == "shifting");
    let new = status["environments"]["green"]["instances"][0]["id"].as_str().unwrap().to_owned();
    let record = host.state().join("instances").join(&new).join("supervisor.json");
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    let program = host.program(&new);
    signal(u32::try_from(record["pid"].as_u64().unwrap()).unwrap(), "KILL");
    signal(program, "KILL");
    let rollback = host.command(&["rollback"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    host.eventually("v2 is being taken back", |status| status["deployment"]["status"] == "rolling_back");
    signal(proxy, "CONT");
    Said::from(rollback.wait_with_output().unwrap()).exits(0);
    assert_eq!(deploy.wait().unwrap().code(), Some(1));
    assert!(host.get("/").contains("x-version: v1"));
}

#[test]
fn a_deleted_admin_socket_is_made_again() {
    let host = Host::start();
    std::fs::remove_file(host.state().join("proxy/admin.sock")).unwrap();
    wait_until("the proxy answers on its socket again", || host.proxy_pid().is_some());
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
}

#[test]
fn a_journal_that_does_not_know_what_is_routed_is_not_gone_on_from() {
    let mut host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    host.terminate_controller();
    let lost = host.path("lost");
    std::fs::create_dir(&lost).unwrap();
    let files = || ["", "-wal", "-shm"].map(|end| format!("journal.sqlite{end}"));
    for name in files() {
        let _ = std::fs::rename(host.state().join(&name), lost.join(&name));
    }
    let (mut child, _) = host.try_serve();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(host.log().contains("the router has service `shop`"), "{}", host.log());
    assert!(host.get("/").contains("x-version: v1"), "traffic goes on");
    for name in files() {
        let _ = std::fs::remove_file(host.state().join(&name));
        let _ = std::fs::rename(lost.join(&name), host.state().join(&name));
    }
    host.serve();
    assert_eq!(live_version(&host), "v1");
}

#[test]
fn a_killed_supervisor_costs_nothing_and_a_killed_instance_is_started_again() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    let programs = host.pids("program.json");
    for supervisor in host.pids("supervisor.json") {
        signal(supervisor, "KILL");
    }
    assert!(host.get("/").contains("x-version: v1"));
    assert_eq!(host.pids("program.json"), programs);

    good(&host, "two", NO_BAKE);
    host.run(&["deploy", "v2"]).exits(0);
    let live = host.status()["environments"]["green"]["instances"][0]["id"].as_str().unwrap().to_owned();
    let record = host.state().join("instances").join(live).join("program.json");
    let pid = || {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|value| value["pid"].as_u64())
    };
    let before = pid().unwrap();
    signal(u32::try_from(before).unwrap(), "KILL");
    wait_until("another program runs", || pid().is_some_and(|now| now != before));
    wait_until("it answers", || host.get("/").contains("x-version: v2"));
}

#[test]
fn a_killed_instance_of_the_new_environment_fails_its_deployment_and_only_that() {
    let host = Host::start();
    good(&host, "one", NO_BAKE);
    host.run(&["deploy", "v1"]).exits(0);
    host.configure("[env]\nX = \"2\"\n[health]\ninterval = \"500ms\"\nrise = 20\n");
    let deploy = host.command(&["deploy", "v2"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let status =
        host.eventually("v2 is being validated", |status| status["deployment"]["status"] == "validating");
    let id = status["environments"]["green"]["instances"][0]["id"].as_str().unwrap();
    let record =
        std::fs::read_to_string(host.state().join("instances").join(id).join("program.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    signal(u32::try_from(record["pid"].as_u64().unwrap()).unwrap(), "KILL");
    let said: Said = deploy.wait_with_output().unwrap().into();
    let said = said.exits(1);
    tells(&said, &["killed by SIGKILL"]);
    assert_eq!(live_version(&host), "v1");
}

#[test]
fn a_secret_is_in_the_environment_of_its_instance_and_nowhere_else() {
    const SECRET: &str = "correct-horse-battery-staple";
    let host = Host::start();
    std::fs::write(host.path("secret"), format!("{SECRET}\n")).unwrap();
    let secret = host.path("secret");
    host.configure(&format!(
        "{QUICK}{NO_BAKE}[secrets]\nFROM_FILE = {{ file = \"{}\" }}\nFROM_COMMAND = {{ command = [\"cat\", \"{}\"] }}\nFROM_ENV = {{ env = \"SHELL_SECRET\" }}\n",
        secret.display(),
        secret.display()
    ));
    let output = host.command(&["deploy", "v1"]).env("SHELL_SECRET", SECRET).output().unwrap();
    let said = Said::from(output).exits(0);
    let program = host.pids("program.json")[0];
    let environment = std::fs::read_to_string(format!("/proc/{program}/environ")).unwrap();
    for name in ["FROM_FILE", "FROM_COMMAND", "FROM_ENV"] {
        assert!(environment.contains(&format!("{name}={SECRET}\0")), "{name}");
    }
    assert!(!environment.contains("SHELL_SECRET"), "nothing of the caller's own environment");
    let shown = host.run(&["--json", "status", "shop"]).out + &host.run(&["--json", "history"]).out;
    assert!(!said.out.contains(SECRET) && !said.err.contains(SECRET) && !shown.contains(SECRET));
    assert!(!host.log().contains(SECRET));
    for pid in host.pids("supervisor.json").into_iter().chain([program, host.controller_pid()]) {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!command.contains(SECRET), "{command}");
    }
    assert_only_in_secret_files(&host.state(), SECRET);
}

fn assert_only_in_secret_files(directory: &std::path::Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_only_in_secret_files(&path, secret);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            let secret_file = path.parent().is_some_and(|parent| parent.ends_with("secrets"));
            assert!(!found || secret_file, "{}", path.display());
            if secret_file {
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
    }
}
