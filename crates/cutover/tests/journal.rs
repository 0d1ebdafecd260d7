//! `cutover journal` with the real binary: while a controller runs, when it is dead, and on another host.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use serde_json::Value;
use support::{Host, PATIENCE, wait_until};

/// A host on which `v1` is live, after a deployment of `v2` that was rolled back.
fn host() -> Host {
    let host = Host::start();
    let quick = "[health]\ninterval = \"50ms\"\nrise = 1\n";
    for (version, name) in [("v1", "one"), ("v2", "two")] {
        host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{quick}"));
        host.run(&["deploy", version]).exits(0);
    }
    host.run(&["rollback"]).exits(0);
    host
}

/// Has Python's SQLite change the journal behind everybody's back.
fn rewrite(host: &Host, statement: &str) {
    let script =
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()";
    let journal = host.state().join("journal.sqlite");
    let done = Command::new("python3").args(["-c", script]).arg(journal).arg(statement).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_journal_is_right_while_a_controller_runs_and_when_it_is_dead_and_a_rewritten_one_is_not() {
    let mut host = host();
    let running = host.run(&["--json", "journal", "verify"]).exits(0).json();
    assert_eq!(
        (running["success"].as_bool(), running["services"].as_u64()),
        (Some(true), Some(1)),
        "{running:#}"
    );
    assert!(
        running["records"].as_u64() >= Some(10) && running["refolded"] == running["records"],
        "{running:#}"
    );
    let head = running["head"].as_str().unwrap();

    host.kill_controller();
    let dead = host.run(&["journal", "verify", "--head", head]).exits(0).out;
    assert!(dead.contains("no fault was found") && dead.contains("head "), "{dead}");
    let other = format!("{}:{}", head.split_once(':').unwrap().0, "ab".repeat(32));
    let noticed = host.run(&["journal", "verify", "--head", &other]).exits(1).out;
    assert!(noticed.contains("the history up to it is not the one that was noted"), "{noticed}");
    assert!(host.run(&["journal", "verify", "--head", "tomorrow"]).exits(2).err.contains("is not a head"));

    rewrite(&host, "UPDATE journal SET actor = 'mallory' WHERE sequence = 3");
    let said = host.run(&["journal", "verify"]).exits(1).out;
    assert!(said.contains("record 3, service `shop`: it was changed after it was written"), "{said}");
    let said = host.run(&["--json", "journal", "verify"]).exits(1).json();
    assert_eq!((said["success"].as_bool(), said["faults"][0]["sequence"].as_u64()), (Some(false), Some(3)));
    assert_eq!(said["faults"][0]["service"], "shop");
    // The history is a matter for people; the controller goes on from its latest state.
    host.serve();
    assert_eq!(host.status()["environments"]["blue"]["version"], "v1");
}

#[test]
fn an_exported_journal_is_gone_on_from_elsewhere_with_later_terms() {
    let mut host = host();
    let exported = host.run(&["journal", "export"]).exits(0);
    let lines: Vec<Value> = exported.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["format"], "cutover journal");
    assert_eq!(lines[0]["records"].as_u64(), Some(lines.len() as u64 - 1));
    assert_eq!(lines[1]["record"]["event"].as_object().map(serde_json::Map::len), Some(1), "{:#}", lines[1]);
    let file = host.path("journal.jsonl");
    let file = file.to_str().unwrap();
    host.run(&["journal", "export", file]).exits(0);

    let taken = host.run(&["journal", "import", file]).exits(4).err;
    assert!(taken.contains("another controller uses the state directory"), "{taken}");
    host.terminate_controller();
    host.run(&["journal", "export", file]).exits(0);
    let exported = host.run(&["journal", "export"]).exits(0);
    assert_eq!(std::fs::read_to_string(file).unwrap(), exported.out);
    let lines: Vec<Value> = exported.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let occupied = host.run(&["journal", "import", file]).exits(4).err;
    assert!(occupied.contains("only an empty one can be imported into"), "{occupied}");

    let elsewhere = host.path("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    let said = host.run(&["--json", "journal", "import", file, "--state-dir", elsewhere]).exits(0).json();
    assert_eq!(said["head"], lines[0]["head"]);
    assert_eq!(said["term"], lines[0]["term"]);
    let verified = host.run(&["--json", "journal", "verify", "--state-dir", elsewhere]).exits(0).json();
    assert_eq!(verified["head"], lines[0]["head"]);
    let again = host.run(&["journal", "export", "--state-dir", elsewhere]).exits(0).out;
    assert_eq!(again, exported.out);

    // The journal of the host itself, lost and brought back: the controller goes on from it.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(host.state().join(format!("journal.sqlite{end}")));
    }
    host.run(&["journal", "import", file]).exits(0);
    host.serve();
    let status = host.status();
    assert_eq!(status["environments"]["blue"]["version"], "v1");
    let later = host.run(&["journal", "export"]).exits(0).out;
    let later: Value = serde_json::from_str(later.lines().next().unwrap()).unwrap();
    assert!(later["term"].as_u64() > lines[0]["term"].as_u64(), "{later}");
}

/// Supervisors and programs that the records of a state directory tell.
fn instances(host: &Host) -> Vec<u32> {
    let mut pids = [host.pids("supervisor.json"), host.pids("program.json")].concat();
    pids.sort_unstable();
    pids
}

/// Whether the process has not ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_served_a_second_time_beside_the_first_touches_nothing_of_the_first() {
    let first = host();
    first.eventually("what was taken back has ended", |status| {
        status["environments"]["green"]["instances"].as_array().is_some_and(Vec::is_empty)
    });
    let firsts = instances(&first);
    assert!(firsts.len() >= 2, "{firsts:?}");
    let file = first.path("journal.jsonl");
    let file = file.to_str().unwrap();
    first.run(&["journal", "export", file]).exits(0);
    let plan = Plan::new(first.address).with(2, Client::keep_alive("/")).with(1, Client::fresh("/"));
    let load = Load::start(plan.pausing(Duration::from_millis(2)));

    let mut second = Host::without_controller();
    second.run(&["journal", "import", file]).exits(0);
    // What it serves lies in its own state directory, or it does not serve it.
    let copied =
        Command::new("cp").arg("-a").arg(first.state().join("releases")).arg(second.state()).status();
    assert!(copied.unwrap().success());
    second.serve();
    wait_until("the second accepts clients", || TcpStream::connect(second.address).is_ok());
    assert!(second.get("/").contains("x-version: v1"), "{}", second.log());
    let seconds = instances(&second);
    assert!(seconds.len() >= 2 && seconds.iter().all(|pid| !firsts.contains(pid)), "{seconds:?} {firsts:?}");
    assert!(firsts.iter().chain(&seconds).all(|&pid| is_alive(pid)), "{}", second.log());
    second.run(&["shutdown"]).exits(0);
    assert!(!seconds.iter().any(|&pid| is_alive(pid)));

    let before = load.report().requests;
    let more = load.wait_for(PATIENCE, |report| report.requests > before + 100).await;
    assert!(more.is_ok(), "the load stands still");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}\n{}", first.log());
    assert_eq!(instances(&first), firsts);
    assert!(firsts.iter().all(|&pid| is_alive(pid)));
    assert!(!second.log().contains("it runs without records"), "{}", second.log());
}

#[test]
fn what_was_changed_on_its_way_is_not_imported() {
    let host = host();
    let exported = host.run(&["journal", "export"]).exits(0).out;
    let lines: Vec<&str> = exported.lines().collect();
    let actor = serde_json::from_str::<Value>(lines[1]).unwrap()["actor"].clone();
    let other_actor = exported.replacen(&format!("\"actor\":{actor}"), "\"actor\":\"mallory\"", 1);
    let swapped = [&[lines[0], lines[2], lines[1]], &lines[3..]].concat().join("\n");
    for (what, text, expected) in [
        ("another actor", other_actor, "line 2: record 1 of `shop` does not continue the chain"),
        ("two lines changed places", swapped, "line 2: record 2 of `shop` does not continue the chain"),
        ("the end is missing", lines[..lines.len() - 1].join("\n"), "the journal ended with"),
        ("torn", exported[..exported.len() - 10].to_owned(), &format!("line {}: ", lines.len())),
        (
            "the text of a record",
            exported.replacen("\"next_effect\":2", "\"next_effect\":3", 1),
            "the text of record",
        ),
        (
            "a newer version",
            exported.replacen("\"version\":1", "\"version\":2", 1),
            "exported by a newer cutover",
        ),
        ("nothing", String::new(), "there is nothing to import"),
        ("something else", "{}\n".to_owned(), "this is no exported journal"),
    ] {
        assert_ne!(text, exported, "{what}");
        let file = host.path("changed.jsonl");
        std::fs::write(&file, text).unwrap();
        let elsewhere = host.path("elsewhere");
        let (file, elsewhere) = (file.to_str().unwrap(), elsewhere.to_str().unwrap());
        let said = host.run(&["journal", "import", file, "--state-dir", elsewhere]).exits(4).err;
        assert!(said.contains(expected) && said.contains("nothing was imported"), "{what}: {said}");
        let left = host.run(&["--json", "journal", "verify", "--state-dir", elsewhere]);
        assert!(left.exit == 2 || left.json()["records"] == 0, "{what}: {left:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_and_a_file_that_cannot_be_written_are_told_plainly() {
    let host = host();
    let mut child =
        host.command(&["journal", "export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let said = host.run(&["journal", "export", "/no/such/directory/file"]).exits(2).err;
    assert!(said.contains("`/no/such/directory/file` cannot be used"), "{said}");
    let said = host.run(&["journal", "verify", "--state-dir", "/no/such/directory"]).exits(2).err;
    assert!(said.contains("there is no journal `/no/such/directory/journal.sqlite`"), "{said}");
}

#[test]
fn a_journal_that_is_damaged_or_of_another_version_is_told_from_one_that_is_right() {
    let mut host = host();
    host.terminate_controller();
    rewrite(&host, "PRAGMA user_version = 99");
    let said = host.run(&["journal", "verify"]).exits(4).err;
    assert!(said.contains("written by a newer cutover (format 99"), "{said}");
    rewrite(&host, "PRAGMA user_version = 2");
    host.run(&["journal", "verify"]).exits(0);

    let journal = host.state().join("journal.sqlite");
    let good = std::fs::read(&journal).unwrap();
    let mut file = std::fs::File::options().write(true).open(&journal).unwrap();
    file.write_all(&[0x55; 4096]).unwrap();
    let said = host.run(&["journal", "verify"]).exits(1).err;
    assert!(said.contains("file is not a database"), "{said}");
    let mut torn = good.clone();
    torn[4096..8192].fill(0x55);
    std::fs::write(&journal, torn).unwrap();
    let said = host.run(&["journal", "verify"]).exits(1).out;
    assert!(said.contains("the file"), "{said}");
    std::fs::write(&journal, good).unwrap();
    host.run(&["journal", "verify"]).exits(0);
}
