//! Under which conditions a figure was taken; without them it says nothing.

use std::fs;
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

/// The first line that a program says and that is not empty, on its output or else among its errors; `unknown` if there
/// is none.
#[must_use]
pub fn first_line_of(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "unknown".to_owned() };
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    let mut lines = said.iter().flat_map(|said| said.lines()).map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}
