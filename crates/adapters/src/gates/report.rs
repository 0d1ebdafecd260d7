//! The report that a program writes in JUnit's form.
//!
//! One that is there already is not removed: it may lie in the release, which nobody changes, and it is no pass by
//! itself. It has to be another file afterwards, or changed, and not older than the run. What is read as the controller
//! must not be what the program could not have read itself: so it has to be a plain file of the program's user.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cutover_core::gates::Check;
use cutover_smoke::junit;
use nix::unistd::{User, geteuid};
use rustix::fs::OFlags;
use tokio::task::spawn_blocking;

/// Longer is no report.
const LONGEST: u64 = 16 << 20;
/// File systems tell times less exactly than the clock.
const TOLERANCE: Duration = Duration::from_secs(2);

/// A report that shall be written.
#[derive(Debug)]
pub(super) struct Report {
    file: PathBuf,
    user: u32,
    began: SystemTime,
    /// What was there before.
    former: Option<Mark>,
}

/// Changes whenever a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    file: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

impl Mark {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            length: found.len(),
        }
    }
}

impl Report {
    /// To be called before the program is started, with the user that it runs as.
    pub(super) fn expected_at(file: PathBuf, user: Option<&str>) -> Self {
        let user = user.and_then(|name| User::from_name(name).ok().flatten());
        let user = user.map_or(geteuid(), |user| user.uid).as_raw();
        let former = fs::metadata(&file).ok().map(|found| Mark::of(&found));
        Self { file, user, began: SystemTime::now(), former }
    }

    /// The tests in it, or why it is no report of this run.
    pub(super) async fn read(self, suite: &str) -> Result<Vec<Check>, String> {
        let suite = suite.to_owned();
        let read = spawn_blocking(move || junit::read(&self.content()?, &suite));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn content(&self) -> Result<Vec<u8>, String> {
        let path = self.file.display();
        let file = open(&self.file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("it has not written its report `{path}`"),
            _ => format!("its report `{path}` cannot be read: {error}"),
        })?;
        let found =
            file.metadata().map_err(|error| format!("its report `{path}` cannot be read: {error}"))?;
        if !found.is_file() {
            return Err(format!("its report `{path}` is no plain file"));
        }
        if found.uid() != self.user {
            return Err(format!("its report `{path}` belongs to another user"));
        }
        let is_older = found.modified().is_ok_and(|at| at + TOLERANCE < self.began);
        if is_older || self.former == Some(Mark::of(&found)) {
            return Err(format!("its report `{path}` is older than this run"));
        }
        let mut content = Vec::new();
        let read = file.take(LONGEST + 1).read_to_end(&mut content);
        read.map_err(|error| format!("its report `{path}` cannot be read: {error}"))?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > LONGEST {
            return Err(format!("its report `{path}` has more than {} MiB", LONGEST >> 20));
        }
        Ok(content)
    }
}

/// Neither follows a link nor waits for who writes into a pipe.
fn open(file: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const GOOD: &str = "<testsuite><testcase name='a'/></testsuite>";

    fn check(prepare: impl FnOnce(&Path), write: impl FnOnce(&Path), expected: Result<(), &str>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("report.xml");
        prepare(&file);
        let report = Report::expected_at(file.clone(), None);
        write(&file);
        match (report.content(), expected) {
            (Ok(_), Ok(())) => {}
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (found, _) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_report_must_be_written_by_this_run() {
        let good = |file: &Path| fs::write(file, GOOD).unwrap();
        check(|_| (), good, Ok(()));
        check(good, good, Ok(()));
        check(|_| (), |_| (), Err("has not written its report"));
        check(good, |_| (), Err("is older than this run"));
        let old = |file: &Path| {
            good(file);
            let hour_ago = SystemTime::now() - Duration::from_secs(3600);
            File::options().write(true).open(file).unwrap().set_modified(hour_ago).unwrap();
        };
        check(|_| (), old, Err("is older than this run"));
    }

    #[test]
    fn what_is_no_plain_file_of_bearable_size_is_no_report() {
        check(|_| (), |file| fs::create_dir(file).unwrap(), Err("is no plain file"));
        check(|_| (), |file| symlink("/etc/passwd", file).unwrap(), Err("cannot be read"));
        let fifo = |file: &Path| nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        check(|_| (), fifo, Err("is no plain file"));
        let huge = |file: &Path| File::create(file).unwrap().set_len(LONGEST + 1).unwrap();
        check(|_| (), huge, Err("has more than 16 MiB"));
    }
}
