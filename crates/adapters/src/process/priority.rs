//! Whom the kernel kills first when memory runs out (`proc_pid_oom_score_adj(5)`).

use std::fs;
use std::io;

/// The adjustment of live instances: they go before the proxy and the controller do.
pub(super) const LIVE: i32 = 100;
/// The adjustment of idle instances: they go before live ones of the same size do.
pub(super) const IDLE: i32 = 600;

/// Sets the adjustment of a process; one that has ended counts as done.
pub(super) fn set(pid: i32, adjustment: i32) -> io::Result<()> {
    match fs::write(format!("/proc/{pid}/oom_score_adj"), adjustment.to_string()) {
        Err(error) if is_gone(&error) => Ok(()),
        result => result,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}
