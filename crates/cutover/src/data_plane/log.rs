//! The proxy's log, kept small: a data plane runs for months, and its words must not fill the disk of the journal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

/// Beyond this many bytes the newest part is put aside.
const LIMIT: u64 = 8 * 1024 * 1024;

/// Puts the newest part of a log that has grown too large into its neighbour `proxy.log.1`, in place of what was there,
/// and empties it. The writer has it open to append, so it goes on at the new end.
pub(super) fn bound(log: &Path) {
    if let Err(error) = bound_to(log, LIMIT) {
        tracing::warn!(%error, log = %log.display(), "the proxy's log cannot be kept small");
    }
}

fn bound_to(log: &Path, limit: u64) -> io::Result<()> {
    let length = match std::fs::metadata(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.len(),
    };
    if length <= limit {
        return Ok(());
    }
    let kept = keep_end(log, length - limit);
    // Also if there was no room to keep anything: a full disk is the last place for a log that grows.
    File::options().write(true).open(log)?.set_len(0)?;
    kept
}

/// Copies what follows the first line that begins after `from`.
fn keep_end(log: &Path, from: u64) -> io::Result<()> {
    let mut old = File::open(log)?;
    old.seek(SeekFrom::Start(from))?;
    let mut old = BufReader::new(old);
    old.skip_until(b'\n')?;
    io::copy(&mut old, &mut File::create(log.with_extension("log.1"))?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_newest_whole_lines_are_kept_and_the_writer_goes_on_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("proxy.log");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        bound_to(&log, 20).unwrap();
        let mut writer = File::options().create(true).append(true).open(&log).unwrap();
        writer.write_all(b"first\nsecond\nthird\n").unwrap();
        bound_to(&log, 19).unwrap();
        assert_eq!((read("proxy.log").len(), read("proxy.log.1").as_str()), (19, ""), "not larger than that");
        bound_to(&log, 15).unwrap();
        assert_eq!((read("proxy.log").as_str(), read("proxy.log.1").as_str()), ("", "second\nthird\n"));
        writer.write_all(b"fourth\n").unwrap();
        assert_eq!(read("proxy.log"), "fourth\n");
        bound_to(&log, 6).unwrap();
        assert_eq!(read("proxy.log.1"), "", "a line that is too long has no newest part");
    }

    #[test]
    fn without_room_for_the_newest_part_the_log_is_emptied_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("proxy.log");
        std::os::unix::fs::symlink("/dev/full", directory.path().join("proxy.log.1")).unwrap();
        std::fs::write(&log, "first\nsecond\n").unwrap();
        assert_eq!(bound_to(&log, 8).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    }
}
