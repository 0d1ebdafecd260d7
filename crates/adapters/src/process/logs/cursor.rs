//! A reader's place in one log, which is rotated, moved and removed under it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use cutover_controller::ports::{LogLine, LogOrigin};
use cutover_core::Timestamp;

use super::super::log_file::{KEPT_LOGS, rotated};
use super::super::log_line;
use super::sources::Source;

/// Read at once on the way back to the beginning of the last lines.
const CHUNK: u64 = 64 * 1024;

/// A place between two lines.
pub(super) struct Cursor {
    origin: Arc<LogOrigin>,
    log: PathBuf,
    /// What is read, oldest first; the last one is written to.
    files: VecDeque<BufReader<File>>,
    /// What came of a line that has not ended.
    partial: Vec<u8>,
    next: Option<LogLine>,
    /// Time of the last line that had one: what has none was written after it.
    last: Timestamp,
    since: Option<Timestamp>,
    /// Lines that may still be taken at this look.
    left: usize,
    /// Nobody waits for the end of a line that has not ended.
    is_last_look: bool,
}

impl Cursor {
    /// Before everything that was written `since` then.
    pub(super) fn open(source: Source, since: Option<Timestamp>) -> io::Result<Self> {
        let Source { origin, log } = source;
        let mut files = VecDeque::new();
        for number in (1..=KEPT_LOGS).rev() {
            // What was written last before then holds nothing wanted.
            let file = File::open(rotated(&log, number)).ok().filter(|file| reaches(file, since));
            files.extend(file.map(BufReader::new));
        }
        files.push_back(BufReader::new(File::open(&log)?));
        Ok(Self {
            origin,
            log,
            files,
            partial: Vec::new(),
            next: None,
            last: Timestamp::from_millis(0),
            since,
            left: 0,
            is_last_look: false,
        })
    }

    pub(super) fn origin(&self) -> &LogOrigin {
        &self.origin
    }

    /// Goes to before the last `count` lines and says how many there are after it.
    pub(super) fn go_back(&mut self, count: usize) -> io::Result<usize> {
        let mut found = 0;
        for number in (0..self.files.len()).rev() {
            let file = self.files[number].get_ref();
            if let Some(start) = start_of_last(file, count, &mut found)? {
                self.files[number].seek(SeekFrom::Start(start))?;
                self.files.drain(..number);
                break;
            }
        }
        Ok(found)
    }

    /// Looks whether more was written.
    pub(super) fn look(&mut self, bound: usize, is_last_look: bool) {
        (self.left, self.is_last_look) = (bound, is_last_look);
        if self.next.is_none() {
            self.advance();
        }
    }

    /// When the next line was written, if there is one.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.next.as_ref().map(|_| self.last)
    }

    /// The next line.
    pub(super) fn take(&mut self) -> Option<LogLine> {
        let line = self.next.take();
        self.advance();
        line
    }

    fn advance(&mut self) {
        while self.left > 0 {
            self.left -= 1;
            // A log that cannot be read any more has ended.
            let Ok(Some(bytes)) = self.read_line() else { return };
            let text = String::from_utf8_lossy(&bytes);
            let (known, text) = log_line::read(&text);
            let (at, stream) = known.unzip();
            self.last = at.unwrap_or(self.last).max(self.last);
            if self.since.is_none_or(|since| self.last >= since) {
                let origin = Arc::clone(&self.origin);
                self.next = Some(LogLine { at, stream, origin, text: text.to_owned() });
                return;
            }
        }
    }

    /// The bytes of the next line without its end.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(file) = self.files.front_mut() else { return Ok(None) };
            let room = log_line::LONGEST * 2 - self.partial.len().min(log_line::LONGEST);
            let count = file.by_ref().take(room as u64).read_until(b'\n', &mut self.partial)?;
            let ended = self.partial.ends_with(b"\n");
            if ended || self.partial.len() >= log_line::LONGEST {
                let mut line = std::mem::take(&mut self.partial);
                line.truncate(line.len() - usize::from(ended));
                return Ok(Some(line));
            }
            if count > 0 {
                continue;
            }
            if self.files.len() == 1 && !self.follow_rotation() {
                let rest = std::mem::take(&mut self.partial);
                if self.is_last_look && !rest.is_empty() {
                    return Ok(Some(rest));
                }
                self.partial = rest;
                return Ok(None);
            }
            // What was written between the last look and the rotation comes first.
            let Some(former) = self.files.front_mut() else { return Ok(None) };
            if former.fill_buf()?.is_empty() {
                self.files.pop_front();
                if !self.partial.is_empty() {
                    return Ok(Some(std::mem::take(&mut self.partial)));
                }
            }
        }
    }

    /// Opens the files that are newer than the last one; `false` if there are none.
    fn follow_rotation(&mut self) -> bool {
        let Some(own) = self.files.back().and_then(|file| identity(file.get_ref())) else { return false };
        let name = |number| if number == 0 { self.log.clone() } else { rotated(&self.log, number) };
        let is_own = |number: &u32| fs::metadata(name(*number)).is_ok_and(|it| (it.dev(), it.ino()) == own);
        let age = match (0..=KEPT_LOGS).find(is_own) {
            Some(0) => return false,
            Some(age) => age,
            // It was moved with the instance's end, or so much was written that it is gone.
            None if self.log.exists() => KEPT_LOGS + 1,
            None => return false,
        };
        let newer: Vec<_> = (0..age).rev().filter_map(|number| File::open(name(number)).ok()).collect();
        let found = !newer.is_empty();
        self.files.extend(newer.into_iter().map(BufReader::new));
        found
    }
}

fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether anything was written into it since then.
fn reaches(file: &File, since: Option<Timestamp>) -> bool {
    let modified =
        file.metadata().and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
    let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.is_none_or(|since| modified.as_millis() >= u128::from(since.as_millis()))
}

/// Where the last lines of a file begin, if it has as many as are wanted still; those that it has are added to `found`.
fn start_of_last(file: &File, wanted: usize, found: &mut usize) -> io::Result<Option<u64>> {
    let size = file.metadata()?.len();
    if wanted == *found {
        return Ok(Some(size));
    }
    let mut chunk = Vec::new();
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        chunk.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        file.read_exact_at(&mut chunk, start)?;
        for (place, byte) in chunk.iter().enumerate().rev() {
            let after = start + place as u64 + 1;
            if *byte == b'\n' && after < size {
                *found += 1;
                if *found == wanted {
                    return Ok(Some(after));
                }
            }
        }
        end = start;
    }
    *found += usize::from(size > 0);
    Ok((*found == wanted).then_some(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::*;

    fn write(log: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn cursor(log: &Path) -> Cursor {
        let instance = "shop-blue-a-1".parse().unwrap();
        let origin = LogOrigin { instance, environment: None, release: None, version: None };
        Cursor::open(Source { origin: Arc::new(origin), log: log.to_owned() }, None).unwrap()
    }

    fn rest(cursor: &mut Cursor) -> Vec<String> {
        cursor.look(usize::MAX, false);
        std::iter::from_fn(|| cursor.take()).map(|line| line.text).collect()
    }

    #[test]
    fn the_last_lines_are_found_through_rotated_files() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("output.log");
        write(&rotated(&log, 2), "one\ntwo\n");
        write(&rotated(&log, 1), "three\nfour\n");
        write(&log, "five\nsix\n");
        for (count, expected) in [
            (0, vec![]),
            (1, vec!["six"]),
            (2, vec!["five", "six"]),
            (3, vec!["four", "five", "six"]),
            (5, vec!["two", "three", "four", "five", "six"]),
            (9, vec!["one", "two", "three", "four", "five", "six"]),
        ] {
            let mut cursor = cursor(&log);
            assert_eq!(cursor.go_back(count).unwrap(), expected.len());
            assert_eq!(rest(&mut cursor), expected);
        }
    }

    #[test]
    fn a_log_is_followed_through_rotations_and_its_move_to_another_place() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("output.log");
        write(&log, "one\ntwo");
        let mut cursor = cursor(&log);
        assert_eq!(rest(&mut cursor), ["one"]);
        write(&log, " and more\nthree\n");
        fs::rename(&log, rotated(&log, 1)).unwrap();
        write(&log, "four\n");
        fs::rename(rotated(&log, 1), rotated(&log, 2)).unwrap();
        fs::rename(&log, rotated(&log, 1)).unwrap();
        assert_eq!(rest(&mut cursor), ["two and more", "three", "four"]);
        write(&log, "five\n");
        assert_eq!(rest(&mut cursor), ["five"]);
        let kept = directory.path().join("kept.log");
        fs::rename(&log, &kept).unwrap();
        write(&kept, "six\n");
        assert_eq!(rest(&mut cursor), ["six"]);
    }
}
