//! An answer on its way to a client over HTTP/1.1.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::HeaderMap;

use crate::answering::{AnswerSink, Leaving};
use crate::body::{BodySink, Piece};
use crate::h1::writer::Writer;
use crate::head::answer::write_framing;
use crate::head::request::Version;
use crate::head::{AnswerHead, Framing, Prepared};
use crate::stream::{Silence, WriteSide};
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// How often it is looked whether a client that waits is still there.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// The answer to one request.
pub(crate) struct ClientAnswer<'c> {
    writer: Writer<WriteSide<'c>>,
    version: Version,
    is_head: bool,
    keep_alive: bool,
    /// Whether the process is about to end.
    closing: &'c Cell<bool>,
    has_begun: bool,
    /// Both directions are the application's own now: the end of one is not the end of the other.
    tunnels: bool,
    was_reset: bool,
    looking: &'c Alarm,
    looks: bool,
}

impl<'c> ClientAnswer<'c> {
    /// To this request.
    pub(crate) fn new(io: WriteSide<'c>, worker: &'c Worker, request: &Prepared, looking: &'c Alarm) -> Self {
        Self {
            writer: Writer::new(io, Rc::clone(&worker.buffers)),
            closing: &worker.closing,
            version: request.version,
            is_head: request.is_head,
            keep_alive: request.keep_alive,
            has_begun: false,
            tunnels: false,
            was_reset: false,
            looking,
            looks: false,
        }
    }

    /// Whether the connection has to be closed at once, so that the client sees that its answer was cut.
    pub(crate) fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// Ready each time it has to be looked whether the client is still there.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.looks, true) {
            self.looking.set(LOOK);
        }
        self.looking.poll_due(cx).map(|()| self.looking.set(LOOK))
    }

    /// Whether the connection may carry another request, as the client was told.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }
}

/// What of a request decides how its answer is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    pub(crate) is_head: bool,
    /// Whether the connection may carry another request, as far as was known before the answer.
    pub(crate) keep_alive: bool,
}

/// Writes the head of an answer, to its empty line; tells how its body has to be framed, and whether the connection may
/// still carry another request.
pub(crate) fn write_head(head: &AnswerHead<'_>, terms: Terms, out: &mut Vec<u8>) -> (Framing, bool) {
    let Terms { version, is_head, keep_alive } = terms;
    let framing = framing(head, version);
    let keep_alive = keep_alive && framing != Framing::UntilClose;
    head.write(out);
    match framing {
        Framing::Chunked => write_framing(framing, out),
        Framing::Length(_) if !head.facts.has_length => write_framing(framing, out),
        Framing::Empty
            if !head.facts.has_length
                && !is_head
                && head.status >= 200
                && !matches!(head.status, 204 | 304) =>
        {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        _ => {}
    }
    if head.status == 101 {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    } else if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    (framing, keep_alive)
}

/// The framing that the client understands.
fn framing(head: &AnswerHead<'_>, version: Version) -> Framing {
    match head.facts.framing {
        Framing::Chunked | Framing::UntilClose if head.status == 101 => Framing::UntilClose,
        Framing::Chunked | Framing::UntilClose if version == Version::Http10 => Framing::UntilClose,
        Framing::Chunked | Framing::UntilClose => Framing::Chunked,
        framing => framing,
    }
}

impl AnswerSink for ClientAnswer<'_> {
    fn head(&mut self, head: &AnswerHead<'_>) {
        self.has_begun = true;
        self.tunnels = head.status == 101;
        let keep_alive = self.keep_alive && !self.closing.get();
        let terms = Terms { version: self.version, is_head: self.is_head, keep_alive };
        let framing;
        (framing, self.keep_alive) = write_head(head, terms, self.writer.out());
        self.writer.frame(framing);
    }

    fn interim(&mut self, head: &AnswerHead<'_>) {
        // HTTP/1.0 has none (RFC 9110, section 15.2).
        if self.version != Version::Http10 {
            let out = self.writer.out();
            head.write(out);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn end_with_this(&mut self) {
        self.keep_alive = false;
    }

    fn renew(&mut self) -> bool {
        let goes_on = self.keep_alive && !self.closing.get();
        // What the client sends already would be lost with the connection.
        let is_told = goes_on && !self.has_begun && self.writer.io().silence() == Silence::Quiet;
        self.keep_alive &= !is_told;
        is_told
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Looks once a second too.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Leaving> {
        while self.poll_look(cx).is_ready() {
            if let Poll::Ready(leaving) = self.leaving_now(cx) {
                return Poll::Ready(leaving);
            }
        }
        Poll::Pending
    }

    /// The end may lie behind a body that nobody has read yet.
    fn leaving_now(&mut self, _: &mut Context<'_>) -> Poll<Leaving> {
        let io = self.writer.io();
        match io.silence() {
            Silence::Broken => Poll::Ready(Leaving::Gone),
            Silence::Ended => Poll::Ready(Leaving::Closing),
            Silence::Quiet | Silence::Bytes if io.has_ended() => Poll::Ready(Leaving::Closing),
            Silence::Quiet | Silence::Bytes => Poll::Pending,
        }
    }

    /// Cuts the connection, so that no client takes what it has for the whole.
    fn cut(&mut self) {
        self.keep_alive = false;
        if !self.writer.ends_by_closing() {
            // The length or the last chunk that never comes tells; a reset could take away what was sent.
            return;
        }
        self.was_reset = true;
        self.writer.io().end_with_reset();
    }
}

impl BodySink for ClientAnswer<'_> {
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()> {
        self.writer.data(piece).await
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        self.writer.end(trailers).await
    }

    fn waits(&self) -> bool {
        self.writer.waits()
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().await
    }

    /// Looks at the socket once a second: what lasts less need not be cut short. A client that has only ended its own
    /// direction still waits for its answer, but hardly goes on to listen to a stream.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.poll_look(cx).is_ready() {
            match self.writer.io().silence() {
                Silence::Ended if self.has_begun && !self.tunnels => return Poll::Ready(()),
                Silence::Broken => return Poll::Ready(()),
                Silence::Quiet | Silence::Bytes | Silence::Ended => {}
            }
        }
        Poll::Pending
    }
}
