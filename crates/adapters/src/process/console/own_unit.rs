//! A command in a unit of its own, where systemd starts what the controller has to start.
//!
//! The controller's sandbox, control group, umask and protection from the OOM killer are not for commands of people.
//! systemd starts a stand-in, a small `cutover console`, which gets the command's streams over a socket of the
//! controller's, starts the command with them as its child, and tells over the same socket its process id and, later,
//! how it ended: two lines, each a number. Streams cannot be handed to `systemd-run` itself, which would keep them open
//! beside the command.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, ExitStatus, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Interest, Lines};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::time::timeout;

use super::become_command::{guard_command, take_plan};
use super::{Begun, Plan};

/// A stand-in that has not been heard of by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const STREAMS: usize = 3;
/// What a shell answers for what it cannot run.
const NOT_STARTED: u8 = 126;

/// The socket of a command, gone with this.
struct Meeting {
    path: PathBuf,
    listener: UnixListener,
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Has `systemd-run` start the command of a plan. `systemd_run` makes it from the arguments of the stand-in.
pub(super) async fn start(
    plan: &Path,
    streams: [OwnedFd; STREAMS],
    systemd_run: impl FnOnce(&[&Path]) -> Command,
) -> io::Result<Begun> {
    let path = plan.with_extension("socket");
    let listener = UnixListener::bind(&path)?;
    let meeting = Meeting { path, listener };
    let mut command = systemd_run(&[
        Path::new("console"),
        Path::new("--plan"),
        plan,
        Path::new("--socket"),
        meeting.path.as_path(),
    ]);
    let said = command.current_dir("/").stdin(Stdio::null()).output().await?;
    if !said.status.success() {
        let text = String::from_utf8_lossy(&said.stderr);
        return Err(io::Error::other(format!("systemd-run says: {}", text.trim())));
    }
    let begun = async {
        let (stream, _) = meeting.listener.accept().await?;
        stream.writable().await?;
        stream.async_io(Interest::WRITABLE, || send(&stream, &streams)).await?;
        drop(streams);
        let mut lines = BufReader::new(stream).lines();
        let process = number(&mut lines).await?;
        Ok(Begun { process: Pid::from_raw(process), ended: Box::pin(end(lines)) })
    };
    let late = |_| io::Error::other(format!("nothing is heard of it within {} s", START_TIMEOUT.as_secs()));
    timeout(START_TIMEOUT, begun).await.map_err(late)?
}

/// How the command ended, once it has.
async fn end(mut lines: Lines<BufReader<UnixStream>>) -> io::Result<ExitStatus> {
    number(&mut lines).await.map(ExitStatus::from_raw)
}

async fn number(lines: &mut Lines<BufReader<UnixStream>>) -> io::Result<i32> {
    let line = lines.next_line().await?;
    let line = line.ok_or_else(|| io::Error::other("what had started it is gone"))?;
    line.parse().map_err(|_| io::Error::other(line))
}

fn send(socket: impl AsFd, streams: &[OwnedFd; STREAMS]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let streams = streams.each_ref().map(AsFd::as_fd);
    with.push(SendAncillaryMessage::ScmRights(&streams));
    // They travel with a byte or not at all (unix(7)).
    sendmsg(socket, &[IoSlice::new(b".")], &mut with, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: impl AsFd) -> io::Result<[OwnedFd; STREAMS]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let received = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(streams) => Some(streams),
        _ => None,
    });
    let received: Vec<OwnedFd> = received.flatten().collect();
    received.try_into().map_err(|_| io::Error::other("the streams of the command did not arrive"))
}

/// The stand-in: starts the command of a plan with the streams from this socket, and tells how it fares. One of a gate
/// it guards, and ends it when nobody holds the other end of the socket any more.
///
/// # Errors
/// If the command cannot be started, or nobody is there to be told.
pub fn stand_in(plan: &Path, socket: &Path) -> io::Result<()> {
    let mut socket = BlockingStream::connect(socket)?;
    let streams = receive(&socket)?;
    if is_gates(plan)? {
        let read = take_plan(plan).map_err(io::Error::other)?;
        let _ = writeln!(socket, "{}", std::process::id());
        let lifeline = OwnedFd::from(socket.try_clone()?);
        let status = guard_command(&read, plan, Some(streams), &lifeline).unwrap_or(NOT_STARTED);
        let _ = writeln!(socket, "{}", i32::from(status) << 8);
        return Ok(());
    }
    let [stdin, stdout, stderr] = streams;
    let mut command = BlockingCommand::new(std::env::current_exe()?);
    command.args(["console", "--plan"]).arg(plan).stdin(stdin).stdout(stdout).stderr(stderr);
    let started = command.spawn();
    // With this the streams are the command's alone.
    drop(command);
    let mut child = started.inspect_err(|error| drop(writeln!(socket, "{error}")))?;
    // A controller that has gone since hears nothing; the command goes on if it does.
    let _ = writeln!(socket, "{}", child.id());
    let status = child.wait()?;
    let _ = writeln!(socket, "{}", status.into_raw());
    Ok(())
}

fn is_gates(plan: &Path) -> io::Result<bool> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    Ok(plan.gate.is_some())
}
