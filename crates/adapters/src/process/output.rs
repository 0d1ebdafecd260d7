//! What a program writes: from two named pipes into a log of lines with time and stream, which is rotated.
//!
//! The pipes have names, and the program holds both ends of them, so that a killed supervisor breaks nothing: what
//! is written meanwhile waits in the pipe (about a megabyte) until the next supervisor opens it; only what the
//! killed one had just read and not yet written is lost. A log that cannot be written, for example on a full
//! disk, loses its lines; it never holds up or ends the program.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cutover_controller::ports::Stream;
use tokio::net::unix::pipe;

use super::directory::InstanceDirectory;
use super::log_file::LogFile;
use super::log_line;

const PIPE_BYTES: usize = 1024 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;
/// A line that has not ended by then is written as it is: what prompts or shows progress is seen too.
const UNENDED: Duration = Duration::from_secs(1);

/// The reading end of an instance's output.
#[derive(Debug)]
pub(super) struct Output {
    out: Channel,
    err: Channel,
    log: LogFile,
    buffer: Box<[u8]>,
}

/// One of the two pipes, with the line that has not ended yet.
#[derive(Debug)]
struct Channel {
    stream: Stream,
    pipe: pipe::Receiver,
    unended: Vec<u8>,
    since: SystemTime,
}

impl Output {
    /// Opens pipes and log; needs a tokio runtime.
    pub(super) fn open(directory: &InstanceDirectory) -> io::Result<Self> {
        // An older executor made one pipe for both.
        directory.make_pipes()?;
        Ok(Self {
            out: Channel::open(Stream::Out, &directory.output_pipe())?,
            err: Channel::open(Stream::Err, &directory.errors_pipe())?,
            log: LogFile::new(directory.output_log()),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// Carries what comes until it is dropped, which loses nothing but a line that has not ended.
    pub(super) async fn pump(&mut self) -> io::Result<Infallible> {
        loop {
            let Self { out, err, log, buffer } = self;
            let waits = !out.unended.is_empty() || !err.unended.is_empty();
            tokio::select! {
                readable = out.pipe.readable() => readable?,
                readable = err.pipe.readable() => readable?,
                () = tokio::time::sleep(UNENDED), if waits => {
                    log.append(&out.flush());
                    log.append(&err.flush());
                    continue;
                }
            }
            // What was written first is nearly always read first so.
            for channel in [out, err] {
                match channel.pipe.try_read(buffer) {
                    Ok(count) => log.append(&channel.take(&buffer[..count])),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            // A program that writes without end must not keep the supervisor from hearing that it shall stop.
            tokio::task::yield_now().await;
        }
    }

    /// Carries what an ended program has left in the pipes, also what tokio has not heard of yet.
    pub(super) fn drain(&mut self) {
        let Self { out, err, log, buffer } = self;
        for channel in [out, err] {
            let mut carried = 0;
            while carried < PIPE_BYTES
                && let Ok(count @ 1..) = rustix::io::read(&channel.pipe, &mut buffer[..])
            {
                log.append(&channel.take(&buffer[..count]));
                carried += count;
            }
            log.append(&channel.flush());
        }
    }
}

impl Channel {
    fn open(stream: Stream, path: &Path) -> io::Result<Self> {
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        // A smaller pipe works too.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
        Ok(Self { stream, pipe, unended: Vec::new(), since: SystemTime::now() })
    }

    /// The lines that end in these bytes, as they are written; what has not ended is kept.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 8);
        let now = SystemTime::now();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.unended.is_empty() {
                self.since = now;
            }
            self.unended.extend_from_slice(part);
            if part.ends_with(b"\n") || self.unended.len() >= log_line::LONGEST {
                lines.extend(self.flush());
            }
        }
        lines
    }

    /// What has not ended, as a line.
    fn flush(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        if !self.unended.is_empty() {
            let text = self.unended.strip_suffix(b"\n").unwrap_or(&self.unended);
            log_line::write(&mut line, self.since, self.stream, text);
            self.unended.clear();
        }
        line
    }
}

/// The writing end of a pipe, for the program: it is open in both directions, so that it is never broken.
pub(super) fn program_end(pipe: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(pipe)
}
