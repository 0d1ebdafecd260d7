//! What really runs on behalf of a state directory, by the kernel's word and not by any record.

use std::path::Path;

/// Pids of the supervisors and of the programs of a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    pub supervisors: Vec<u32>,
    pub programs: Vec<u32>,
}

impl Processes {
    /// A supervisor is told by its arguments, a program by the release in which it runs.
    pub fn of(state: &Path) -> Self {
        let (instances, releases) = (state.join("instances"), state.join("releases"));
        let instances = format!("\0instance\0--directory\0{}/", instances.display());
        let mut found = Self { supervisors: Vec::new(), programs: Vec::new() };
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&arguments).contains(&instances) {
                found.supervisors.push(pid);
            }
            if std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&releases)) {
                found.programs.push(pid);
            }
        }
        found
    }

    /// How many there are of each.
    pub fn count(&self) -> (usize, usize) {
        (self.supervisors.len(), self.programs.len())
    }
}
