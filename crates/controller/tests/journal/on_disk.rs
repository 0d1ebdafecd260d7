//! What only the journal on disk can do or suffer.

use std::collections::BTreeMap;
use std::path::Path;

use cutover_controller::{Journal, JournalError, SqliteJournal};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::sample::{closed, open, service};

/// A new journal, and the directory it lies in.
pub(crate) fn journal() -> (SqliteJournal, TempDir) {
    let directory = TempDir::new().unwrap();
    (SqliteJournal::open(&directory.path().join("journal.db")).unwrap(), directory)
}

fn refused(path: &Path) -> String {
    match SqliteJournal::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error @ (JournalError::Unusable { .. } | JournalError::Newer { .. })) => error.to_string(),
        Err(error) => panic!("an odd refusal: {error}"),
    }
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let (journal, directory) = journal();
    let last = open("shop", "d2", 2);
    journal
        .append(&service("shop"), 0, closed("shop", "d1", 1, cutover_core::service::Status::Live))
        .await
        .unwrap();
    journal.append(&service("shop"), 1, last.clone()).await.unwrap();
    journal.append(&service("cart"), 0, open("cart", "d3", 3)).await.unwrap();
    let history = journal.history(&service("shop"), 10).await.unwrap();
    drop(journal);

    let again = SqliteJournal::open(&directory.path().join("journal.db")).unwrap();
    let latest = again.latest(&service("shop")).await.unwrap().unwrap();
    assert_eq!((latest.sequence, latest.state), (2, last.state));
    assert_eq!(again.history(&service("shop"), 10).await.unwrap(), history);
    assert_eq!(again.services().await.unwrap(), ["cart", "shop"].map(service));
    assert_eq!(again.append(&service("shop"), 2, open("shop", "d2", 2)).await.unwrap(), 3);
}

#[tokio::test]
async fn the_history_is_made_anew_from_the_records_when_its_table_is_gone() {
    let (journal, directory) = journal();
    let file = directory.path().join("journal.db");
    let shop = service("shop");
    journal.append(&shop, 0, open("shop", "d1", 1)).await.unwrap();
    journal.append(&shop, 1, closed("shop", "d1", 1, cutover_core::service::Status::Live)).await.unwrap();
    journal.append(&shop, 2, open("shop", "d2", 2)).await.unwrap();
    let before = journal.history(&shop, 10).await.unwrap();
    drop(journal);
    Connection::open(&file).unwrap().execute_batch("DROP TABLE deployments").unwrap();
    let again = SqliteJournal::open(&file).unwrap();
    assert_eq!(again.history(&shop, 10).await.unwrap(), before);
    assert_eq!(before.len(), 2);
}

#[tokio::test]
async fn terms_grow_from_one_opening_to_the_next() {
    let directory = TempDir::new().unwrap();
    let mut last = 0;
    for _ in 0..4 {
        let journal = SqliteJournal::open(&directory.path().join("journal.db")).unwrap();
        let term = journal.begin_term().await.unwrap();
        assert!(term > last, "{term} after {last}");
        last = term;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_of_many_services_at_once_all_land_and_each_counts_without_a_gap() {
    const APPENDS: u64 = 25;
    const SERVICES: u64 = 24;
    let (journal, directory) = journal();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..SERVICES {
        let (journal, name) = (journal.clone(), format!("service-{number}"));
        writers.spawn(async move {
            for expected in 0..APPENDS {
                let record = open(&name, &format!("d{expected}"), expected);
                let sequence = journal.append(&service(&name), expected, record).await.unwrap();
                assert_eq!(sequence, expected + 1, "{name}");
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    drop(journal);
    let database = Connection::open(directory.path().join("journal.db")).unwrap();
    let mut read =
        database.prepare("SELECT service, service_sequence FROM journal ORDER BY sequence").unwrap();
    let rows = read.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    let mut counted = BTreeMap::<String, i64>::new();
    for (name, sequence) in rows.map(Result::unwrap) {
        let last = counted.entry(name).or_default();
        assert_eq!(sequence, *last + 1);
        *last = sequence;
    }
    assert_eq!(counted.len(), SERVICES as usize);
    assert!(counted.values().all(|last| *last == APPENDS.cast_signed()), "{counted:?}");
}

#[tokio::test]
async fn of_two_writers_that_expect_the_same_record_one_lands() {
    let (journal, _directory) = journal();
    let shop = service("shop");
    let (one, other) = tokio::join!(
        journal.append(&shop, 0, open("shop", "d1", 1)),
        journal.append(&shop, 0, open("shop", "d2", 2)),
    );
    assert_eq!(one.unwrap(), 1);
    assert!(matches!(other, Err(JournalError::Conflict { expected: 0, found: 1, .. })), "{other:?}");
    assert_eq!(journal.history(&service("shop"), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_conflict_of_one_service_leaves_the_others_of_its_group_alone() {
    let (journal, _directory) = journal();
    let (shop, cart, mail) = (service("shop"), service("cart"), service("mail"));
    let (one, two, three) = tokio::join!(
        journal.append(&shop, 0, open("shop", "d1", 1)),
        journal.append(&cart, 5, open("cart", "d2", 2)),
        journal.append(&mail, 0, open("mail", "d3", 3)),
    );
    assert!(one.is_ok() && three.is_ok() && matches!(two, Err(JournalError::Conflict { .. })));
    assert_eq!(journal.services().await.unwrap(), ["mail", "shop"].map(service));
}

#[test]
fn a_journal_of_a_newer_version_is_refused_with_its_format_and_what_to_do() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = refused(&path);
    assert!(message.contains("format 99, this one reads up to 1"), "{message}");
    assert!(message.contains("start that version again, or restore an older state directory"), "{message}");
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "a refused journal is not touched");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    let text = "these are not the records you are looking for\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let message = refused(&path);
    assert!(message.contains("file is not a database"), "{message}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_with_its_path() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("no/such/directory/journal.db");
    for path in [directory.path(), Path::new("/proc/journal.db"), &missing] {
        let message = refused(path);
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_file_that_was_made_and_never_filled_becomes_a_journal() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.db");
    std::fs::write(&path, "").unwrap();
    assert_eq!(SqliteJournal::open(&path).unwrap().begin_term().await.unwrap(), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_of_that_service_alone() {
    let (journal, directory) = journal();
    for name in ["shop", "cart"] {
        journal.append(&service(name), 0, open(name, "d1", 1)).await.unwrap();
    }
    let database = Connection::open(directory.path().join("journal.db")).unwrap();
    database.execute("UPDATE journal SET record = '{' WHERE service = 'shop'", []).unwrap();
    let error = journal.latest(&service("shop")).await.unwrap_err().to_string();
    assert!(error.contains("a record cannot be read"), "{error}");
    assert!(journal.latest(&service("cart")).await.unwrap().is_some());
}
