//! `cutover config check`: a cutover.toml, without deploying it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::config;

/// What to do with a configuration.
#[derive(Subcommand)]
pub(crate) enum Config {
    Check(Check),
}

/// Check a cutover.toml without deploying it
#[derive(Args)]
pub(crate) struct Check {
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "cutover.toml")]
    file: PathBuf,
}

impl Config {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let Self::Check(Check { file }) = self;
        let loaded = config::load(&file)?;
        let resolved = config::resolve(&loaded, "check")?;
        for warning in &resolved.warnings {
            printer.talk(&format!("warning: {warning}"));
        }
        let service = &resolved.spec.service;
        printer.result(&json!({ "v": VERSION, "success": true, "service": service }), || {
            format!("{} is right: service {service}", file.display())
        });
        Ok(Exit::Done)
    }
}
