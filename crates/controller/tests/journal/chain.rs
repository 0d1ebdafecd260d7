//! A history that was rewritten is noticed, whoever rewrote what; and what was kept of older formats is read.

use std::path::{Path, PathBuf};

use cutover_controller::journal::{Head, Verification, verify};
use cutover_controller::{Journal, JournalError, SqliteJournal};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::sample::{Story, append, service};

/// What format 1 wrote: `shop` with a deployment that went live and one that was rolled back, `cart` amid its first.
const JOURNAL_1: &str = include_str!("journal-v1.sql");
/// What format 2 made of it, and one record that it wrote itself.
const JOURNAL_2: &str = include_str!("journal-v2.sql");

/// A journal with what really happened to two services.
async fn journal() -> (PathBuf, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    journal.begin_term().await.unwrap();
    let mut cart = (0..).zip(Story::of("cart").records);
    for (expected, record) in (0..).zip(Story::of("shop").records) {
        append(&journal, "shop", expected, record).await;
        let (expected, record) = cart.next().unwrap();
        append(&journal, "cart", expected, record).await;
    }
    (path, directory)
}

fn load(dump: &str) -> (PathBuf, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    Connection::open(&path).unwrap().execute_batch(dump).unwrap();
    (path, directory)
}

fn faults(path: &Path) -> Vec<String> {
    verify(path, None).unwrap().faults.iter().map(ToString::to_string).collect()
}

fn rewrite(path: &Path, statements: &str) {
    Connection::open(path).unwrap().execute_batch(statements).unwrap();
}

#[tokio::test]
async fn a_journal_that_nobody_touched_is_right_and_all_of_it_is_decided_again() {
    let (path, _directory) = journal().await;
    let found = verify(&path, None).unwrap();
    assert_eq!(found.faults, []);
    let records = 2 * Story::of("shop").records.len() as u64;
    let told = (found.services, found.records, found.thinned, found.refolded, found.head.sequence);
    assert_eq!(told, (2, records, 0, records, records));
}

#[tokio::test]
async fn an_empty_journal_is_right() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    drop(SqliteJournal::open(&path).unwrap());
    let found = verify(&path, Some(Head::EMPTY)).unwrap();
    let empty =
        Verification { services: 0, records: 0, thinned: 0, refolded: 0, head: Head::EMPTY, faults: vec![] };
    assert_eq!(found, empty);
}

#[tokio::test]
async fn whatever_is_rewritten_is_noticed_and_named() {
    let hash = format!("x'{}'", "00".repeat(32));
    for (statements, expected) in [
        (
            "UPDATE journal SET actor = 'mallory' WHERE sequence = 7",
            "record 7, service `shop`: it was changed after",
        ),
        (
            "UPDATE journal SET reason = '' WHERE sequence = 7",
            "record 7, service `shop`: it was changed after",
        ),
        (
            "UPDATE journal SET at_ms = at_ms + 1 WHERE sequence = 8",
            "record 8, service `cart`: it was changed after",
        ),
        (
            "UPDATE journal SET deployment = NULL WHERE sequence = 2",
            "record 2, service `cart`: it was changed after",
        ),
        (
            "UPDATE journal SET record = replace(record, 'alice', 'mallory') WHERE sequence = 1",
            "record 1, service `shop`: its text was changed after",
        ),
        (
            &format!("UPDATE journal SET record_hash = {hash} WHERE sequence = 3"),
            "record 3, service `shop`: its text",
        ),
        (
            &format!("UPDATE journal SET previous = {hash} WHERE sequence = 3"),
            "record 3, service `shop`: the record before",
        ),
        (
            &format!("UPDATE journal SET hash = {hash} WHERE sequence = 3"),
            "record 4, service `cart`: the record before",
        ),
        (
            "DELETE FROM journal WHERE sequence = 9",
            "record 10, service `cart`: it follows record 8: 9 is missing",
        ),
        (
            "DELETE FROM journal WHERE sequence = 9",
            "record 11, service `shop`: it is number 6 of its service after number 4",
        ),
        (
            "UPDATE journal SET record = '{' WHERE sequence = 5",
            "record 5, service `shop`: the record cannot be read",
        ),
        (
            "UPDATE journal SET record = NULL WHERE sequence = 1",
            "service `shop`: deployment `shop-v1-good` is in",
        ),
        ("DELETE FROM latest WHERE service = 'cart'", "service `cart`: it has records and no latest state"),
        (
            "UPDATE latest SET state = replace(state, '\"live\":\"blue\"', '\"live\":\"green\"') WHERE service = 'shop'",
            "service `shop`: its latest state is not that of its newest record",
        ),
        (
            "DELETE FROM deployments WHERE id = 'shop-v1-good'",
            "`shop-v1-good` is in the journal and in no history",
        ),
        (
            "UPDATE deployments SET opened = 3 WHERE id = 'shop-v1-good'",
            "`shop-v1-good` is in the history otherwise",
        ),
        (
            "UPDATE deployments SET deployment = replace(deployment, 'alice', 'mallory')",
            "service `cart`: deployment `cart-v1-good` is in the history otherwise",
        ),
    ] {
        let (path, _directory) = journal().await;
        rewrite(&path, statements);
        if statements.contains("SET record = NULL") {
            // That alone is thinning; only that a deployment opened there and the history does not say so is not.
            rewrite(&path, "UPDATE deployments SET opened = 2 WHERE id = 'shop-v1-good'");
        }
        let faults = faults(&path);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{statements}: {faults:#?}");
    }
}

/// Chains every record anew, as somebody does who may write the file and knows this program.
fn chain_anew(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let mut read = connection
        .prepare("SELECT sequence, service, service_sequence, at_ms, deployment, actor, reason, record FROM journal")
        .unwrap();
    let mut rows = read.query([]).unwrap();
    let mut previous = [0_u8; 32];
    while let Some(row) = rows.next().unwrap() {
        let number = |column| row.get::<_, i64>(column).unwrap().to_be_bytes().to_vec();
        let text = |column| {
            let text: String = row.get(column).unwrap();
            [(text.len() as u64).to_be_bytes().to_vec(), text.into_bytes()].concat()
        };
        let deployment =
            row.get::<_, Option<String>>(4).unwrap().map_or(vec![0], |_| [vec![1], text(4)].concat());
        let record_hash: [u8; 32] = Sha256::digest(row.get::<_, String>(7).unwrap()).into();
        let head = b"cutover journal 2".to_vec();
        let link =
            [head, previous.to_vec(), number(0), text(1), number(2), number(3), deployment, text(5), text(6)];
        let hash: [u8; 32] = Sha256::digest([link.concat(), record_hash.to_vec()].concat()).into();
        let update = "UPDATE journal SET record_hash = ?, previous = ?, hash = ? WHERE sequence = ?";
        let sequence: i64 = row.get(0).unwrap();
        connection.execute(update, rusqlite::params![record_hash, previous, hash, sequence]).unwrap();
        previous = hash;
    }
}

#[tokio::test]
async fn who_chains_a_rewritten_history_anew_is_found_out_by_a_head_that_was_noted() {
    let (path, _directory) = journal().await;
    let noted = verify(&path, None).unwrap().head;
    chain_anew(&path);
    assert_eq!(
        verify(&path, Some(noted)).unwrap().faults,
        [],
        "chained by the documented rule it is the same"
    );

    rewrite(&path, "UPDATE journal SET record = replace(record, '\"bob\"', '\"mallory\"')");
    rewrite(&path, "UPDATE journal SET actor = 'mallory' WHERE actor = 'bob'");
    rewrite(&path, "DROP TABLE latest; DROP TABLE deployments");
    chain_anew(&path);
    // Its projections are made anew too.
    drop(SqliteJournal::open(&path).unwrap());
    let found = faults(&path);
    assert!(found.is_empty(), "a chain says nothing by itself: {found:#?}");
    let found: Vec<_> = verify(&path, Some(noted)).unwrap().faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [format!("record {}: the history up to it is not the one that was noted", noted.sequence)]
    );
}

#[tokio::test]
async fn a_history_whose_end_was_cut_off_is_found_out_by_a_head_that_was_noted() {
    let (path, _directory) = journal().await;
    let noted = verify(&path, None).unwrap().head;
    rewrite(&path, "DELETE FROM journal WHERE sequence > 4; DROP TABLE latest; DROP TABLE deployments");
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(faults(&path), [""; 0]);
    let faults = |noted| {
        verify(&path, Some(noted)).unwrap().faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expected =
        format!("record {}: it was noted, and the journal does not have it any more", noted.sequence);
    assert_eq!(faults(noted), [expected]);
    // An honest journal only grows.
    let short = verify(&path, None).unwrap().head;
    journal.begin_term().await.unwrap();
    append(&journal, "shop", 2, Story::of("shop").records.remove(2)).await;
    assert_eq!(faults(short), [""; 0]);
}

#[tokio::test]
async fn what_todays_rules_would_decide_otherwise_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    for (expected, mut record) in (0..).zip(Story::of("shop").records.into_iter().take(3)) {
        if expected == 1 {
            record.state.next_effect += 1;
        }
        append(&journal, "shop", expected, record).await;
    }
    let faults = faults(&path);
    assert_eq!(faults[0], "record 2, service `shop`: decided again, it comes out otherwise");
    // What another version decided is its own business.
    let (path, _directory) = load(JOURNAL_2);
    assert_eq!(verify(&path, None).unwrap().refolded, 0);
}

#[tokio::test]
async fn what_format_1_wrote_is_brought_up_to_date_and_nothing_of_it_is_lost() {
    let (path, _directory) = load(JOURNAL_1);
    let texts = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        let mut read =
            connection.prepare("SELECT sequence, service, record FROM journal ORDER BY sequence").unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        };
        read.query_map([], row).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let error = verify(&path, None).unwrap_err();
    assert!(matches!(error, JournalError::Older { found: 1, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("start a controller once"), "{error}");
    let before = texts(&path);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(texts(&path), before);
    assert_eq!(faults(&path), [""; 0]);
    assert_eq!(journal.begin_term().await.unwrap(), 4);
    assert_eq!(journal.services().await.unwrap(), ["cart", "shop"].map(service));
    let shop = journal.latest(&service("shop")).await.unwrap().unwrap();
    assert_eq!((shop.sequence, shop.state.name), (17, service("shop")));
    let history = journal.history(&service("shop"), 9).await.unwrap();
    assert_eq!(
        history.iter().map(|known| known.id.as_str()).collect::<Vec<_>>(),
        ["shop-v2-good", "shop-v1-good"]
    );
    let asked: (String, String, String) = Connection::open(&path)
        .unwrap()
        .query_row("SELECT deployment, actor, reason FROM journal WHERE sequence = 15", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let (deployment, actor, reason) = (asked.0.as_str(), asked.1.as_str(), asked.2.as_str());
    assert_eq!((deployment, actor, reason), ("shop-v2-good", "bob", "rolled back by hand"));
    append(&journal, "cart", 3, Story::of("cart").records.remove(3)).await;
    assert_eq!(faults(&path), [""; 0]);
}

#[tokio::test]
async fn what_format_2_wrote_is_read_for_ever() {
    let (path, _directory) = load(JOURNAL_2);
    let head = "21:9f3eea6019c96c31a664d30f341b808c1d1b47adb85b6ae613b82be0873b05c9";
    let found = verify(&path, Some(head.parse().unwrap())).unwrap();
    assert_eq!((found.records, found.services, &*found.faults), (21, 2, &[][..]));
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.begin_term().await.unwrap(), 5);
    assert_eq!(journal.latest(&service("cart")).await.unwrap().unwrap().sequence, 4);
    assert_eq!(journal.history(&service("shop"), 9).await.unwrap().len(), 2);
}

/// What a file holds besides its rows.
fn schema(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut read = connection
        .prepare("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
        .unwrap();
    let squeeze = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    read.query_map([], |row| row.get(0)).unwrap().map(|sql| squeeze(sql.unwrap())).collect()
}

#[test]
fn a_new_journal_an_upgraded_one_and_the_kept_one_have_the_same_tables() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    drop(SqliteJournal::open(&path).unwrap());
    let (upgraded, _one) = load(JOURNAL_1);
    drop(SqliteJournal::open(&upgraded).unwrap());
    let (kept, _two) = load(JOURNAL_2);
    assert_eq!(schema(&path), schema(&kept), "the tables have changed: raise the format and keep the file");
    assert_eq!(schema(&path), schema(&upgraded));
}

#[tokio::test]
async fn an_upgrade_that_was_cut_short_left_what_was_there() {
    let (path, _directory) = load(JOURNAL_1);
    // A row that format 2 cannot take in ends the upgrade in its middle.
    rewrite(&path, "UPDATE journal SET service = 'no such name!' WHERE sequence = 11");
    let error = SqliteJournal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
    let connection = Connection::open(&path).unwrap();
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).unwrap();
    assert_eq!((version, count), (1, 20));
    rewrite(&path, "UPDATE journal SET service = 'shop' WHERE sequence = 11");
    drop(SqliteJournal::open(&path).unwrap());
    assert_eq!(faults(&path), [""; 0]);
}
