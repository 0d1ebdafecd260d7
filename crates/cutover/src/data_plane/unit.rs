//! The proxy as a unit of systemd, which the controller has started and systemd starts again.
//!
//! What it is started with beyond its own files stands in an environment file of the unit. So a proxy that dies while
//! no controller lives is started with what the last one wanted.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;

use super::DataPlaneError;
use crate::state_directory::StateDirectory;

/// The variable of the unit's command line.
pub(crate) const ARGUMENTS: &str = "CUTOVER_PROXY_ARGUMENTS";

/// A unit by its name.
#[derive(Debug, Clone)]
pub(super) struct ProxyUnit {
    name: String,
    seed: PathBuf,
    arguments: PathBuf,
}

impl ProxyUnit {
    pub(super) fn new(name: String, state: &StateDirectory) -> Self {
        Self { name, seed: state.unit_seed(), arguments: state.unit_arguments() }
    }

    /// Has systemd start it. That one may be about to do so by itself.
    pub(super) async fn start(&self) -> Result<(), DataPlaneError> {
        // After a port was taken the unit has failed, and is not started before that is forgotten.
        let _ = systemctl(&["reset-failed", &self.name]).await;
        let asked = systemctl(&["start", &self.name]).await?;
        if asked.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&asked.stderr);
        Err(self.failed(said.lines().next().unwrap_or("systemd does not say why")))
    }

    /// Where it listens from its next start on, and what it is started with then.
    pub(super) fn write(&self, seed: &str, arguments: &[String]) -> io::Result<()> {
        write(&self.seed, seed)?;
        self.write_arguments(arguments)
    }

    /// What systemd starts it with from now on.
    pub(super) fn write_arguments(&self, arguments: &[String]) -> io::Result<()> {
        let text = format!("# Written by `cutover serve`.\n{ARGUMENTS}={}\n", arguments.join(" "));
        write(&self.arguments, &text)
    }

    /// Refuses if it has failed for good.
    pub(super) async fn check(&self) -> Result<(), DataPlaneError> {
        let failed = systemctl(&["--quiet", "is-failed", &self.name]).await?;
        if !failed.status.success() {
            return Ok(());
        }
        let journal = ["--unit", &self.name, "--lines", "1", "--output", "cat", "--no-pager", "--quiet"];
        let said = Command::new("journalctl").args(journal).output().await?;
        let said = String::from_utf8_lossy(&said.stdout);
        Err(self.failed(said.trim().trim_start_matches("error: ")))
    }

    pub(super) fn silent(&self) -> DataPlaneError {
        DataPlaneError::UnitSilent { unit: self.name.clone() }
    }

    fn failed(&self, last_line: &str) -> DataPlaneError {
        DataPlaneError::UnitFailed { unit: self.name.clone(), last_line: last_line.to_owned() }
    }
}

/// For systemd and the proxy's user to read, never half.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o644))?;
    fs::rename(part, path)
}

async fn systemctl(arguments: &[&str]) -> io::Result<Output> {
    Command::new("systemctl").arg("--no-ask-password").args(arguments).output().await
}
