//! A disk that is really full, and one that is read-only: a small tmpfs in mount namespaces of their own, so that
//! nothing is left behind.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cutover_controller::journal::{Head, export, verify};
use cutover_controller::{Importance, Journal, JournalError, SqliteJournal};
use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::sample::{append, open, service};

/// Names the mount point, in the process that has mount namespaces of its own.
const MOUNT_POINT: &str = "CUTOVER_TEST_MOUNT_POINT";
const CHUNK: u64 = 512 * 1024;

/// Plays a scene on a tmpfs of 16 MiB. The test of that name is run again in a process of its own for it.
fn on_a_small_disk(test: &str, scene: impl AsyncFnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(MOUNT_POINT).map(PathBuf::from) {
        mount(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &disk);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(scene(&disk));
        return;
    }
    let directory = TempDir::new().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let done = command.env(MOUNT_POINT, directory.path()).output().expect("unshare, of util-linux");
    let told = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success() && told.contains("1 passed"), "{told}");
}

fn mount(arguments: &[&str], disk: &Path) {
    let done = Command::new("mount").args(arguments).arg(disk).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Fills the disk to its last byte; a journal that is being closed may free some meanwhile.
fn fill(disk: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut file = File::options().create(true).append(true).open(disk.join("filler")).unwrap();
    loop {
        for size in [4096, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        if statvfs(disk).unwrap().f_bavail == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "the disk does not fill");
    }
}

fn free(disk: &Path) {
    std::fs::remove_file(disk.join("filler")).unwrap();
}

fn chunks(disk: &Path) -> usize {
    let chunks = std::fs::read_dir(disk.join("reserve")).unwrap();
    chunks.filter(|chunk| chunk.as_ref().unwrap().metadata().unwrap().len() == CHUNK).count()
}

async fn try_append(journal: &SqliteJournal, importance: Importance) -> Result<u64, JournalError> {
    let shop = service("shop");
    let expected = last(journal).await;
    let appended = journal.append(&shop, expected, open("shop", "d1", 1), importance).await;
    assert_eq!(last(journal).await, appended.as_ref().map_or(expected, |sequence| *sequence));
    appended
}

async fn last(journal: &SqliteJournal) -> u64 {
    journal.latest(&service("shop")).await.unwrap().map_or(0, |latest| latest.sequence)
}

/// Appends until one is refused: what the log has room for already needs no disk. Answers what was said.
async fn refused(journal: &SqliteJournal, importance: Importance) -> String {
    for _ in 0..200 {
        match try_append(journal, importance).await {
            Ok(_) => {}
            Err(error @ JournalError::Full { .. }) => return error.to_string(),
            Err(error) => panic!("an odd refusal: {error}"),
        }
    }
    panic!("a full disk refuses nothing");
}

#[test]
fn on_a_full_disk_rescue_is_recorded_and_nothing_else_until_there_is_room_again() {
    let test = "full_disk::on_a_full_disk_rescue_is_recorded_and_nothing_else_until_there_is_room_again";
    on_a_small_disk(test, async |disk| {
        let path = disk.join("journal.sqlite");
        let journal = SqliteJournal::open(&path).unwrap();
        journal.begin_term().await.unwrap();
        append(&journal, "shop", 0, open("shop", "d1", 1)).await;
        assert_eq!(chunks(disk), 8);

        fill(disk);
        let said = refused(&journal, Importance::Ordinary).await;
        for expected in [
            &format!("the journal `{}` takes no new decision", path.display()),
            &format!("the disk of `{}` is full", disk.display()),
            "0 bytes are free",
            "8 of 8 pieces",
            "free some space there",
            "rollback and abort still work",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        assert_eq!(chunks(disk), 8, "what is ordinary takes nothing from the reserve");

        let before = last(&journal).await;
        for _ in 0..12 {
            try_append(&journal, Importance::Rescue).await.unwrap();
        }
        assert_eq!(last(&journal).await, before + 12);
        let left = chunks(disk);
        assert!((4..8).contains(&left), "{left} chunks are left");
        // What was freed for rescue is not eaten by others.
        refused(&journal, Importance::Ordinary).await;
        assert_eq!((last(&journal).await, chunks(disk)), (before + 12, left));

        // As after a crash, with its files as they lie, and with not a byte to make new ones.
        fill(disk);
        journal.begin_term().await.unwrap();
        drop(journal);
        fill(disk);
        let again = SqliteJournal::open(&path).unwrap();
        fill(disk);
        assert_eq!(again.begin_term().await.unwrap(), 3);
        assert_eq!(last(&again).await, before + 12);
        fill(disk);
        try_append(&again, Importance::Rescue).await.unwrap();
        let found = verify(&path, None).unwrap();
        assert_eq!((found.records, &*found.faults), (before + 13, &[][..]));

        free(disk);
        try_append(&again, Importance::Ordinary).await.unwrap();
        assert_eq!(chunks(disk), 8, "the reserve is whole again");
    });
}

#[test]
fn a_reserve_that_is_used_up_ends_in_a_refusal_and_not_in_a_loop() {
    let test = "full_disk::a_reserve_that_is_used_up_ends_in_a_refusal_and_not_in_a_loop";
    on_a_small_disk(test, async |disk| {
        let journal = SqliteJournal::open(&disk.join("journal.sqlite")).unwrap();
        let term = journal.begin_term().await.unwrap();
        // Somebody takes at once whatever becomes free.
        let mut recorded = 0;
        let said = loop {
            fill(disk);
            match try_append(&journal, Importance::Rescue).await {
                Ok(_) => recorded += 1,
                Err(error) => break error,
            }
            assert!(recorded < 200, "a disk without an end");
        };
        assert!(recorded >= 8 && matches!(said, JournalError::Full { .. }), "{recorded}: {said}");
        assert!(
            !said.to_string().contains("still work") && said.to_string().contains("0 of 8 pieces"),
            "{said}"
        );
        assert_eq!(chunks(disk), 0);
        // A term may fit into what the log has; if not, it is refused too, and the old one stays.
        match journal.begin_term().await {
            Ok(next) => assert_eq!(next, term + 1),
            Err(error) => assert!(matches!(error, JournalError::Full { .. }), "{error}"),
        }
        free(disk);
        try_append(&journal, Importance::Rescue).await.unwrap();
        try_append(&journal, Importance::Ordinary).await.unwrap();
        assert_eq!(chunks(disk), 8);
    });
}

#[test]
fn a_first_start_on_a_full_disk_is_refused_with_advice_and_works_once_there_is_room() {
    let test = "full_disk::a_first_start_on_a_full_disk_is_refused_with_advice_and_works_once_there_is_room";
    on_a_small_disk(test, async |disk| {
        let path = disk.join("journal.sqlite");
        fill(disk);
        let error = SqliteJournal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Full { .. }), "{error}");
        assert!(error.to_string().contains("free some space there"), "{error}");
        free(disk);
        let journal = SqliteJournal::open(&path).unwrap();
        try_append(&journal, Importance::Ordinary).await.unwrap();
        assert_eq!(chunks(disk), 8);
    });
}

#[test]
fn a_read_only_disk_is_told_plainly_and_its_journal_can_still_be_looked_at() {
    let test = "full_disk::a_read_only_disk_is_told_plainly_and_its_journal_can_still_be_looked_at";
    on_a_small_disk(test, async |disk| {
        let path = disk.join("journal.sqlite");
        let journal = SqliteJournal::open(&path).unwrap();
        append(&journal, "shop", 0, open("shop", "d1", 1)).await;
        let head = verify(&path, None).unwrap().head;
        drop(journal);
        // The journal's thread closes the file on its own time.
        let deadline = Instant::now() + Duration::from_secs(30);
        let remount = |how: &str| Command::new("mount").args(["-o", how]).arg(disk).output().unwrap();
        while !remount("remount,ro").status.success() {
            assert!(Instant::now() < deadline, "the file is never closed");
        }
        let error = SqliteJournal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains("Read-only file system"), "{error}");
        let found = verify(&path, Some(head)).unwrap();
        assert_eq!((found.head, found.records), (head, 1));
        assert_ne!(found.head, Head::EMPTY);
        assert_eq!(export(&path, Vec::new()).unwrap().records, 1);
        assert!(remount("remount,rw").status.success());
        append(&SqliteJournal::open(&path).unwrap(), "shop", 1, open("shop", "d1", 1)).await;
    });
}
