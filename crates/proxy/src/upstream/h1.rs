//! A request over HTTP/1.1.

use std::io;
use std::rc::Rc;

use http::HeaderMap;

use crate::body::{BodySink, BodySource, Piece, SourceError};
use crate::buffers::{Buffers, Expect, Inbox};
use crate::carry::{AnswerSource, NoAnswer, RequestSink};
use crate::h1::reader::BodyReader;
use crate::h1::writer::Writer;
use crate::head::answer::Asked;
use crate::head::parse::{self, Read};
use crate::head::{AnswerFacts, AnswerHead, Framing, Prepared};
use crate::stream::{ReadSide, Stream, WriteSide};

/// A connection to an instance, in use.
pub(crate) struct H1Connection {
    stream: Stream,
    inbox: Inbox,
}

impl H1Connection {
    pub(crate) fn new(stream: Stream, buffers: &Rc<Buffers>) -> Self {
        Self { stream, inbox: Inbox::new(Rc::clone(buffers)) }
    }

    /// Both directions, with the head of the request handed over.
    pub(crate) fn begin(
        &mut self,
        request: &Prepared,
        buffers: &Rc<Buffers>,
    ) -> (RequestWriter<'_>, AnswerReader<'_>) {
        let (read, write) = self.stream.split();
        let mut writer = Writer::new(write, Rc::clone(buffers));
        writer.out().extend_from_slice(&request.head);
        writer.frame(request.framing);
        let asked = Asked { is_head: request.is_head, upgrade: request.upgrade.is_some() };
        let reader = BodyReader::new(read, &mut self.inbox, Framing::Empty);
        (RequestWriter { writer }, AnswerReader { reader, asked })
    }

    /// The connection for another request; `None` if the instance said more than it was asked.
    pub(crate) fn into_idle(self) -> Option<Stream> {
        self.inbox.unread().is_empty().then_some(self.stream)
    }
}

/// A request on its way to an instance.
pub(crate) struct RequestWriter<'c> {
    writer: Writer<WriteSide<'c>>,
}

impl RequestSink for RequestWriter<'_> {
    fn tunnel(&mut self) {
        self.writer.frame(Framing::UntilClose);
    }
}

impl BodySink for RequestWriter<'_> {
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()> {
        self.writer.data(piece).await
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        self.writer.end(trailers).await
    }

    fn waits(&self) -> bool {
        self.writer.waits()
    }

    fn has_sent(&self) -> bool {
        self.writer.has_sent()
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().await
    }
}

/// An answer on its way from an instance.
pub(crate) struct AnswerReader<'c> {
    reader: BodyReader<'c, ReadSide<'c>>,
    asked: Asked,
}

impl AnswerSource for AnswerReader<'_> {
    async fn head(&mut self, take: impl FnOnce(&AnswerHead<'_>)) -> Result<AnswerFacts, NoAnswer> {
        let mut take = Some(take);
        loop {
            let unread = self.reader.inbox().unread();
            if !unread.is_empty() {
                let read = parse::answer(unread, self.asked, |head| {
                    if let Some(take) = take.take() {
                        take(head);
                    }
                    head.facts
                });
                match read.map_err(|_| NoAnswer::Malformed)? {
                    Read::Partial => {}
                    Read::Whole(facts, length) => {
                        self.reader.inbox().consume(length);
                        self.reader.begin(facts.framing);
                        return Ok(facts);
                    }
                }
            }
            match self.reader.fill(Expect::Body).await {
                Ok(true) => {}
                Ok(false) if !self.reader.inbox().unread().is_empty() => return Err(NoAnswer::Malformed),
                Ok(false) | Err(_) => return Err(NoAnswer::Reset),
            }
        }
    }

    fn tunnel(&mut self) {
        self.reader.begin(Framing::UntilClose);
    }
}

impl BodySource for AnswerReader<'_> {
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        self.reader.piece().await
    }
}
