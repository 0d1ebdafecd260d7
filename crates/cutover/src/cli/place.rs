//! Which controller and which service a verb is about.

use std::path::{Path, PathBuf};

use clap::Args;
use cutover_core::ServiceName;

use crate::api::client::Client;
use crate::cli::exit::Failure;
use crate::config;
use crate::state_directory::StateDirectory;

/// Where the controller is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The controller's state directory; its socket lies inside
    #[arg(long, value_name = "DIR", env = "CUTOVER_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl Place {
    pub(crate) fn state_directory(&self) -> StateDirectory {
        StateDirectory::new(self.state_dir.clone().unwrap_or_else(default_state_directory))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.state_directory().api_socket())
    }
}

/// `/var/lib/cutover` for root, else in the user's own state.
fn default_state_directory() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/cutover");
    }
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.unwrap_or_else(|| home().join(".local/state")).join("cutover")
}

/// The service that was named, or that of the `cutover.toml` here.
pub(crate) fn service(named: Option<String>) -> Result<ServiceName, Failure> {
    if let Some(name) = named {
        return name
            .parse()
            .map_err(|error: cutover_core::names::InvalidName| Failure::usage(error.to_string()));
    }
    let file = Path::new("cutover.toml");
    if !file.exists() {
        return Err(Failure::usage(
            "no service was named, and there is no `cutover.toml` here that names one",
        )
        .hint("name the service; `cutover status` lists all of them"));
    }
    Ok(config::service_name(file)?)
}
