//! The log of an instance: a file that is rotated, and the last lines of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::log_line;

/// A log is rotated before it grows beyond this.
const LOG_BYTES: u64 = 10 * 1024 * 1024;
/// Rotated logs that are kept: `output.log.1` is the newest.
pub(super) const KEPT_LOGS: u32 = 3;
/// At most this much is read in search of last lines.
const TAIL_BYTES: u64 = 256 * 1024;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    limit: u64,
    open: Option<(File, u64)>,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, limit: LOG_BYTES, open: None }
    }

    /// Writes whole lines; what cannot be written is lost.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some((_, size)) = &self.open
            && *size > 0
            && size + bytes.len() as u64 > self.limit
        {
            self.open = None;
            self.rotate();
        }
        let Ok((file, size)) = self.opened() else { return };
        match file.write_all(bytes) {
            Ok(()) => *size += bytes.len() as u64,
            Err(_) => self.open = None,
        }
    }

    fn opened(&mut self) -> io::Result<&mut (File, u64)> {
        if self.open.is_none() {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            let size = file.metadata()?.len();
            self.open = Some((file, size));
        }
        self.open.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn rotate(&self) {
        for number in (1..KEPT_LOGS).rev() {
            let _ = fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1));
        }
        let _ = fs::rename(&self.path, rotated(&self.path, 1));
    }
}

/// The log that was rotated so many times.
pub(super) fn rotated(log: &Path, number: u32) -> PathBuf {
    log.with_added_extension(number.to_string())
}

/// The last lines of a log without time and stream, oldest first, looking into the newest rotated one if there are too few; without
/// reading more than [`TAIL_BYTES`] of each.
pub(super) fn last_lines(log: &Path, count: usize) -> Vec<String> {
    let mut lines = tail(log, count).unwrap_or_default();
    if lines.len() < count {
        let mut older = tail(&rotated(log, 1), count - lines.len()).unwrap_or_default();
        older.append(&mut lines);
        lines = older;
    }
    lines
}

fn tail(log: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let size = file.metadata()?.len();
    let start = size.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().collect();
    // The first line may have lost its beginning; it is kept only if there is no other.
    if start > 0 && lines.len() > 1 {
        lines.remove(0);
    }
    Ok(lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| log_line::text(line).to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_rotated_and_only_the_newest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        let mut log = LogFile { path: path.clone(), limit: 10, open: None };
        for number in 0..6 {
            log.append(format!("line {number}\n").as_bytes());
        }
        let names = ["output.log", "output.log.1", "output.log.2", "output.log.3"];
        let contents = names.map(|name| fs::read_to_string(directory.path().join(name)).unwrap());
        assert_eq!(contents, ["line 5\n", "line 4\n", "line 3\n", "line 2\n"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
        assert_eq!(last_lines(&path, 2), ["line 4", "line 5"]);
    }

    #[test]
    fn the_last_lines_of_a_long_log_are_found_without_its_torn_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, text).unwrap();
        assert_eq!(last_lines(&path, 2), ["line 99998", "line 99999"]);
        assert!(last_lines(&path, usize::MAX).iter().all(|line| line.starts_with("line ")));
    }

    #[test]
    fn a_log_that_is_not_there_has_no_lines() {
        assert!(last_lines(Path::new("/nowhere/output.log"), 5).is_empty());
    }
}
