//! A client's connection: requests one after the other, each answered before the next is looked at.

use std::future::poll_fn;
use std::rc::Rc;

use crate::body::BodySource;
use crate::buffers::{Expect, Inbox};
use crate::carry::RequestSource;
use crate::forward::Alarms;
use crate::h1::answer::ClientAnswer;
use crate::h1::reader::BodyReader;
use crate::head::look::accept_in;
use crate::head::parse::{self, Read};
use crate::head::request::{Version, prepare};
use crate::head::{Framing, Peer, Prepared, Refusal};
use crate::linger::{WITH_ONE_ANSWER, linger};
use crate::stream::Stream;
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// More empty lines before a request than anybody sends: old clients end a body with one (RFC 9112, section 2.2).
const EMPTY_LINES: &[u8] = b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";

/// A connection of a client that speaks HTTP/1.
pub(crate) struct ClientConnection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    /// What was read already.
    pub(crate) inbox: Inbox,
    pub(crate) alarm: Alarm,
    pub(crate) receiving: Alarm,
    pub(crate) looking: Alarm,
}

/// What comes next on a connection.
enum Next {
    Request(Prepared),
    Refused(Refusal),
    /// The client has gone, or was silent for as long as it may be.
    End,
}

/// What becomes of a connection after an answer.
enum Then {
    Next,
    /// It ends, as the client was told or will notice.
    Linger,
    /// It ends at once.
    Close,
}

impl ClientConnection {
    /// Serves the client until it goes away.
    pub(crate) async fn serve(mut self) {
        loop {
            let request = match self.next().await {
                Next::Request(request) => request,
                Next::Refused(refusal) => {
                    self.refuse(refusal).await;
                    return self.linger().await;
                }
                Next::End => return,
            };
            let then = self.answer(&request).await;
            self.worker.buffers.give_back(request.head);
            match then {
                Then::Next => {}
                Then::Linger => return self.linger().await,
                Then::Close => return,
            }
        }
    }

    async fn next(&mut self) -> Next {
        if self.inbox.unread().is_empty() {
            let limit = self.worker.clients.limits.keep_alive;
            self.alarm.begin_idle();
            let filled = self.alarm.within(limit, fill(&mut self.inbox, &mut self.stream)).await;
            self.alarm.end_idle();
            if !matches!(filled, Ok(Ok(1..))) {
                return Next::End;
            }
        }
        match self.parse() {
            Ok(Some(request)) => return Next::Request(request),
            Ok(None) => {}
            Err(refusal) => return Next::Refused(refusal),
        }
        let limit = self.worker.clients.limits.head_time;
        let whole = self.alarm.another();
        match whole.within(limit, self.rest_of_head()).await {
            Ok(next) => next,
            Err(_) => Next::Refused(Refusal::with(408, "the request did not arrive in time")),
        }
    }

    /// Reads on. A head that comes byte by byte is not parsed anew for each: only with the end of a line, of which it may have
    /// as many as fields, or with what may be a wrong one, or when it has doubled.
    async fn rest_of_head(&mut self) -> Next {
        let mut parsed = self.inbox.unread().len();
        loop {
            let before = self.inbox.unread().len();
            match fill(&mut self.inbox, &mut self.stream).await {
                Ok(1..) => {}
                Ok(_) | Err(_) => return Next::End,
            }
            let unread = self.inbox.unread();
            // What follows the return with which the bytes before have ended tells whether that is the end of a line.
            let has_line = memchr::memchr2(b'\n', b'\r', &unread[before.saturating_sub(1)..]).is_some();
            if !has_line && unread.len() < parsed * 2 && unread.len() < self.worker.clients.limits.head_bytes
            {
                continue;
            }
            parsed = unread.len();
            match self.parse() {
                Ok(Some(request)) => return Next::Request(request),
                Ok(None) => {}
                Err(refusal) => return Next::Refused(refusal),
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Prepared>, Refusal> {
        let unread = self.inbox.unread();
        if !parse::can_begin(unread) {
            return Err(Refusal::bad("this is not HTTP"));
        }
        // Each line has a head looked at anew, and fields alone are few.
        if unread.starts_with(EMPTY_LINES) {
            return Err(Refusal::bad("there are empty lines instead of a request"));
        }
        let Worker { clients, ids, buffers, .. } = &*self.worker;
        let read = parse::request(unread, &clients.limits, |incoming| {
            prepare(incoming, &self.peer, &clients.limits, ids, buffers.small()).map_err(|(refusal, head)| {
                buffers.give_back(head);
                refusal
            })
        });
        match read? {
            Read::Partial => Ok(None),
            Read::Whole(request, length) => {
                self.inbox.consume(length);
                Ok(Some(request))
            }
        }
    }

    /// Carries a request.
    async fn answer(&mut self, request: &Prepared) -> Then {
        let worker = &self.worker;
        let (read, write) = self.stream.split();
        let mut source = BodyReader::new(read, &mut self.inbox, request.framing);
        let mut sink = ClientAnswer::new(write, worker, request, &self.looking);
        let alarms = Alarms { sending: &self.alarm, receiving: &self.receiving, sharing: 1 };
        worker.forward(request, &self.peer, &mut source, &mut sink, &alarms).await;
        if sink.was_reset() {
            Then::Close
        } else if sink.keep_alive() && source.has_ended() {
            Then::Next
        } else {
            Then::Linger
        }
    }

    async fn refuse(&mut self, refusal: Refusal) {
        let mut head = self.worker.buffers.small();
        let id = self.worker.ids.write(&mut head);
        let mut request = Prepared::unread(Version::Http11, head, id);
        request.accept = accept_in(self.inbox.unread());
        let Refusal { status, reason, .. } = refusal;
        tracing::debug!(client = %self.peer.address, status, reason, "refused");
        let (_, write) = self.stream.split();
        let mut sink = ClientAnswer::new(write, &self.worker, &request, &self.looking);
        self.worker.refuse(&request, refusal, None, &mut sink, &self.alarm).await;
    }

    async fn linger(self) {
        let Self { worker, stream, mut inbox, alarm, .. } = self;
        inbox.clear();
        linger(stream, WITH_ONE_ANSWER, &worker.buffers, &alarm).await;
    }
}

async fn fill(inbox: &mut Inbox, stream: &mut Stream) -> std::io::Result<usize> {
    poll_fn(|cx| inbox.poll_fill(cx, stream, Expect::Head)).await
}

impl<R: tokio::io::AsyncRead + Unpin> RequestSource for BodyReader<'_, R>
where
    Self: BodySource,
{
    fn tunnel(&mut self) {
        self.begin(Framing::UntilClose);
    }

    fn has_ended(&self) -> bool {
        Self::has_ended(self)
    }

    fn is_followed(&self) -> bool {
        Self::is_followed(self)
    }
}
