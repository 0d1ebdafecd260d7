//! `cutover console`: becomes a command of a person's; started by the controller, not by people.

use std::path::PathBuf;

use clap::Args;
use cutover_adapters::process::console::{become_command, stand_in};

use crate::cli::exit::{Exit, Failure};

/// Become a command
#[derive(Args)]
pub(crate) struct Console {
    /// What to become
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Start it with the streams from there, and tell there how it fares
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

impl Console {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        // As a shell answers for what it finds and cannot run.
        let cannot = |error: &dyn std::fmt::Display| Failure::new(Exit::OfCommand(126), error.to_string());
        if let Some(socket) = &self.socket {
            return stand_in(&self.plan, socket).map(|()| Exit::Done).map_err(|error| cannot(&error));
        }
        become_command(&self.plan).map(Exit::OfCommand).map_err(|error| cannot(&error))
    }
}
