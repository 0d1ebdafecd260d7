//! What only the journal on disk can do or suffer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cutover_controller::journal::{Latest, Pruned, Retention, verify};
use cutover_controller::{Importance, Journal, JournalError, Record, SqliteJournal};
use cutover_core::service::{Deployment, Status};
use cutover_core::{ServiceName, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::conformance::Shared;
use crate::sample::{Story, append, closed, open, service};

/// A new journal, and the directory it lies in.
pub(crate) fn journal() -> (SqliteJournal, TempDir) {
    let directory = TempDir::new().unwrap();
    (SqliteJournal::open(&directory.path().join("journal.db")).unwrap(), directory)
}

/// A new journal that another controller can open too, and the directory it lies in.
pub(crate) fn shared_journal() -> (OnDisk, TempDir) {
    let (journal, directory) = journal();
    (OnDisk { journal, path: directory.path().join("journal.db") }, directory)
}

/// A journal that knows where it lies.
pub(crate) struct OnDisk {
    journal: SqliteJournal,
    path: PathBuf,
}

impl Shared for OnDisk {
    fn another(&self) -> Box<dyn Journal> {
        Box::new(SqliteJournal::open(&self.path).unwrap())
    }
}

#[async_trait::async_trait]
impl Journal for OnDisk {
    async fn begin_term(&self) -> Result<u32, JournalError> {
        self.journal.begin_term().await
    }

    async fn append(
        &self,
        service: &ServiceName,
        expected: u64,
        record: Record,
        importance: Importance,
    ) -> Result<u64, JournalError> {
        self.journal.append(service, expected, record, importance).await
    }

    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        self.journal.latest(service).await
    }

    async fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        self.journal.services().await
    }

    async fn last_moment(&self) -> Result<Option<Timestamp>, JournalError> {
        self.journal.last_moment().await
    }

    async fn probe(&self) -> Result<(), JournalError> {
        self.journal.probe().await
    }

    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        self.journal.history(service, limit).await
    }

    async fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, JournalError> {
        self.journal.prune(retention, now).await
    }
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
    append(&journal, "shop", 0, closed("shop", "d1", 1, Status::Live)).await;
    append(&journal, "shop", 1, last.clone()).await;
    append(&journal, "cart", 0, open("cart", "d3", 3)).await;
    let history = journal.history(&service("shop"), 10).await.unwrap();
    drop(journal);

    let again = SqliteJournal::open(&directory.path().join("journal.db")).unwrap();
    let latest = again.latest(&service("shop")).await.unwrap().unwrap();
    assert_eq!((latest.sequence, latest.state), (2, last.state));
    assert_eq!(again.history(&service("shop"), 10).await.unwrap(), history);
    assert_eq!(again.services().await.unwrap(), ["cart", "shop"].map(service));
    append(&again, "shop", 2, open("shop", "d2", 2)).await;
}

#[tokio::test]
async fn the_history_is_made_anew_from_the_records_when_its_table_is_gone() {
    let (journal, directory) = journal();
    let file = directory.path().join("journal.db");
    let shop = service("shop");
    append(&journal, "shop", 0, open("shop", "d1", 1)).await;
    append(&journal, "shop", 1, closed("shop", "d1", 1, Status::Live)).await;
    append(&journal, "shop", 2, open("shop", "d2", 2)).await;
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
                append(&journal, &name, expected, record).await;
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
        journal.append(&shop, 0, open("shop", "d1", 1), Importance::Ordinary),
        journal.append(&shop, 0, open("shop", "d2", 2), Importance::Ordinary),
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
        journal.append(&shop, 0, open("shop", "d1", 1), Importance::Ordinary),
        journal.append(&cart, 5, open("cart", "d2", 2), Importance::Ordinary),
        journal.append(&mail, 0, open("mail", "d3", 3), Importance::Ordinary),
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
    assert!(message.contains("format 99, this one reads up to 2"), "{message}");
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
        append(&journal, name, 0, open(name, "d1", 1)).await;
    }
    let path = directory.path().join("journal.db");
    let database = Connection::open(&path).unwrap();
    let unreadable = async |journal: &SqliteJournal| {
        let error = journal.latest(&service("shop")).await.unwrap_err();
        assert!(matches!(error, JournalError::Unreadable { sequence: 1, .. }), "{error}");
        assert!(error.to_string().contains("`shop`"), "{error}");
        assert!(journal.latest(&service("cart")).await.unwrap().is_some());
        assert_eq!(journal.services().await.unwrap(), ["cart", "shop"].map(service));
    };
    database.execute("UPDATE latest SET state = '{' WHERE service = 'shop'", []).unwrap();
    unreadable(&journal).await;
    // Also if the record itself is damaged, and everything is made anew from it.
    drop(journal);
    database.execute("UPDATE journal SET record = '{' WHERE service = 'shop'", []).unwrap();
    database.execute_batch("DROP TABLE latest").unwrap();
    unreadable(&SqliteJournal::open(&path).unwrap()).await;
}

#[tokio::test]
async fn on_a_damaged_file_nothing_is_decided_and_the_damage_is_told() {
    let (journal, directory) = journal();
    for expected in 0..20 {
        append(&journal, "shop", expected, open("shop", "d1", 1)).await;
    }
    let path = directory.path().join("journal.db");
    drop(journal);
    // The last handle writes everything into the file and removes the log.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while directory.path().join("journal.db-wal").exists() {
        assert!(std::time::Instant::now() < deadline, "the file is never closed");
    }
    let mut file = std::fs::read(&path).unwrap();
    file[4096..].fill(0x55);
    std::fs::write(&path, &file).unwrap();
    let appended = match SqliteJournal::open(&path) {
        Ok(journal) => journal.append(&service("shop"), 20, open("shop", "d1", 1), Importance::Rescue).await,
        Err(error) => Err(error),
    };
    let error = appended.unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("malformed"), "{error}");
}

#[tokio::test]
async fn the_projections_made_anew_after_pruning_are_those_that_were_kept() {
    let (journal, directory) = journal();
    let path = directory.path().join("journal.db");
    for name in ["shop", "cart"] {
        for (expected, record) in (0..).zip(Story::of(name).records) {
            append(&journal, name, expected, record).await;
        }
    }
    let rows = |table: &str| {
        let connection = Connection::open(&path).unwrap();
        let mut read = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = read.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns)
                .map(|column| row.get::<_, rusqlite::types::Value>(column))
                .collect::<Result<Vec<_>, _>>()
        };
        read.query_map([], row).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let now = Timestamp::from_millis(1_000_000_000);
    let head = verify(&path, None).unwrap().head;
    for (keep_deployments, thinned) in [(2, true), (1, true), (1, false), (0, true)] {
        let retention = Retention { keep_deployments, keep_for: std::time::Duration::ZERO };
        let pruned = journal.prune(&retention, now).await.unwrap();
        assert_eq!(pruned.thinned > 0, thinned, "{keep_deployments}: {pruned:?}");
        let before = (rows("latest"), rows("deployments"));
        assert_eq!(before.1.len(), 2 * keep_deployments);
        Connection::open(&path).unwrap().execute_batch("DROP TABLE latest; DROP TABLE deployments").unwrap();
        drop(SqliteJournal::open(&path).unwrap());
        assert_eq!((rows("latest"), rows("deployments")), before, "{keep_deployments}");
        let found = verify(&path, Some(head)).unwrap();
        assert_eq!((found.head, &*found.faults), (head, &[][..]));
        assert!(found.thinned > 0 && found.refolded < found.records);
    }
    let trail =
        "SELECT count(*) FROM journal WHERE record IS NULL AND actor = 'bob' AND reason LIKE 'rolled back%'";
    let left: i64 = Connection::open(&path).unwrap().query_row(trail, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2, "who asked for what is never forgotten");
}
