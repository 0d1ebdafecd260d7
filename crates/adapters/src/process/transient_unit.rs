//! A supervisor, or a command of a person's, as a transient unit of systemd, so that neither is a child of the
//! controller's unit.
//!
//! The unit is started by `systemd-run`, which comes with systemd and speaks to it as its version wants. It ends when
//! exec of the supervisor has succeeded. Nothing is asked of the unit later: as without systemd, the instance's records
//! and the process table tell what runs. Every start makes a unit of another name, so that one that systemd has
//! not forgotten yet is never in the way.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cutover_controller::ports::Invocation;
use tokio::process::Command;

use super::directory::InstanceDirectory;
use super::record::InstanceRecord;
use super::state_id::{self, StateId};

/// All instances together, for `systemctl status`, limits and accounting.
const SLICE: &str = "cutover.slice";
/// When the host goes down, the proxy ends before what it sends clients to.
const PROXY_UNIT: &str = "cutover-proxy.service";
/// What a supervisor gets beyond its program's own time before systemd kills it, when the host goes down.
const MARGIN: Duration = Duration::from_secs(10);

/// What is to be started.
pub(super) struct Supervisor<'a> {
    pub(super) program: &'a Path,
    pub(super) directory: &'a InstanceDirectory,
    pub(super) record: &'a InstanceRecord,
    pub(super) state: &'a StateId,
}

/// The command that has systemd start it.
pub(super) fn command(supervisor: &Supervisor<'_>) -> Command {
    let Supervisor { program, directory, record, state } = supervisor;
    let stop = record.stop_timeout.saturating_add(MARGIN);
    let description =
        format!("{} {} on {} ({})", record.service, record.version, record.environment, record.id);
    let mut command = systemd_run(&format!("cutover-instance-{}", record.id), &description);
    // A killed supervisor must not take its program along: another takes over within seconds.
    command.args(["-p", "KillMode=process"]);
    command.args(["-p", &format!("TimeoutStopSec={}", stop.as_secs())]);
    command.args(["-p", &format!("Before={PROXY_UNIT}")]);
    command.args(["-p", "StandardInput=null", "-p", "StandardOutput=null"]);
    command.args(["-p", &format!("StandardError=append:{}", directory.supervisor_log().display())]);
    if let Some((name, value)) = record.env.get_key_value("PATH") {
        command.arg(format!("--setenv={name}={value}"));
    }
    command.arg(format!("--setenv={}={}", state_id::VARIABLE, state.as_str()));
    command.arg("--").arg(plain(&program.to_string_lossy())).args(["instance", "--directory"]);
    command.arg(plain(&directory.path().to_string_lossy()));
    command
}

/// The command that has systemd start what stands in for a command of a person's or a gate's, with these variables.
pub(super) fn of_command(
    program: &Path,
    wanted: &Invocation,
    variables: &[(&str, String)],
    arguments: &[&Path],
) -> Command {
    let description = format!("a command with {} on {}", wanted.service, wanted.environment);
    let mut command = systemd_run(&format!("cutover-command-{}-{}", wanted.service, wanted.id), &description);
    if wanted.gate.is_some() {
        // Nothing outlives it, also if its guard was killed.
        command.args(["-p", "KillMode=control-group", "-p", "TimeoutStopSec=5"]);
    } else {
        // What it leaves running goes on, as it does after a login.
        command.args(["-p", "KillMode=process"]);
    }
    command.args(["-p", "StandardInput=null", "-p", "StandardOutput=null"]);
    command.args(variables.iter().map(|(name, value)| format!("--setenv={name}={value}")));
    command.arg("--").arg(plain(&program.to_string_lossy()));
    command.args(arguments.iter().map(|argument| plain(&argument.to_string_lossy())));
    command
}

/// What both have in common; the unit's name begins so.
fn systemd_run(name: &str, description: &str) -> Command {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--no-ask-password", "--service-type=exec"]);
    command.arg(format!("--unit={}", unit_name(name)));
    command.arg(format!("--slice={SLICE}"));
    command.arg(format!("--description={description}"));
    // As a program finds it that is started by hand; the controller's own is narrower.
    command.args(["-p", "UMask=0022"]);
    command
}

/// A word that systemd shall not look for variables in.
fn plain(word: &str) -> String {
    word.replace('$', "$$")
}

fn unit_name(name: &str) -> String {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let start = STARTS.fetch_add(1, Ordering::Relaxed);
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    format!("{name}-{now:x}-{start:x}.service")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_unit_is_asked_for_by_a_name_of_its_own_and_nothing_of_a_path_is_taken_for_a_variable() {
        let state = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::at(state.path().join("a$HOME"));
        let record = crate::process::tests::instance_record();
        let id = StateId::of(state.path()).unwrap();
        let program = std::path::Path::new("/usr/local/bin/cutover");
        let supervisor = Supervisor { program, directory: &directory, record: &record, state: &id };
        let words = |command: &Command| -> Vec<String> {
            command.as_std().get_args().map(OsStr::to_string_lossy).map(Into::into).collect()
        };
        let (first, second) = (words(&command(&supervisor)), words(&command(&supervisor)));
        let unit = |words: &[String]| words.iter().find(|word| word.starts_with("--unit=")).cloned();
        assert!(unit(&first).unwrap().starts_with("--unit=cutover-instance-shop-1-"));
        assert_ne!(unit(&first), unit(&second));
        assert!(
            first.contains(&"KillMode=process".to_owned()) && first.contains(&"TimeoutStopSec=11".to_owned())
        );
        assert!(first.last().unwrap().ends_with("/a$$HOME"));
        assert_eq!(first[first.len() - 4..][..3], ["/usr/local/bin/cutover", "instance", "--directory"]);
    }
}
