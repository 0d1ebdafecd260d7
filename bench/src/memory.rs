//! The memory of this process, and of another one.

use std::{fs, io};

use rustix::process::{Resource, getrlimit, setrlimit};

/// The most that this process has had resident so far, in bytes: `VmHWM` of `/proc/self/status`.
///
/// # Errors
///
/// If the kernel does not say it.
pub fn peak_resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kibibytes = status.lines().find_map(|line| {
        let value = line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?;
        value.trim().parse::<u64>().ok()
    });
    kibibytes
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}

/// What a process has in memory, in bytes, as the kernel's `smaps_rollup` sums it up (Linux: proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// All of it, also what other processes use as well: code and libraries.
    pub all: u64,
    /// The same with shared pages divided by the number of those who share them.
    pub proportional: u64,
    /// What no other process uses.
    pub private: u64,
    /// What no file stands behind: heap and stacks.
    pub anonymous: u64,
}

impl Resident {
    /// The present memory of a process.
    ///
    /// # Errors
    ///
    /// If the process is gone or the kernel does not say it.
    pub fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let sum = |name: &str| {
            text.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix("kB")?;
                Some(value.trim().parse::<u64>().ok()? * 1024)
            })
        };
        let needed = |name: &str| {
            sum(name).ok_or_else(|| io::Error::other(format!("/proc/{pid}/smaps_rollup has no {name}")))
        };
        Ok(Self {
            all: needed("Rss")?,
            proportional: needed("Pss")?,
            private: needed("Private_Clean")? + needed("Private_Dirty")?,
            anonymous: needed("Anonymous")?,
        })
    }
}

/// Lets this process and those that it starts have so many files and connections open.
///
/// # Errors
///
/// If the system allows fewer.
pub fn allow_descriptors(count: u64) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    limit.current = Some(count);
    // Only root may raise the second.
    limit.maximum = limit.maximum.map(|maximum| maximum.max(count));
    setrlimit(Resource::Nofile, limit).map_err(|error| {
        io::Error::other(format!("{count} open files are not allowed here (`ulimit -n`): {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_memory_hold_each_other() {
        let Resident { all, proportional, private, anonymous } = Resident::of(std::process::id()).unwrap();
        assert!(private <= proportional && proportional <= all, "{private} {proportional} {all}");
        assert!(anonymous > 0 && anonymous <= all, "{anonymous} {all}");
    }

    #[test]
    fn memory_that_is_used_shows() {
        let before = peak_resident().unwrap();
        let used = std::hint::black_box(vec![1_u8; 64 * 1024 * 1024]);
        assert!(peak_resident().unwrap() > before + used.len() as u64 / 2);
    }
}
