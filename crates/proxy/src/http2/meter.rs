//! The bytes of a client's connection on their way to the `h2` crate, with an eye on the frames among them.
//!
//! What costs a server work and a client nothing is counted: requests that are taken back as soon as they were made
//! (CVE-2023-44487), PING and SETTINGS that have to be answered (CVE-2019-9512, -9515), frames without content
//! (CVE-2019-9518), PRIORITY (CVE-2019-9513), windows that are opened without need. Heads without an end are the crate's own limit.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use cutover_core::routing::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers::Inbox;
use crate::stream::Stream;

/// Over how many seconds control frames are averaged.
const AVERAGED: u64 = 10;

/// Windows that a client may open for a request: its own and its connection's, and both once more.
const UPDATES_OF_A_REQUEST: u64 = 4;
/// Bytes that a client may open one window for: a frame with one byte is ten of them, and opens two windows.
const BYTES_OF_AN_UPDATE: u64 = 5;

/// Counts frames by their heads (RFC 9113, section 4.1).
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    /// Bytes that are no head: the preface, or what is left of a payload.
    skip: u64,
    head: [u8; 9],
    head_length: usize,
    /// The latest stream that the client has begun.
    latest: u32,
    requests: u64,
    resets: u64,
    /// Windows that may still be opened without being control frames: as many as what was sent can be the reason of.
    updates: u64,
    /// Control frames that may still come; fills up with time.
    allowance: u64,
    filled: u64,
}

impl Meter {
    pub(crate) fn new(limits: Limits, now_seconds: u64) -> Self {
        Self {
            limits,
            skip: super::PREFACE.len() as u64,
            head: [0; 9],
            head_length: 0,
            latest: 0,
            requests: 0,
            resets: 0,
            updates: 0,
            allowance: u64::from(limits.control_frames) * AVERAGED,
            filled: now_seconds,
        }
    }

    /// Takes the next bytes; `false` once the connection has sent too much that is of no use.
    pub(crate) fn take(&mut self, mut bytes: &[u8], now_seconds: u64) -> bool {
        let rate = u64::from(self.limits.control_frames);
        let since = now_seconds - self.filled;
        self.filled = now_seconds;
        self.allowance = (self.allowance + since * rate).min(rate * AVERAGED);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (9 - self.head_length).min(bytes.len());
            self.head[self.head_length..self.head_length + taken].copy_from_slice(&bytes[..taken]);
            self.head_length += taken;
            bytes = &bytes[taken..];
            if self.head_length == 9 {
                self.head_length = 0;
                if !self.frame() {
                    return false;
                }
            }
        }
        true
    }

    /// Notes bytes that were sent to the client: the windows that they went through are opened again.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.updates += bytes as u64 / BYTES_OF_AN_UPDATE;
    }

    fn frame(&mut self) -> bool {
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = u64::from(length);
        let ends = flags & 1 != 0;
        match kind {
            // DATA, empty and not the end.
            0 if length > 0 || ends => {}
            // HEADERS; CONTINUATION belongs to them. Those of a stream that was begun before are trailers, and no request:
            // otherwise half of all requests could be taken back for nothing.
            1 => {
                if stream > self.latest {
                    self.latest = stream;
                    self.requests += 1;
                    self.updates += UPDATES_OF_A_REQUEST;
                }
            }
            9 => {}
            3 => self.resets += 1,
            // WINDOW_UPDATE comes with what was sent.
            8 if self.updates > 0 => self.updates -= 1,
            _ if self.limits.control_frames == 0 => {}
            _ => match self.allowance.checked_sub(1) {
                Some(left) => self.allowance = left,
                None => return false,
            },
        }
        let Limits { resets_percent, resets_at_least, .. } = self.limits;
        let share = self.requests * u64::from(resets_percent);
        self.resets <= u64::from(resets_at_least) || self.resets * 100 <= share
    }
}

/// A client's socket with its meter, and with what was read of it already.
pub(crate) struct Metered {
    /// Shared with whoever ends the connection, behind the `h2` crate that keeps this.
    pub(crate) stream: Rc<RefCell<Stream>>,
    inbox: Inbox,
    meter: Meter,
    clock: Box<dyn Fn() -> u64>,
    /// Set once it has sent too much.
    pub(crate) exceeded: Rc<Cell<bool>>,
}

impl Metered {
    /// The clock counts seconds.
    pub(crate) fn new(stream: Stream, inbox: Inbox, limits: Limits, clock: Box<dyn Fn() -> u64>) -> Self {
        let meter = Meter::new(limits, clock());
        let stream = Rc::new(RefCell::new(stream));
        Self { stream, inbox, meter, clock, exceeded: Rc::default() }
    }

    fn with_stream<T>(&self, use_it: impl FnOnce(Pin<&mut Stream>) -> T) -> T {
        use_it(Pin::new(&mut self.stream.borrow_mut()))
    }

    fn note(&mut self, bytes: &[u8]) {
        let now = (self.clock)();
        if !self.meter.take(bytes, now) {
            self.exceeded.set(true);
        }
    }

    fn noted(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.meter.sent(*bytes);
        }
        written
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let unread = this.inbox.unread();
        if unread.is_empty() {
            ready!(this.with_stream(|stream| stream.poll_read(cx, buf)))?;
        } else {
            let count = unread.len().min(buf.remaining());
            buf.put_slice(&unread[..count]);
            this.inbox.consume(count);
        }
        this.note(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.with_stream(|stream| stream.poll_write(cx, buf));
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.with_stream(|stream| stream.poll_write_vectored(cx, bufs));
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        of_stream(1, kind, flags, payload)
    }

    fn of_stream(stream: u32, kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.resize(9 + payload, 0);
        frame
    }

    fn limits() -> Limits {
        Limits { resets_at_least: 10, resets_percent: 50, control_frames: 2, ..Limits::default() }
    }

    /// How many of these frames pass, fed in pieces of `step` bytes.
    fn passed(frames: &[Vec<u8>], seconds_between: u64, step: usize) -> usize {
        let mut meter = Meter::new(limits(), 0);
        assert!(meter.take(super::super::PREFACE, 0));
        for (index, frame) in frames.iter().enumerate() {
            let now = index as u64 * seconds_between;
            if !frame.chunks(step).all(|piece| meter.take(piece, now)) {
                return index;
            }
        }
        frames.len()
    }

    #[test]
    fn what_is_of_no_use_is_counted_in_whatever_pieces_it_comes() {
        for step in [1, 4, 9, 100] {
            let pings = vec![frame(6, 0, 8); 30];
            assert_eq!(passed(&pings, 0, step), 20);
            assert_eq!(passed(&pings, 1, step), 30);
            let empty = vec![frame(0, 0, 0); 30];
            assert_eq!(passed(&empty, 0, step), 20);
            let useful = |stream| {
                let head = of_stream(stream, 1, 4, 50);
                [head, frame(0, 0, 1000), frame(0, 1, 0), frame(8, 0, 4), frame(8, 0, 4)].concat()
            };
            assert_eq!(passed(&(0..30).map(useful).collect::<Vec<_>>(), 0, step), 30);
        }
    }

    #[test]
    fn requests_may_be_taken_back_now_and_then() {
        let taken_back = |number: u32| [of_stream(number * 2 + 1, 1, 5, 20), frame(3, 0, 4)].concat();
        assert_eq!(passed(&(0..40).map(taken_back).collect::<Vec<_>>(), 0, 7), 10);
        let half = |number: u32| [of_stream(number * 4 + 1, 1, 5, 20), taken_back(number * 2 + 1)].concat();
        assert_eq!(passed(&(0..100).map(half).collect::<Vec<_>>(), 0, 7), 100);
    }

    #[test]
    fn trailers_are_no_second_request() {
        let taken_back = |number: u32| {
            let stream = number * 2 + 1;
            [of_stream(stream, 1, 4, 20), of_stream(stream, 1, 5, 20), frame(3, 0, 4)].concat()
        };
        assert_eq!(passed(&(0..40).map(taken_back).collect::<Vec<_>>(), 0, 7), 10);
    }

    #[test]
    fn windows_are_opened_for_what_was_sent() {
        let update = frame(8, 0, 4);
        assert_eq!(passed(&vec![update.clone(); 30], 0, 7), 20);
        let mut meter = Meter::new(limits(), 0);
        assert!(meter.take(super::super::PREFACE, 0));
        for _ in 0..1000 {
            // A frame with one byte, and two windows for it.
            meter.sent(10);
            assert!(meter.take(&update, 0) && meter.take(&update, 0));
        }
    }
}
