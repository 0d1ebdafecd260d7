//! `cutover journal`: what was recorded, looked at from outside: checked, taken elsewhere, brought back.
//!
//! These verbs read the file themselves, so that they work when the controller is dead, and while it runs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cutover_controller::JournalError;
use cutover_controller::journal::{self, Head, TransferError, Transferred, Verification};
use serde_json::json;

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;

/// What to do with a journal.
#[derive(Subcommand)]
pub(crate) enum Journal {
    Verify(Verify),
    Export(Export),
    Import(Import),
}

/// Check that the journal is whole and that nobody has rewritten it
///
/// Each record is chained to the one before it. A history that was changed without chaining it anew is always
/// noticed. Somebody who may write the whole file can chain a changed history anew, too; that is noticed if you keep
/// the head that this verb prints somewhere else, and ask for it later with `--head`.
///
/// Works while a controller runs and when it is dead, and changes nothing. Exit code 0 if all is right, 1 if not.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,
    /// A head that was printed before: the journal must still contain it
    #[arg(long, value_name = "SEQUENCE:HASH")]
    head: Option<Head>,
}

/// Write the whole journal as lines of JSON
///
/// The first line names format, term and head, each further one is a record. Works while a controller runs and when
/// it is dead, and changes nothing.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    /// Where to, readable for its owner alone; `-` for standard output
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Make the journal of a state directory from an exported one
///
/// Only where no journal is yet, or an empty one, and no controller runs. The chain is checked first.
#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    place: Place,
    /// What was exported
    file: PathBuf,
}

impl Journal {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        match self {
            Self::Verify(verb) => verb.run(printer),
            Self::Export(verb) => verb.run(printer),
            Self::Import(verb) => verb.run(printer),
        }
    }
}

impl Verify {
    fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let path = existing(&self.place)?;
        let found = journal::verify(&path, self.head).map_err(|error| unreadable(&error))?;
        let right = found.faults.is_empty();
        let faults: Vec<_> = found
            .faults
            .iter()
            .map(|fault| json!({ "sequence": fault.sequence, "service": fault.service, "fault": fault.what }))
            .collect();
        let object = json!({
            "v": VERSION, "success": right, "journal": path.display().to_string(), "records": found.records,
            "thinned": found.thinned, "refolded": found.refolded, "services": found.services,
            "head": found.head.to_string(), "faults": faults,
        });
        printer.result(&object, || text(&path, &found));
        Ok(if right { Exit::Done } else { Exit::TakenBack })
    }
}

fn text(path: &Path, found: &Verification) -> String {
    let mut text = String::new();
    for fault in &found.faults {
        let _ = writeln!(text, "✗ {fault}");
    }
    let Verification { records, services, thinned, refolded, head, .. } = found;
    let _ = writeln!(
        text,
        "{}: records {records} ({thinned} thinned, {refolded} decided again), services {services}",
        path.display()
    );
    let _ = match found.faults.len() {
        0 => writeln!(text, "no fault was found"),
        1 => writeln!(text, "1 fault"),
        faults => writeln!(text, "{faults} faults"),
    };
    let _ = writeln!(text, "head {head}");
    text
}

impl Export {
    fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let path = existing(&self.place)?;
        let file = self.file.display();
        if self.file.as_os_str() == "-" {
            match journal::export(&path, BufWriter::new(printer.stream())) {
                Ok(done) => printer.talk(&told("exported", &done)),
                // A reader that has seen enough is no error.
                Err(TransferError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(transfer_failure(&error, "standard output")),
            }
            return Ok(Exit::Done);
        }
        // Never half a file under the name that was asked for.
        let part = part_of(&self.file);
        let written = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .map_err(TransferError::Io)
            .and_then(|to| {
                let mut to = BufWriter::new(to);
                let done = journal::export(&path, &mut to)?;
                to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                std::fs::rename(&part, &self.file)?;
                Ok(done)
            });
        let done = written.map_err(|error| {
            let _ = std::fs::remove_file(&part);
            transfer_failure(&error, &format!("`{file}`"))
        })?;
        report(printer, "exported", &done, &format!(" to {file}"));
        Ok(Exit::Done)
    }
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

impl Import {
    fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let file = self.file.display();
        let from = File::open(&self.file)
            .map_err(|error| Failure::usage(format!("`{file}` cannot be read: {error}")))?;
        let state = self.place.here("cutover journal import")?;
        state.prepare()?;
        let _lock = state.lock()?;
        let done = journal::import(&state.journal(), BufReader::new(from))
            .map_err(|error| transfer_failure(&error, &format!("`{file}`")))?;
        report(printer, "imported", &done, &format!(" from {file} into {}", state.path().display()));
        Ok(Exit::Done)
    }
}

fn told(what: &str, done: &Transferred) -> String {
    format!("{what} {} records, last term {}, head {}", done.records, done.term, done.head)
}

fn report(printer: &Printer, what: &str, done: &Transferred, place: &str) {
    let object = json!({
        "v": VERSION, "success": true, "records": done.records, "term": done.term, "head": done.head.to_string(),
    });
    printer.result(&object, || told(what, done) + place);
}

/// The journal of a state directory, if there is one.
fn existing(place: &Place) -> Result<PathBuf, Failure> {
    let path = place.here("cutover journal")?.journal();
    match std::fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Failure::usage(format!("there is no journal `{}`: {error}", path.display()))
            .hint("name its state directory with `--state-dir`")),
    }
}

/// A journal that cannot even be opened is as wrong as can be; one of another version is not ours to judge.
fn unreadable(error: &JournalError) -> Failure {
    let exit = match error {
        JournalError::Newer { .. } | JournalError::Older { .. } => Exit::Refused,
        _ => Exit::TakenBack,
    };
    Failure::new(exit, error.to_string())
}

fn transfer_failure(error: &TransferError, other_side: &str) -> Failure {
    match error {
        TransferError::Journal(error) => Failure::new(Exit::Refused, error.to_string()),
        TransferError::Io(error) => Failure::usage(format!("{other_side} cannot be used: {error}")),
        TransferError::Refused { .. } => Failure::new(Exit::Refused, format!("{other_side}, {error}"))
            .hint("export it again, or take an older export"),
        TransferError::Occupied { .. } => Failure::new(Exit::Refused, error.to_string())
            .hint("name another state directory with `--state-dir`"),
    }
}
