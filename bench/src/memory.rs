//! The memory of this process.

use std::{fs, io};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_shows() {
        let before = peak_resident().unwrap();
        let used = std::hint::black_box(vec![1_u8; 64 * 1024 * 1024]);
        assert!(peak_resident().unwrap() > before + used.len() as u64 / 2);
    }
}
