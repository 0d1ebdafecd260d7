//! Room: disk, inodes, the journal's reserve, memory for two environments.

use std::fs;
use std::path::Path;

use super::{Finding, Running};
use crate::state_directory::StateDirectory;

const MIB: u64 = 1024 * 1024;
/// What the journal keeps for rescues on a full disk, in bytes.
const RESERVE: u64 = 4 * MIB;
/// Below that the next artifact may not find room, in bytes.
const LITTLE: u64 = 1024 * MIB;
/// Below that nothing may be deployed, in bytes.
const NOTHING: u64 = 64 * MIB;

pub(super) fn examine(state: &StateDirectory, running: &Running) -> Vec<Finding> {
    let mut found = Vec::new();
    let there = state.path().ancestors().find(|path| path.exists());
    if let Some(disk) = there.and_then(|path| rustix::fs::statvfs(path).ok()) {
        found.push(bytes(disk.f_bavail.saturating_mul(disk.f_frsize), state.path()));
        found.push(inodes(disk.f_favail, disk.f_files));
    }
    if state.journal().exists() {
        found.push(reserve(size_of(&state.path().join("reserve"))));
    }
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    found.push(memory_for_two(available(&memory), running.instances.iter().map(|pid| resident(*pid)).sum()));
    found
}

fn bytes(free: u64, path: &Path) -> Finding {
    const WHAT: &str = "disk";
    let seen = format!("{} MiB are free for `{}`", free / MIB, path.display());
    let advice = "free some: `du -xh --max-depth 2` of the state directory tells what is large; fewer kept releases \
                  (`cutover serve --keep-releases`) take less";
    match free {
        free if free < NOTHING => Finding::bad(WHAT, seen, advice),
        free if free < LITTLE => Finding::warn(WHAT, seen, advice),
        _ => Finding::ok(WHAT, seen),
    }
}

fn inodes(free: u64, all: u64) -> Finding {
    const WHAT: &str = "inodes";
    // Some file systems have no fixed number, and say 0.
    if all == 0 {
        return Finding::ok(WHAT, "the file system makes them as they are needed");
    }
    let seen = format!("{free} of {all} are free");
    match free * 100 / all {
        0 => Finding::bad(
            WHAT,
            seen,
            "delete what consists of many small files; an artifact's files count, too",
        ),
        1..5 => Finding::warn(
            WHAT,
            seen,
            "delete what consists of many small files; an artifact's files count, too",
        ),
        _ => Finding::ok(WHAT, seen),
    }
}

fn reserve(present: Option<u64>) -> Finding {
    const WHAT: &str = "reserve";
    let advice = "it is made whole by itself once there is room; until then free some disk";
    match present {
        None => Finding::warn(
            WHAT,
            "it cannot be looked at",
            "run `cutover doctor` as root or as the controller's user",
        ),
        Some(present) if present < RESERVE => Finding::bad(
            WHAT,
            format!("{} of {} KiB are left for rollbacks on a full disk", present / 1024, RESERVE / 1024),
            advice,
        ),
        Some(_) => Finding::ok(WHAT, format!("{} KiB are kept for rollbacks on a full disk", RESERVE / 1024)),
    }
}

fn size_of(directory: &Path) -> Option<u64> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    Some(entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum())
}

/// What could be used without swapping, by the kernel's own estimate (proc(5), `MemAvailable`).
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// What a process has in memory, in bytes.
fn resident(pid: u32) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A deployment runs the new release beside the old one.
fn memory_for_two(available: Option<u64>, instances: u64) -> Finding {
    const WHAT: &str = "memory";
    let Some(available) = available else {
        return Finding::warn(
            WHAT,
            "the kernel does not tell what is available",
            "see whether /proc is mounted",
        );
    };
    let seen =
        format!("{} MiB are available, all instances that run use {} MiB", available / MIB, instances / MIB);
    if instances > available {
        let advice = "a second environment of all services at once does not fit: deploy one after the other, run fewer \
                      instances (`[run] instances`), stop what is warm sooner (`[rollout] standby`), or add memory";
        return Finding::warn(WHAT, seen, advice);
    }
    Finding::ok(WHAT, seen)
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn disk_inodes_reserve_and_memory_are_judged_by_what_a_deployment_needs() {
        let path = Path::new("/x");
        assert_eq!(
            [10 * LITTLE, LITTLE / 2, MIB].map(|free| bytes(free, path).grade),
            [Grade::Ok, Grade::Warn, Grade::Bad]
        );
        assert_eq!(
            [(50, 100), (2, 100), (0, 100), (0, 0)].map(|(free, all)| inodes(free, all).grade),
            [Grade::Ok, Grade::Warn, Grade::Bad, Grade::Ok]
        );
        assert_eq!(
            [Some(RESERVE), Some(RESERVE / 2), None].map(|left| reserve(left).grade),
            [Grade::Ok, Grade::Bad, Grade::Warn]
        );
        assert_eq!(
            memory_for_two(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), MIB).grade,
            Grade::Ok
        );
        assert_eq!(memory_for_two(Some(MIB), 2 * MIB).grade, Grade::Warn);
        assert_eq!(memory_for_two(available(""), 0).grade, Grade::Warn);
    }
}
