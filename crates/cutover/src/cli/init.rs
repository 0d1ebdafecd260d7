//! `cutover init`: a first cutover.toml, and with `--smoke` a first suite that a release has to pass.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::config::{self, first_suite};

const FILE: &str = "cutover.toml";

/// Write a first cutover.toml here
#[derive(Args)]
pub(crate) struct Init {
    /// Write a first smoke suite too, also beside a cutover.toml that is here already
    #[arg(long)]
    smoke: bool,
}

impl Init {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        match (self.smoke, Path::new(FILE).exists()) {
            (false, _) => {
                create(FILE, &config::sample(Path::new(".")))?;
                printer.result(&json!({ "v": VERSION, "success": true, "file": FILE }), || {
                    "wrote cutover.toml; look at `command`, then `cutover config check`".to_owned()
                });
            }
            (true, false) => {
                first_suite()?;
                create(FILE, &(config::sample(Path::new(".")) + &first_suite::lines()))?;
                suite_told(
                    printer,
                    "wrote cutover.toml and",
                    "look at `command`, then `cutover config check`",
                );
            }
            (true, true) => {
                // Whatever is wrong with the file is said before anything is written.
                let text = first_suite::added_to(Path::new(FILE))?;
                first_suite()?;
                replace(&text)?;
                suite_told(
                    printer,
                    "named in cutover.toml and wrote",
                    "look at it, then `cutover config check`",
                );
            }
        }
        Ok(Exit::Done)
    }
}

fn suite_told(printer: &Printer, wrote: &str, next: &str) {
    let told = json!({ "v": VERSION, "success": true, "file": FILE, "suite": first_suite::FILE });
    printer.result(&told, || format!("{wrote} {}; {next}", first_suite::FILE));
}

fn first_suite() -> Result<(), Failure> {
    if let Some(directory) = Path::new(first_suite::FILE).parent() {
        fs::create_dir_all(directory).map_err(|error| refused(&directory.display().to_string(), &error))?;
    }
    create(first_suite::FILE, &first_suite::text(Path::new(".")))
}

fn create(file: &str, text: &str) -> Result<(), Failure> {
    let mut created =
        File::options().write(true).create_new(true).open(file).map_err(|error| refused(file, &error))?;
    created.write_all(text.as_bytes()).map_err(|error| refused(file, &error))
}

/// Adds to a person's file: its text is there whole before and after, whatever happens in between.
fn replace(text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| refused(FILE, &error);
    // The name may be a link to the file.
    let target = fs::canonicalize(FILE).map_err(failed)?;
    let permissions = fs::metadata(&target).map_err(failed)?.permissions();
    let directory = target.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    beside.write_all(text.as_bytes()).map_err(failed)?;
    beside.as_file().set_permissions(permissions).map_err(failed)?;
    beside.persist(&target).map_err(|error| failed(error.error))?;
    Ok(())
}

fn refused(file: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(Exit::Refused, format!("there is a `{file}` here already"))
            .hint("`cutover config check` tells whether it is right"),
        _ => Failure::new(Exit::Refused, format!("cannot write `{file}`: {error}")),
    }
}
