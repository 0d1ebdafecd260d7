//! Under which conditions a figure was taken; without them it says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The machine, the day and the command.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Conditions {
    /// The processor's name and how many there are.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// The day, UTC.
    pub date: String,
    /// How this program was called.
    pub command: String,
}

impl Conditions {
    /// Asks the system; what it does not say is `unknown`.
    #[must_use]
    pub fn now() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models: Vec<&str> = cpuinfo
            .lines()
            .filter(|line| line.starts_with("model name"))
            .filter_map(|line| Some(line.split_once(':')?.1.trim()))
            .collect();
        let cpu = format!("{} × {}", models.len(), models.first().unwrap_or(&"unknown"));
        let kernel =
            fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned());
        let date = first_line_of(Command::new("date").args(["-u", "+%Y-%m-%d"]));
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        Self { cpu, kernel: kernel.trim().to_owned(), date, command }
    }
}

/// The first line of a program's own statement of its version.
#[must_use]
pub fn version_of(program: &Path) -> String {
    let argument = if program.ends_with("haproxy") { "-v" } else { "--version" };
    first_line_of(Command::new(program).arg(argument))
}

fn first_line_of(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").trim().to_owned()
}
