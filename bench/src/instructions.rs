//! Instructions by request in user space, counted by callgrind: a figure that depends on no clock and no neighbour, so a
//! test may fail by it.
//!
//! One connection asks one request after the other, so that every run takes the same way through the program: a loop of
//! events that serves one event at a time, which is the dearest. What the start and the end cost is in every run alike
//! and falls out with the difference of two. The kernel's share, most of a request's time, is not in it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::Failure;
use crate::candidate::{Candidate, Setting, installed};
use crate::closed_loop::{Client, Door};
use crate::request::Shape;

/// Under callgrind a request takes a millisecond or two.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const END_WITHIN: Duration = Duration::from_secs(60);

/// Runs `cutover` with its profile written to `profile`, asks `count` times for each of `shapes` in turn, and ends it;
/// the instructions of the whole run.
///
/// # Errors
///
/// [`Failure`] if there is no valgrind, or the program does not serve, or does not end in peace.
pub async fn of_a_run(
    setting: &Setting,
    profile: &Path,
    folder: &Path,
    shapes: &[Shape],
    count: usize,
) -> Result<u64, Failure> {
    let valgrind = installed("valgrind", None);
    let mut output = OsString::from("--callgrind-out-file=");
    output.push(profile);
    let under = vec![valgrind.into(), "--tool=callgrind".into(), "--trace-children=yes".into(), output];
    let proxy = Candidate::Cutover.start(&Setting { under, ..setting.clone() }, folder).await?;
    for &shape in shapes {
        let mut client = Client::over(proxy.address().open().await?, shape);
        for _ in 0..count {
            timeout(ANSWER_WITHIN, client.ask()).await??;
        }
    }
    let status = proxy.end(END_WITHIN).await?;
    if !status.success() {
        return Err(format!("it ended with {status} under callgrind").into());
    }
    Ok(total(&std::fs::read_to_string(profile)?)?)
}

/// The sum that callgrind writes at the end of a profile (Valgrind's manual, "Callgrind Format Specification").
fn total(profile: &str) -> io::Result<u64> {
    let line = profile.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    let total = line.and_then(|total| total.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("the profile has no total"))
}
