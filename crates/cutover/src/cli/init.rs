//! `cutover init`: a first cutover.toml.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::config;

/// Write a first cutover.toml here
#[derive(Args)]
pub(crate) struct Init {}

impl Init {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let file = Path::new("cutover.toml");
        let refused = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::new(Exit::Refused, "there is a `cutover.toml` here already")
                .hint("`cutover config check` tells whether it is right"),
            _ => Failure::new(Exit::Refused, format!("cannot write `cutover.toml`: {error}")),
        };
        let text = config::sample(Path::new("."));
        let mut created = File::options().write(true).create_new(true).open(file).map_err(refused)?;
        created.write_all(text.as_bytes()).map_err(refused)?;
        printer.result(&json!({ "v": VERSION, "success": true, "file": "cutover.toml" }), || {
            "wrote cutover.toml; look at `command`, then `cutover config check`".to_owned()
        });
        Ok(Exit::Done)
    }
}
