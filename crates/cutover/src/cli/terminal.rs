//! The terminal of whoever uses the command line: its size, and each key as it is pressed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::api::exec::TerminalView;

/// Hands over every key, Ctrl-C too, until it is dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// # Errors
    /// If standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // What was typed ahead is the shell's.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of the terminal that is written to; those of the oldest if it does not say.
pub(crate) fn size() -> (u16, u16) {
    let stdout = io::stdout();
    let of = |end: BorrowedFd<'_>| tcgetwinsize(end).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    let size = of(stdout.as_fd()).or_else(|| of(io::stdin().as_fd()));
    size.map_or((24, 80), |size| (size.ws_row, size.ws_col))
}

/// The terminal as it is told to a command.
pub(crate) fn view() -> TerminalView {
    let (rows, columns) = size();
    TerminalView { kind: std::env::var("TERM").ok(), rows, columns }
}
