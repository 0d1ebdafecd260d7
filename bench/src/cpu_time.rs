//! CPU time of another process and of everybody, and where this process may run.

use std::{fs, io};

/// `USER_HZ` is 100 wherever this runs.
const NANOSECONDS_OF_A_TICK: u64 = 10_000_000;

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

/// Nanoseconds that some CPUs have worked for whomever, as `/proc/stat` counts it (Linux: proc(5)): to the hundredth of a
/// second, so it says little about a short time.
///
/// # Errors
///
/// If there is no such CPU.
pub fn nanoseconds_of_cpus(cpus: &[usize]) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let mut total = 0;
    for cpu in cpus {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("cpu{cpu} ")));
        let fields = line.ok_or_else(|| io::Error::other(format!("/proc/stat has no CPU {cpu}")))?;
        let fields: Vec<u64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // The fourth and the fifth are idleness, the ninth and the tenth are in the first two already.
        total += fields.iter().take(8).sum::<u64>() - fields.iter().skip(3).take(2).sum::<u64>();
    }
    Ok(total * NANOSECONDS_OF_A_TICK)
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
        assert!(nanoseconds_of_cpus(&[0]).unwrap() > 0);
    }
}
