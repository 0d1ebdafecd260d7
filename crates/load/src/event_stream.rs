//! Numbered server-sent events over HTTP/1.1, followed across connections by `Last-Event-ID`.

use bytes::BytesMut;

use crate::answer;
use crate::client::Client;
use crate::connection::Connection;
use crate::events::Events;
use crate::failure::{Failure, FailureClass};
use crate::fault::status_class;
use crate::framing::Body;
use crate::request;
use crate::session::{Parting, Session, Visit, within};
use crate::stream::Stream;

/// A client that follows one stream of events after the other.
#[derive(Debug)]
pub(crate) struct EventStream {
    client: Client,
    /// The number of the last event that came.
    last: Option<u64>,
}

/// An answer whose body goes on.
#[derive(Debug)]
struct Open {
    stream: Stream,
    arrived: BytesMut,
    seen: u64,
    body: Body,
    events: Events,
}

impl EventStream {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone(), last: None }
    }

    async fn open(&self, visit: &mut Visit) -> Result<Open, Failure> {
        let mut head = request::head(&visit.shared.plan, &self.client, "GET");
        head.push_str("accept: text/event-stream\r\ncache-control: no-store\r\n");
        if let Some(last) = self.last {
            head.push_str(&format!("last-event-id: {last}\r\n"));
        }
        head.push_str("\r\n");
        let mut connection = Connection::open(&visit.shared.plan).await?;
        visit.connected();
        let note = visit.shared.expectation.note();
        let answer = connection.ask(head.as_bytes()).await?;
        if answer.status != 200 {
            let class = status_class(answer.status).unwrap_or(FailureClass::StatusOther);
            return Err(Failure::new(class, format!("status {} in place of events", answer.status)));
        }
        let kind = answer::header(&answer.headers, "content-type").unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(Failure::malformed(format!("events of the type \"{}\"", kind.escape_debug())));
        }
        visit.open(&note, &answer.headers)?;
        let (stream, arrived, seen) = connection.into_parts();
        let body = Body::new(answer.framing, usize::MAX);
        Ok(Open { stream, arrived, seen, body, events: Events::default() })
    }

    /// Checks the number of an event that came.
    fn number(&mut self, id: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(id);
        let Ok(number) = text.parse::<u64>() else {
            return Err(Failure::malformed(format!("an event with the id \"{}\"", text.escape_debug())));
        };
        if let Some(last) = self.last
            && number != last + 1
        {
            return Err(Failure::new(FailureClass::Gap, format!("event {number} came after event {last}")));
        }
        self.last = Some(number);
        Ok(())
    }
}

impl Open {
    /// Waits for the next events; none once the body has ended in order. Safe to be dropped while it waits.
    async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        loop {
            let whole = self
                .body
                .advance(&mut self.arrived)
                .map_err(|why| Failure::malformed(format!("the body has {why}")))?;
            let events = self.events.take(&std::mem::take(&mut self.body.kept));
            if !events.is_empty() {
                return Ok(Some(events));
            }
            let closed =
                !whole && answer::fill(&mut self.stream, &mut self.arrived, &mut self.seen).await? == 0;
            if whole || (closed && self.body.ends_with_connection()) {
                return Ok(None);
            }
            if closed {
                let text = format!("closed in the body, after {} of its bytes", self.body.received);
                return Err(Failure::new(FailureClass::Partial, text));
            }
        }
    }
}

impl Session for EventStream {
    async fn attend(&mut self, visit: &mut Visit) -> Result<Parting, Failure> {
        let timeout = visit.timeout();
        let mut open = within(timeout, "opening an event stream", self.open(visit)).await?;
        loop {
            let events = tokio::select! {
                events = within(timeout, "the next event", open.next()) => events?,
                // There are no words for leaving an event stream but closing it.
                () = visit.over.comes() => return Ok(Parting::Over),
            };
            let Some(events) = events else {
                break;
            };
            for id in events {
                self.number(&id)?;
                visit.message();
            }
        }
        if open.events.at_boundary() {
            visit.asked_to_leave(None)
        } else {
            Err(Failure::new(FailureClass::Partial, "ended in the middle of an event"))
        }
    }
}
