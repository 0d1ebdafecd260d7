//! A host's clock that a test can set, for one process: libfaketime between it and the C library.
//!
//! Only the time of day is another; what the kernel counts since the start goes on as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The time of day as one process is told it.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    pub fn new(file: PathBuf) -> Self {
        let clock = Self { file };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds ahead of the real one, or behind it.
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// Makes a command live by this clock.
    pub fn apply(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}

/// Removes what libfaketime leaves behind of a process that was killed.
pub fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

/// Debian's package keeps it in a directory of the machine's kind.
fn library() -> PathBuf {
    let kinds = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = kinds.map(|kind| kind.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|library| library.exists()).expect("libfaketime: apt-get install faketime")
}
