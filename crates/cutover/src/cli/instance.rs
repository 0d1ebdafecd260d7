//! `cutover instance`: the supervisor of one instance; started by the controller, not by people.

use std::path::PathBuf;

use clap::Args;
use cutover_adapters::process::supervisor;

use crate::cli::exit::{Exit, Failure};

/// Supervise one instance
#[derive(Args)]
pub(crate) struct Instance {
    /// The directory with its record
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
}

impl Instance {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        supervisor::run(&self.directory).map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
        Ok(Exit::Done)
    }
}
