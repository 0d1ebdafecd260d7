//! A passphrase: from a file, or asked without showing what is typed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::backup::Passphrase;
use crate::cli::exit::Failure;
use crate::cli::printer::Printer;

/// How a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// For one that is new: what was mistyped would open nothing ever.
    Twice,
    /// For one that is known.
    Once,
}

/// The passphrase, if there is one: in the file, or typed, where an empty line says that there shall be none.
pub(super) fn find(
    file: Option<&Path>,
    asking: Asking,
    printer: &Printer,
) -> Result<Option<Passphrase>, Failure> {
    if let Some(file) = file {
        let text = std::fs::read(file).map_err(|error| {
            Failure::usage(format!("the passphrase `{}` cannot be read: {error}", file.display()))
        })?;
        return Ok(Some(Passphrase::new(&text)?));
    }
    if !printer.is_terminal() {
        return Ok(None);
    }
    let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    let typed = ask(&terminal, "passphrase for secrets and certificates (empty: without them): ")?;
    if typed.is_empty() {
        return Ok(None);
    }
    if asking == Asking::Twice && ask(&terminal, "the same again: ")? != typed {
        return Err(Failure::usage("the two are not the same"));
    }
    Ok(Some(Passphrase::new(&typed)?))
}

fn ask(mut terminal: &File, question: &str) -> Result<Vec<u8>, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::usage(format!("the terminal cannot be asked: {error}"));
    let _ = terminal.write_all(question.as_bytes());
    let before = tcgetattr(terminal).map_err(|error| failed(&error))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal, OptionalActions::Flush, &silent).map_err(|error| failed(&error))?;
    let mut line = Vec::new();
    let read = BufReader::new(terminal).read_until(b'\n', &mut line);
    let _ = tcsetattr(terminal, OptionalActions::Flush, &before);
    let _ = terminal.write_all(b"\n");
    read.map_err(|error| failed(&error))?;
    line.retain(|byte| !b"\r\n".contains(byte));
    Ok(line)
}
