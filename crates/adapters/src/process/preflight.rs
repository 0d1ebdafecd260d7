//! Whether the host has what one environment of a release needs, told before anything is done.
//!
//! Memory: what is free now has to hold the instances that do not run yet. How large one becomes is taken from the
//! largest instance of the service that runs; without one it is unknown and anything fits. What runs already is
//! never needed again: it has its memory, which is not free. So the same question serves a deployment and an
//! environment of which some instances have to be started again, and an environment that is put back warm beside
//! its live one after a restart of the host. Then the live instances should have become healthy first: before,
//! they are smaller than they will be. Two questions at once get the same free memory as an answer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cutover_controller::ports::{PortError, Shortage};
use cutover_core::release::Release;
use cutover_core::{Environment, ReleaseId, ServiceName};

use super::census::Census;
use super::command::{self, Identity};
use super::start::workdir;
use super::{Instances, failed, refused, signals};

/// Records and logs need this much; the release itself is on the disk already.
const FREE_BYTES: u64 = 64 * MIB;
const FREE_INODES: u64 = 1000;
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

impl Instances {
    /// Refuses with the figures what could not run here.
    pub(super) fn preflight(&self, service: &ServiceName, release: &Release) -> Result<(), PortError> {
        let run = &release.configuration.run;
        let identity = command::identity(run.user.as_deref()).map_err(refused)?;
        let path = release.configuration.env.get("PATH").unwrap_or(&self.settings.path);
        command::resolve(&release.configuration.command, &workdir(release), path).map_err(refused)?;
        let workers = &release.configuration.workers;
        for (name, worker) in workers {
            command::resolve(&worker.command, &workdir(release), path)
                .map_err(|error| PortError::new(format!("worker `{name}`: {error}")))?;
        }
        let stop_signals = workers.values().map(|worker| &worker.stop_signal).chain([&run.stop_signal]);
        if let Some(unknown) = stop_signals.into_iter().find(|signal| signals::parse(signal).is_none()) {
            return Err(PortError::new(format!("there is no signal `{unknown}`")));
        }
        if let (Some(user), Some(identity)) = (&run.user, identity) {
            check_reachable(&workdir(release), user, &identity)?;
        }
        let disk = rustix::fs::statvfs(&self.settings.state_directory);
        let disk = disk.map_err(|error| failed("measure the state directory's disk", error))?;
        let inodes = (disk.f_files > 0).then_some(disk.f_favail);
        check_disk(disk.f_bavail.saturating_mul(disk.f_frsize), inodes).map_err(PortError::new)?;
        let free = free_memory().map_err(|error| failed("measure the free memory", error))?;
        let (largest, running) = self.running_of(service, &release.id)?;
        check_memory(free, largest, run.instances.saturating_sub(running)).map_err(PortError::new)
    }

    /// What memory lacks for the release, and which instances hold some of it.
    pub(super) fn shortage(
        &self,
        service: &ServiceName,
        release: &Release,
    ) -> Result<Option<Shortage>, PortError> {
        let free = free_memory().map_err(|error| failed("measure the free memory", error))?;
        let (largest, running) = self.running_of(service, &release.id)?;
        let missing = release.configuration.run.instances.saturating_sub(running);
        if check_memory(free, largest, missing).is_ok() {
            return Ok(None);
        }
        let mut held: BTreeMap<(ServiceName, Environment), u64> = BTreeMap::new();
        for (_, record, census) in self.survey()? {
            if census.is_running() {
                *held.entry((record.service.clone(), record.environment)).or_default() += resident(&census);
            }
        }
        let held = held.into_iter().map(|((service, environment), bytes)| (service, environment, bytes));
        let fitting = (0..missing).rev().find(|count| check_memory(free, largest, *count).is_ok());
        let needed = largest.saturating_mul(u64::from(missing));
        let needed = needed.saturating_add(needed / 10);
        Ok(Some(Shortage { needed, free, fitting: running + fitting.unwrap_or(0), held: held.collect() }))
    }

    /// The size of the largest instance of the service that runs now, zero if none does, and how many instances
    /// of this release run.
    fn running_of(&self, service: &ServiceName, release: &ReleaseId) -> Result<(u64, u32), PortError> {
        let (mut largest, mut running) = (0, 0);
        for (_, record, census) in self.survey()? {
            if record.service == *service && record.worker.is_none() && census.is_running() {
                largest = largest.max(resident(&census));
                running += u32::from(record.release == *release);
            }
        }
        Ok((largest, running))
    }
}

/// Whether so many instances of that size fit, with a tenth in reserve. An unknown size (0) always fits.
fn check_memory(free: u64, resident: u64, instances: u32) -> Result<(), String> {
    let needed = resident.saturating_mul(u64::from(instances));
    let needed = needed.saturating_add(needed / 10);
    if needed <= free {
        return Ok(());
    }
    let copies = if instances == 1 { "instance" } else { "instances" };
    Err(format!(
        "needs {} of memory for {instances} {copies} of {} and a tenth in reserve, {} is free",
        in_units(needed),
        in_units(resident),
        in_units(free)
    ))
}

/// Whether records and logs fit. File systems without a fixed number of inodes give none.
fn check_disk(free_bytes: u64, free_inodes: Option<u64>) -> Result<(), String> {
    if free_bytes < FREE_BYTES {
        let (needed, free) = (in_units(FREE_BYTES), in_units(free_bytes));
        return Err(format!("needs {needed} of disk for the state directory, {free} is free"));
    }
    match free_inodes {
        Some(free) if free < FREE_INODES => {
            Err(format!("needs {FREE_INODES} inodes for the state directory, {free} are free"))
        }
        _ => Ok(()),
    }
}

fn in_units(bytes: u64) -> String {
    // Rounded to tenths without floating point.
    let (unit, name) = if bytes >= GIB { (GIB, "GiB") } else { (MIB, "MiB") };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Memory of an instance that others would not have shared with it: what its processes have for themselves, and
/// the largest shared part once (`proc_pid_statm(5)`, in pages).
pub(super) fn resident(census: &Census) -> u64 {
    let page = rustix::param::page_size() as u64;
    let (mut own, mut shared) = (0, 0);
    for process in census.everyone() {
        let Ok(statm) = fs::read_to_string(format!("/proc/{}/statm", process.pid)) else {
            continue;
        };
        let mut fields = statm.split_ascii_whitespace().skip(1).filter_map(|field| field.parse::<u64>().ok());
        if let (Some(all), Some(common)) = (fields.next(), fields.next()) {
            own += all.saturating_sub(common);
            shared = shared.max(common);
        }
    }
    (own + shared).saturating_mul(page)
}

/// What a new process can have: of the host, and of the control group that this one is in.
pub(super) fn free_memory() -> io::Result<u64> {
    let host = fs::read_to_string("/proc/meminfo")?;
    let host = meminfo_available(&host).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let limits = root.join(group);
    let limits = limits.ancestors().take_while(|path| path.starts_with(root));
    Ok(limits.filter_map(group_available).min().map_or(host, |group| group.min(host)))
}

fn meminfo_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

/// What a control group (version 2) has left; its page cache can be had back. `None` without a limit.
fn group_available(group: &Path) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = (number("memory.max")?, number("memory.current")?);
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

/// Whether a user may pass through every directory above its program.
fn check_reachable(workdir: &Path, user: &str, identity: &Identity) -> Result<(), PortError> {
    let closed: Vec<PathBuf> =
        workdir.ancestors().filter(|it| !may_pass(it, identity)).map(Path::to_owned).collect();
    let Some(directory) = closed.last() else {
        return Ok(());
    };
    let path = directory.display();
    Err(PortError::new(format!("user `{user}` cannot pass through `{path}`; `chmod o+x {path}` lets it")))
}

fn may_pass(directory: &Path, identity: &Identity) -> bool {
    let Ok(metadata) = fs::metadata(directory) else {
        return false;
    };
    let bit = if metadata.uid() == identity.uid {
        0o100
    } else if metadata.gid() == identity.gid {
        0o010
    } else {
        0o001
    };
    metadata.permissions().mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_needed_for_every_instance_and_a_tenth_more() {
        let error = check_memory(11 * GIB / 10, 8 * GIB / 5, 2).unwrap_err();
        let expected =
            "needs 3.5 GiB of memory for 2 instances of 1.6 GiB and a tenth in reserve, 1.1 GiB is free";
        assert_eq!(error, expected);
        assert_eq!(check_memory(110, 50, 2), Ok(()));
        assert!(check_memory(109, 50, 2).is_err());
    }

    #[test]
    fn an_unknown_size_fits_and_an_absurd_one_does_not_overflow() {
        assert_eq!(check_memory(0, 0, 5), Ok(()));
        // All of them run already.
        assert_eq!(check_memory(0, GIB, 0), Ok(()));
        assert!(check_memory(u64::MAX - 1, u64::MAX, u32::MAX).is_err());
    }

    #[test]
    fn too_little_disk_or_too_few_inodes_are_told_with_the_figures() {
        assert_eq!(check_disk(FREE_BYTES, Some(FREE_INODES)), Ok(()));
        assert_eq!(check_disk(FREE_BYTES, None), Ok(()));
        let bytes = check_disk(MIB * 3 / 2, None).unwrap_err();
        assert_eq!(bytes, "needs 64.0 MiB of disk for the state directory, 1.5 MiB is free");
        let inodes = check_disk(FREE_BYTES, Some(12)).unwrap_err();
        assert_eq!(inodes, "needs 1000 inodes for the state directory, 12 are free");
    }

    #[test]
    fn a_control_group_leaves_its_limit_less_what_is_used_beside_the_cache() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| fs::write(group.path().join(file), content).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "600\n");
        assert_eq!(group_available(group.path()), None);
        write("memory.max", "1000\n");
        write("memory.stat", "anon 1\ninactive_file 100\n");
        assert_eq!(group_available(group.path()), Some(500));
    }

    #[test]
    fn available_memory_is_read_in_kibibytes() {
        assert_eq!(meminfo_available("MemTotal: 9 kB\nMemAvailable:   12 kB\n"), Some(12 * 1024));
    }

    #[test]
    fn a_closed_directory_above_the_program_is_named() {
        let closed = tempfile::tempdir().unwrap();
        let inner = closed.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let stranger = Identity { uid: 4_000_000, gid: 4_000_000 };
        let error = check_reachable(&inner, "shop", &stranger).unwrap_err().reason;
        assert!(error.contains(&format!("cannot pass through `{}`", closed.path().display())), "{error}");
    }
}
