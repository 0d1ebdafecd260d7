//! Files that somebody else names, read without fear; not an adapter, only what several of them do.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// More than any file of certificates or secrets that is worth reading.
const LARGEST: u64 = 16 << 20;

/// Reads a file of 16 MiB at most, or says why not in a sentence that names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    content(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

/// The same for those who have a sentence of their own.
///
/// Never waits for anybody: a pipe or a device is refused, for whoever names one must neither hold up a thread for ever nor
/// fill the memory.
pub(crate) fn content(path: &Path) -> io::Result<Vec<u8>> {
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = fs::File::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return refused("it is not a file");
    }
    let mut bytes = Vec::new();
    // A file may grow, and some say that they are empty.
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return refused("it is larger than 16 MiB");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_bearable_size_are_read_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let check = |path: &Path, expected: Result<usize, &str>| {
            let found = read(path).map(|bytes| bytes.len());
            let expected = expected.map_err(|why| format!("cannot read `{}`: {why}", path.display()));
            assert_eq!(found, expected);
        };
        fs::write(path("some"), "some").unwrap();
        check(&path("some"), Ok(4));
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        check(&path("pipe"), Err("it is not a file"));
        check(directory.path(), Err("it is not a file"));
        check(Path::new("/dev/null"), Err("it is not a file"));
        let large = fs::File::create(path("large")).unwrap();
        large.set_len(LARGEST).unwrap();
        check(&path("large"), Ok(16 << 20));
        large.set_len(LARGEST + 1).unwrap();
        check(&path("large"), Err("it is larger than 16 MiB"));
        check(&path("none"), Err("No such file or directory (os error 2)"));
    }
}
