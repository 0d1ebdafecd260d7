//! Loss of power: the real binary's writes and syncs on its journal during a whole deployment are recorded, and the
//! disk is rebuilt as it was after each of them, also with the last one torn and with everything lost that was not
//! synced. Whatever is found opens, and tells a state that was true, with every record that had been answered for.
//!
//! SQLite's shared-memory file is no part of it: it is an index of the write-ahead log, written through a
//! mapping that strace does not see, and made anew from the log by whoever opens the journal first.
//!
//! That a record was answered for is told by the binary's own crash points: `after append` is written to a file once
//! `append` has returned, and strace sees that write too. Hence the feature.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cutover_controller::{Journal, SqliteJournal};
use cutover_core::ServiceName;
use serde_json::Value;
use support::disk::{Disk, Left};
use support::trace::{Deed, deeds, traced};
use support::{Host, journal, wait_until};

const CONFIGURATION: &str =
    "[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"\n[env]\nNUMBER = ";

/// What was recorded of one life of a controller.
struct Recording {
    before: Disk,
    deeds: Vec<Deed>,
    /// The journal's records in the end.
    records: Vec<Value>,
    /// How many of them there were when it began.
    known: usize,
    scratch: tempfile::TempDir,
}

fn is_of_journal(path: &Path, state: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent() == Some(state) && name.starts_with("journal.sqlite") && !name.ends_with("-shm")
}

fn files(state: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.filter(|path| is_of_journal(path, state));
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn deploy(host: &Host, version: &str) {
    host.configure(&format!("{CONFIGURATION}\"{version}\"\n"));
    host.run(&["deploy", version]).exits(0);
}

/// Starts a controller under strace on a journal of `known` records, has it deploy `version`, and kills it when it
/// rests.
fn record(host: &mut Host, known: usize, version: &str) -> Recording {
    let (state, traces, passed) = (host.state(), host.path("traces"), host.path("passed.log"));
    let file = state.join("journal.sqlite");
    let before = Disk::with(files(&state));
    host.serve_as(|mut serve| {
        serve.env("CUTOVER_CRASH_LOG", &passed);
        traced(&serve, &traces)
    });
    deploy(host, version);
    wait_until("the deployment is over", || {
        std::fs::read_to_string(&passed).unwrap().contains("after append answered prioritise")
    });
    host.kill_controller();
    let all = deeds(&traces);
    let mut disk = before.clone();
    let mut of_interest = Vec::new();
    for deed in all {
        let (Deed::Write { file, .. }
        | Deed::Append { file, .. }
        | Deed::Resize { file, .. }
        | Deed::Reserve { file, .. }
        | Deed::Sync { file }
        | Deed::Create { file, .. }
        | Deed::Remove { file }
        | Deed::Rename { from: file, .. }) = &deed;
        if is_of_journal(file, &state) {
            assert!(!matches!(deed, Deed::Append { .. }), "where was it written? {deed:?}");
            disk.apply(&deed);
            of_interest.push(deed);
        } else if *file == passed {
            of_interest.push(deed);
        }
    }
    // Nothing was overlooked: played again in full, it gives the very files.
    for (path, bytes) in files(&state) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = disk.found(Left::Everything).into_iter().find(|(found, _)| *found == name);
        assert!(found.is_some_and(|(_, found)| found == bytes), "`{name}` is not what was recorded");
    }
    let records = journal::records(&file, "shop");
    Recording { before, deeds: of_interest, records, known, scratch: tempfile::tempdir().unwrap() }
}

impl Recording {
    /// Rebuilds the disk after each deed; answers how many different finds were opened.
    async fn check(&self) -> usize {
        let mut disk = self.before.clone();
        let mut seen = HashMap::new();
        let mut answered = self.known;
        for (number, deed) in self.deeds.iter().enumerate() {
            if let Deed::Append { bytes, .. } = deed {
                answered += usize::from(bytes.starts_with(b"after append"));
                continue;
            }
            for torn in torn(deed) {
                let mut half = disk.clone();
                half.apply(&torn);
                let place = format!("deed {number}, torn: {}", short(&torn));
                let found = self.open(&half, Left::Everything, seen.len(), &place).await;
                seen.insert(vec![(place.clone(), 0)], found);
                self.assert_true(found, answered, &place);
            }
            disk.apply(deed);
            for left in Left::ALL {
                let place = format!("deed {number}, {left:?}: {}", short(deed));
                let fingerprint = disk.fingerprint(left);
                let found = match seen.get(&fingerprint) {
                    Some(found) => *found,
                    None => self.open(&disk, left, seen.len(), &place).await,
                };
                seen.insert(fingerprint, found);
                self.assert_true(found, answered, &place);
            }
        }
        assert_eq!(answered, self.records.len(), "every record was answered for in the end");
        seen.len()
    }

    #[track_caller]
    fn assert_true(&self, found: usize, answered: usize, place: &str) {
        assert!(found >= answered, "{answered} records were answered for, {found} are there; {place}");
    }

    /// Opens what is found as a controller would; answers how many records it has.
    async fn open(&self, disk: &Disk, left: Left, number: usize, place: &str) -> usize {
        let directory = self.scratch.path().join(number.to_string());
        std::fs::create_dir(&directory).unwrap();
        for (name, bytes) in disk.found(left) {
            std::fs::write(directory.join(name), bytes).unwrap();
        }
        let journal = SqliteJournal::open(&directory.join("journal.sqlite"));
        let journal = journal.unwrap_or_else(|error| panic!("{error}; {place}"));
        let shop: ServiceName = "shop".parse().unwrap();
        let latest = journal.latest(&shop).await.unwrap_or_else(|error| panic!("{error}; {place}"));
        let history = journal.history(&shop, 1000).await.unwrap_or_else(|error| panic!("{error}; {place}"));
        let found = latest.as_ref().map_or(0, |latest| usize::try_from(latest.sequence).unwrap());
        assert!(found <= self.records.len(), "a record that never was; {place}");
        if let Some(latest) = latest {
            let state = serde_json::to_value(&latest.state).unwrap();
            assert_eq!(state, self.records[found - 1]["state"], "a state that never was; {place}");
        }
        let told: Vec<Value> = history.iter().map(|told| serde_json::to_value(told).unwrap()).collect();
        assert_eq!(told, self.told_after(found), "the history is another; {place}");
        // A term that was used is never given again.
        let used =
            self.records[..found].iter().filter_map(|r| r["event"]["controller_started"]["term"].as_u64());
        let term = journal.begin_term().await.unwrap_or_else(|error| panic!("{error}; {place}"));
        assert!(used.max().is_none_or(|used| used < u64::from(term)), "term {term} again; {place}");
        drop(journal);
        // Its thread may still be at it; what is left goes with the directory of all.
        let _ = std::fs::remove_dir_all(directory);
        found
    }

    /// The deployments as so many records tell of them, newest first.
    fn told_after(&self, count: usize) -> Vec<Value> {
        let mut told: Vec<Value> = Vec::new();
        for record in &self.records[..count] {
            let closed = record["closed"].as_array().unwrap().iter();
            let deployments = closed.chain([&record["state"]["deployment"]]);
            for deployment in deployments.filter(|deployment| !deployment.is_null()) {
                match told.iter_mut().find(|known| known["id"] == deployment["id"]) {
                    Some(known) => known.clone_from(deployment),
                    None => told.push(deployment.clone()),
                }
            }
        }
        told.reverse();
        told
    }
}

/// The ways in which a write can be cut short: in the middle, and after a disk's smallest sector.
fn torn(deed: &Deed) -> Vec<Deed> {
    let Deed::Write { file, offset, bytes } = deed else { return Vec::new() };
    let cuts = [bytes.len() / 2, 512].into_iter().filter(|cut| *cut > 0 && *cut < bytes.len());
    cuts.map(|cut| Deed::Write { file: file.clone(), offset: *offset, bytes: bytes[..cut].to_vec() })
        .collect()
}

fn short(deed: &Deed) -> String {
    match deed {
        Deed::Write { file, offset, bytes } => {
            format!("{} bytes at {offset} of {}", bytes.len(), file.display())
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn whenever_power_is_lost_in_a_first_deployment_the_journal_tells_a_state_that_was_true() {
    let mut host = Host::without_controller();
    let recording = record(&mut host, 0, "v1");
    assert!(recording.records.len() > 5, "{:#?}", recording.records);
    let finds = recording.check().await;
    assert!(finds > 100, "{finds}");
}

/// Most writes go to the log alone. Now and then SQLite copies it into the database and begins it anew: the one
/// moment at which both are written.
#[tokio::test]
async fn whenever_power_is_lost_while_the_log_is_copied_into_the_database_nothing_is_lost_either() {
    let mut host = Host::without_controller();
    host.serve();
    deploy(&host, "v1");
    deploy(&host, "v2");
    let log = host.state().join("journal.sqlite-wal");
    // So many pages short of the thousand after which SQLite does that, about the middle of a deployment.
    let wanted = (1000 - 25) * 4120;
    fill(&host.state().join("journal.sqlite"), &log, wanted);
    // Asked while a controller has it open: whoever is the last to close it copies the log.
    let known = journal::records(&host.state().join("journal.sqlite"), "shop").len();
    host.kill_controller();
    let recording = record(&mut host, known, "v3");
    let to_database =
        |deed: &&Deed| matches!(deed, Deed::Write { file, .. } if file.ends_with("journal.sqlite"));
    let anew = |deed: &&Deed| matches!(deed, Deed::Write { file, offset: 0, .. } if *file == log);
    assert!(recording.deeds.iter().any(|deed| to_database(&deed)), "the log was not copied");
    assert!(recording.deeds.iter().any(|deed| anew(&deed)), "the log was not begun anew");
    recording.check().await;
}

/// Has the log grow to a length, by writing a page of no meaning again and again beside the controller.
fn fill(journal: &Path, log: &Path, length: u64) {
    let script = "import os, sqlite3, sys\n\
                  database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
                  database.execute('PRAGMA wal_autocheckpoint = 0')\n\
                  database.execute('PRAGMA synchronous = OFF')\n\
                  database.execute('CREATE TABLE page_of_no_meaning (number)')\n\
                  database.execute('INSERT INTO page_of_no_meaning VALUES (0)')\n\
                  while os.path.getsize(sys.argv[2]) < int(sys.argv[3]):\n\
                  \x20   database.execute('UPDATE page_of_no_meaning SET number = number + 1')";
    let mut python = std::process::Command::new("python3");
    python.args(["-c", script]).arg(journal).arg(log).arg(length.to_string());
    assert!(python.status().unwrap().success());
}
