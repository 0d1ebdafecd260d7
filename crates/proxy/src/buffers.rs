//! Buffers that connections take only while bytes are there, and give back for the next one.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Holds nearly every request's head.
const SMALL: usize = 4 * 1024;
/// For bodies, and for what did not fit.
const LARGE: usize = 32 * 1024;
/// Kept of each size; more are given back to the allocator.
const KEPT: usize = 256;

/// The spare buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer of [`SMALL`] bytes or a little more.
    pub(crate) fn small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    fn large(&self) -> Vec<u8> {
        self.large.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(LARGE))
    }

    /// Takes a buffer back, whatever is in it.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let list = match buffer.capacity() {
            SMALL..LARGE => &self.small,
            LARGE..=65_536 => &self.large,
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < KEPT {
            list.push(buffer);
        }
    }
}

/// How much is expected to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A request's head.
    Head,
    /// A body, or an answer with one.
    Body,
}

/// What has arrived on a connection and was not taken yet. Without bytes it holds no memory.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffers: Rc<Buffers>,
    bytes: Vec<u8>,
    start: usize,
}

impl Inbox {
    pub(crate) fn new(buffers: Rc<Buffers>) -> Self {
        Self { buffers, bytes: Vec::new(), start: 0 }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes the first bytes away.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            self.clear();
        }
    }

    /// Gives the buffer back, with what is in it.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > 0 {
            self.buffers.give_back(std::mem::take(&mut self.bytes));
        }
    }

    /// Reads once more; 0 is the end. A buffer that stays empty is given back before anything is waited for.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut R,
        expect: Expect,
    ) -> Poll<io::Result<usize>> {
        self.make_room(expect);
        let read = poll_read_buf(Pin::new(io), cx, &mut self.bytes);
        if self.bytes.is_empty() {
            self.clear();
        }
        let read = ready!(read);
        Poll::Ready(read)
    }

    fn make_room(&mut self, expect: Expect) {
        if self.bytes.capacity() == 0 {
            self.bytes = match expect {
                Expect::Head => self.buffers.small(),
                Expect::Body => self.buffers.large(),
            };
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.len() == self.bytes.capacity() {
            if self.bytes.capacity() < LARGE {
                let mut larger = self.buffers.large();
                larger.extend_from_slice(&self.bytes);
                self.buffers.give_back(std::mem::replace(&mut self.bytes, larger));
            } else {
                // A head that is larger than any other; how large it may be is its reader's matter.
                self.bytes.reserve(LARGE);
            }
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.clear();
    }
}
