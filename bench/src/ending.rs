//! How a program of this crate ends.

use std::process::ExitCode;

use crate::Failure;

/// Success if every figure could be taken and is as wanted; what went wrong is told on standard error, with its cause.
#[must_use]
#[expect(clippy::print_stderr, reason = "the last words of a program, whose main calls nothing else")]
pub fn of(program: &str, outcome: Result<bool, Failure>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            if let Some(source) = error.source() {
                eprintln!("  because: {source}");
            }
            ExitCode::FAILURE
        }
    }
}
