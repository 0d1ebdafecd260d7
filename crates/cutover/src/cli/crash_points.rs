//! Arms the controller's crash points from the environment; only in binaries that tests build for themselves.

use std::fs::File;
use std::time::Duration;

use cutover_controller::crash::{Armed, arm as arm_points};
use rustix::process::{Signal, getpid, kill_process};

use crate::cli::exit::Failure;

/// The point at which the controller stops, such as `after effect shift#1`.
const AT: &str = "CUTOVER_CRASH_AT";
/// How: `kill`, which is so without it, ends it at once; `pause` lets it go on when it is sent SIGCONT.
const BY: &str = "CUTOVER_CRASH_BY";
/// The file to which each point that is passed is appended.
const LOG: &str = "CUTOVER_CRASH_LOG";

pub(crate) fn arm() -> Result<(), Failure> {
    let log = std::env::var_os(LOG).map(|path| File::options().create(true).append(true).open(path));
    let log = log.transpose().map_err(|error| Failure::usage(format!("cannot write `{LOG}`: {error}")))?;
    let stop = match std::env::var(BY).as_deref() {
        Ok("pause") => pause,
        Ok("kill") | Err(_) => die,
        Ok(other) => return Err(Failure::usage(format!("`{BY}` is `kill` or `pause`, not `{other}`"))),
    };
    arm_points(Armed { at: std::env::var(AT).ok(), log, stop });
    Ok(())
}

fn pause() {
    let _ = kill_process(getpid(), Signal::STOP);
    // Another thread may take the signal first: this one goes no further until all stand still.
    std::thread::sleep(Duration::from_millis(200));
}

fn die() {
    let _ = kill_process(getpid(), Signal::KILL);
    // Nothing follows but the signal.
    std::thread::sleep(Duration::from_secs(10));
    std::process::abort();
}
