//! The standard streams of a command: a terminal of its own, or three pipes.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cutover_controller::ports::{WindowSize, Written};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const PIECE: usize = 32 * 1024;
/// What a command wrote right before its end is read by then; what it has started may write on for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// More than a pipe holds.
const MOST_LAST_WORDS: usize = 1024 * 1024;

/// Our ends.
pub(super) struct Streams {
    pub(super) writer: pipe::Sender,
    pub(super) out: pipe::Receiver,
    pub(super) err: Option<pipe::Receiver>,
    /// The controlling end of its terminal.
    pub(super) terminal: Option<OwnedFd>,
}

impl Streams {
    /// A terminal of this size, or pipes; and the ends for the command: input, output, errors.
    pub(super) fn open(size: Option<WindowSize>) -> io::Result<(Self, [OwnedFd; 3])> {
        match size {
            Some(size) => Self::terminal(size),
            None => Self::pipes(),
        }
    }

    fn terminal(size: WindowSize) -> io::Result<(Self, [OwnedFd; 3])> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let end = ioctl_tiocgptpeer(&master, flags)?;
        rustix::termios::tcsetwinsize(&master, super::in_characters(size))?;
        let ends = [end.try_clone()?, end.try_clone()?, end];
        fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        // It is read and written as a pipe is, without being one.
        let writer = pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?;
        let out = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
        Ok((Self { writer, out, err: None, terminal: Some(master) }, ends))
    }

    fn pipes() -> io::Result<(Self, [OwnedFd; 3])> {
        let [input, output, errors] =
            [pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?];
        let writer = pipe::Sender::from_owned_fd(input.1)?;
        let out = pipe::Receiver::from_owned_fd(output.0)?;
        let err = Some(pipe::Receiver::from_owned_fd(errors.0)?);
        Ok((Self { writer, out, err, terminal: None }, [input.0, output.1, errors.1]))
    }
}

/// Tells what is read until the end, and for a while after `over`.
async fn carry(
    mut from: pipe::Receiver,
    wrap: fn(Vec<u8>) -> Written,
    written: mpsc::Sender<Written>,
    mut over: oneshot::Receiver<()>,
) {
    let mut piece = vec![0; PIECE];
    let mut last: Option<(Instant, usize)> = None;
    loop {
        let until = last.map_or_else(Instant::now, |(until, _)| until);
        let count = tokio::select! {
            biased;
            count = from.read(&mut piece), if last.is_none_or(|(_, left)| left > 0) => count,
            _ = &mut over, if last.is_none() => {
                last = Some((Instant::now() + LAST_WORDS, MOST_LAST_WORDS));
                continue;
            }
            () = tokio::time::sleep_until(until), if last.is_some() => return,
        };
        if let (Some((_, left)), Ok(count)) = (&mut last, &count) {
            *left = left.saturating_sub(*count);
        }
        match count {
            // A terminal whose other end nobody has any more answers with an error.
            Ok(0) | Err(_) => return,
            // Once nobody reads it is thrown away.
            Ok(count) => drop(written.send(wrap(piece[..count].to_vec())).await),
        }
    }
}

/// Tasks that carry what a command writes.
pub(super) struct Carriers(Vec<(JoinHandle<()>, oneshot::Sender<()>)>);

impl Carriers {
    pub(super) fn start(
        out: pipe::Receiver,
        err: Option<pipe::Receiver>,
        written: &mpsc::Sender<Written>,
    ) -> Self {
        let start = |from: pipe::Receiver, wrap: fn(Vec<u8>) -> Written| {
            let (tell, over) = oneshot::channel();
            (tokio::spawn(carry(from, wrap, written.clone(), over)), tell)
        };
        let out = start(out, Written::Out);
        let err = err.map(|err| start(err, Written::Err));
        Self([Some(out), err].into_iter().flatten().collect())
    }

    /// Ends once everything that the command wrote has been told.
    pub(super) async fn finish(self) {
        let (tasks, tells): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        for tell in tells {
            let _ = tell.send(());
        }
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Lets go of the streams.
    pub(super) fn abort(&self) {
        for (task, _) in &self.0 {
            task.abort();
        }
    }
}
