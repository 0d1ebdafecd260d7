//! The program of an instance while it runs, started by this supervisor or by one before it.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::watch;

use super::command::{self, StartError};
use super::directory::InstanceDirectory;
use super::output;
use super::process_table::{Handle, ProcessIdentity};
use super::record::{InstanceRecord, ProgramRecord, now};
use super::signals;

/// A program that was started and whose end has not been taken note of.
#[derive(Debug)]
pub(super) struct Program {
    record: ProgramRecord,
    /// Absent if an earlier supervisor was its parent: then its exit status goes to somebody else.
    child: Option<Child>,
    ended: watch::Receiver<bool>,
}

impl Program {
    /// Starts the program of an instance in a process group of its own.
    pub(super) fn start(
        plan: &InstanceRecord,
        directory: &InstanceDirectory,
        restarts: u32,
    ) -> Result<Self, StartError> {
        let path = plan.env.get("PATH").map_or("", String::as_str);
        let file = command::resolve(&plan.command, &plan.workdir, path)?;
        let identity = command::identity(plan.user.as_deref())?;
        let environment = command::environment(plan)?;
        let output = output::program_end(&directory.output_pipe()).map_err(StartError::Output)?;
        let errors = output::program_end(&directory.errors_pipe()).map_err(StartError::Output)?;

        let mut command = Command::new(&file);
        command.arg0(&plan.command[0]).args(&plan.command[1..]);
        command.env_clear().envs(environment).current_dir(&plan.workdir).process_group(0);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        if let Some(identity) = identity {
            // As root, std drops the supplementary groups too.
            command.uid(identity.uid).gid(identity.gid);
        }
        let mut child = command.spawn().map_err(|cause| StartError::Refused { program: file, cause })?;
        match Self::of_child(&child, restarts) {
            Ok((record, ended)) => Ok(Self { record, child: Some(child), ended }),
            Err(cause) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(StartError::Output(cause))
            }
        }
    }

    fn of_child(child: &Child, restarts: u32) -> io::Result<(ProgramRecord, watch::Receiver<bool>)> {
        let identity = ProcessIdentity::of(child.id().cast_signed());
        let identity = identity.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let handle = identity.open().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // The supervisor leads a session, and its child was born into it.
        let session = std::process::id().cast_signed();
        let record = ProgramRecord { identity, session, started_at: now(), restarts };
        Ok((record, watch_for_end(handle)?))
    }

    /// Looks after a program that an earlier supervisor left; `None` if it has ended.
    pub(super) fn attach(record: ProgramRecord) -> Option<Self> {
        let ended = watch_for_end(record.identity.open()?).ok()?;
        Some(Self { record, child: None, ended })
    }

    pub(super) fn record(&self) -> &ProgramRecord {
        &self.record
    }

    /// Waits until the program has ended; it is not reaped, so that its pid still means it.
    pub(super) async fn ended(&self) {
        // The thread tells before it goes away, so that an error means the same.
        let _ = self.ended.clone().wait_for(|&ended| ended).await;
    }

    /// Signals the program and what it started, as far as that stayed in its process group.
    pub(super) fn signal_group(&self, signal: Signal) {
        let is_ours = self.child.is_some() || self.record.identity.is_alive();
        if let Some(group) = Pid::from_raw(self.record.identity.pid).filter(|_| is_ours) {
            // The group may be empty by now.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Says how the program ended, once it has.
    pub(super) fn reap(self) -> String {
        match self.child {
            None => "ended with unknown status, as its first supervisor had been killed".to_owned(),
            Some(mut child) => child.wait().map_or_else(|error| error.to_string(), describe),
        }
    }
}

/// Waits on a thread, since tokio has no safe way to wait for a pidfd; SIGCHLD would tell of children only.
fn watch_for_end(handle: Handle) -> io::Result<watch::Receiver<bool>> {
    let (tell, ended) = watch::channel(false);
    std::thread::Builder::new().name("end of program".to_owned()).stack_size(64 * 1024).spawn(move || {
        handle.wait_for_end();
        // Nobody listens any more if the supervisor is about to end.
        let _ = tell.send(true);
    })?;
    Ok(ended)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by {}", signals::name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_status_or_signal() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit status 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "killed by SIGKILL");
    }
}
