//! A body as it comes over a connection.

use std::future::poll_fn;

use tokio::io::AsyncRead;

use crate::body::{BodySource, Piece, SourceError};
use crate::buffers::{Expect, Inbox};
use crate::h1::chunks::{Chunks, Next};
use crate::head::Framing;

/// Reads one body off a connection.
pub(crate) struct BodyReader<'c, R> {
    io: R,
    inbox: &'c mut Inbox,
    state: State,
    /// Bytes at the start of the inbox that were handed out as a piece.
    held: usize,
}

#[derive(Debug)]
enum State {
    Ended,
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// A piece in the inbox.
enum Found {
    Data { skip: usize, length: usize },
    Trailers,
    Nothing,
}

impl<'c, R: AsyncRead + Unpin> BodyReader<'c, R> {
    pub(crate) fn new(io: R, inbox: &'c mut Inbox, framing: Framing) -> Self {
        let mut reader = Self { io, inbox, state: State::Ended, held: 0 };
        reader.begin(framing);
        reader
    }

    /// Begins the body whose head was read from the same connection, or what follows an upgrade.
    pub(crate) fn begin(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::Empty => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunks::new()),
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Whether the whole body was handed out, so that what is left belongs to another message.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.state {
            State::Ended => true,
            State::Chunked(chunks) => chunks.has_ended(),
            State::Length(left) => *left == 0,
            State::UntilClose => false,
        }
    }

    /// Whether the beginning of another message lies behind the whole body.
    pub(crate) fn is_followed(&self) -> bool {
        self.has_ended() && self.inbox.unread().len() > self.held
    }

    pub(crate) fn inbox(&mut self) -> &mut Inbox {
        self.inbox
    }

    /// Reads once more; `false` at the end of the connection.
    pub(crate) async fn fill(&mut self, expect: Expect) -> std::io::Result<bool> {
        poll_fn(|cx| self.inbox.poll_fill(cx, &mut self.io, expect)).await.map(|read| read > 0)
    }

    /// What of the body lies in the inbox.
    fn find(&mut self) -> Result<Option<Found>, SourceError> {
        let unread = self.inbox.unread();
        match &mut self.state {
            State::Ended | State::Length(0) => Ok(Some(Found::Nothing)),
            State::Length(_) | State::UntilClose if unread.is_empty() => Ok(None),
            State::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
                *left -= length as u64;
                Ok(Some(Found::Data { skip: 0, length }))
            }
            State::UntilClose => Ok(Some(Found::Data { skip: 0, length: unread.len() })),
            State::Chunked(chunks) => loop {
                match chunks.next(self.inbox.unread()).map_err(|_| SourceError::Malformed)? {
                    Next::More => return Ok(None),
                    Next::Skip(count) => self.inbox.consume(count),
                    Next::Data { skip, length } => return Ok(Some(Found::Data { skip, length })),
                    Next::End(count) => {
                        self.inbox.consume(count);
                        return Ok(Some(Found::Trailers));
                    }
                }
            },
        }
    }
}

impl<R: AsyncRead + Unpin> BodySource for BodyReader<'_, R> {
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        self.inbox.consume(std::mem::take(&mut self.held));
        let found = loop {
            if let Some(found) = self.find()? {
                break found;
            }
            match self.fill(Expect::Body).await {
                Ok(true) => {}
                Ok(false) if matches!(self.state, State::UntilClose) => {
                    self.state = State::Ended;
                    break Found::Nothing;
                }
                Ok(false) | Err(_) => return Err(SourceError::Closed),
            }
        };
        match found {
            Found::Nothing => Ok(None),
            Found::Trailers => {
                let State::Chunked(chunks) = &mut self.state else { return Ok(None) };
                Ok(chunks.take_trailers().map(Piece::Trailers))
            }
            Found::Data { skip, length } => {
                self.held = skip + length;
                Ok(Some(Piece::Borrowed(&self.inbox.unread()[skip..skip + length])))
            }
        }
    }
}

impl<R> Drop for BodyReader<'_, R> {
    fn drop(&mut self) {
        self.inbox.consume(self.held);
    }
}
