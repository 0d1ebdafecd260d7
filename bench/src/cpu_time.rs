//! CPU time of another process, and where this one may run.

use std::{fs, io};

/// Nanoseconds that all threads of a process have spent on a CPU, in user space and in the kernel.
///
/// The sum of the first fields of `/proc/PID/task/*/schedstat`, which is the scheduler's own account and not
/// a sample (Linux: Documentation/scheduler/sched-stats.rst). Of threads that have ended, nothing is counted.
///
/// # Errors
///
/// If the process is gone or the kernel keeps no such account.
pub fn nanoseconds_on_cpu(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let account = fs::read_to_string(task?.path().join("schedstat"))?;
        let on_cpu: Option<u64> = account.split_whitespace().next().and_then(|field| field.parse().ok());
        total += on_cpu.ok_or_else(|| io::Error::other(format!("schedstat says `{}`", account.trim())))?;
    }
    Ok(total)
}

/// Lets this process, with all its threads, use one CPU only.
///
/// # Errors
///
/// If there is no such CPU or no `taskset`.
pub fn stay_on_cpu(cpu: usize) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let output =
        std::process::Command::new("taskset").args(["-a", "-c", "-p", &cpu.to_string(), &pid]).output()?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(format!("taskset to CPU {cpu}: {said}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_account() {
        let pid = std::process::id();
        let before = nanoseconds_on_cpu(pid).unwrap();
        let started = std::time::Instant::now();
        while nanoseconds_on_cpu(pid).unwrap() < before + 5_000_000 {
            assert!(started.elapsed().as_secs() < 10, "5 ms of work are seen within 10 s");
        }
    }
}
