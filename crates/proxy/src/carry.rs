//! A request over one connection to an instance, and its answer back: both bodies at once, whatever is spoken on either
//! side.

mod goodbye;
mod head;
mod sending;
mod tunnel;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use cutover_core::routing::{Lasting, Limits};
use cutover_core::statistics::Failure;

use crate::answering::AnswerSink;
use crate::body::{BodySink, BodySource, Broken, Client, Pace, SourceError, relay};
use crate::carry::goodbye::say_goodbye;
use crate::carry::head::{Stop, Wait, await_head};
use crate::carry::sending::{End, Sending};
use crate::carry::tunnel::tunnel;
use crate::exchange::Exchange;
use crate::head::request::Accept;
use crate::head::{AnswerFacts, AnswerHead, Framing, Prepared, Refusal};
use crate::leaving::Leave;
use crate::leaving::boundary::Boundary;
use crate::leaving::stayers::{Stay, Stayers};
use crate::watchdog::Alarm;

/// Where an instance's answer comes from.
pub(crate) trait AnswerSource: BodySource {
    /// Waits for a head, interim or not, and hands it to `take`; a body follows one that is not interim. May be dropped
    /// while it waits and asked for again.
    async fn head(&mut self, take: impl FnOnce(&AnswerHead<'_>)) -> Result<AnswerFacts, NoAnswer>;
    /// What follows belongs to nobody's message any more: an upgrade was accepted.
    fn tunnel(&mut self);
}

/// Where a request goes: its head was handed over, its body follows.
pub(crate) trait RequestSink: BodySink {
    /// What follows is raw: an upgrade was accepted.
    fn tunnel(&mut self);
}

/// Where a request's body comes from.
pub(crate) trait RequestSource: BodySource {
    /// What follows is raw.
    fn tunnel(&mut self);
    /// Whether nothing of the body is left.
    fn has_ended(&self) -> bool;
    /// Whether something lies behind the body that belongs to another request, and has to be answered on the same connection.
    fn is_followed(&self) -> bool;
}

/// Why there is no head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The connection ended before the first byte.
    Reset,
    /// The instance said that it has not begun with the request and never will.
    Refused,
    Malformed,
}

/// How a request went.
#[derive(Debug)]
pub(crate) enum Carried {
    /// There and back, to the last byte; with whether the instance's connection may be used again.
    Whole {
        again: bool,
        promised: Option<u64>,
    },
    Failed(Fault),
}

/// What went wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    /// What the client is told if it is the client's own fault.
    pub(crate) refusal: Option<Refusal>,
    /// The instance has not begun with it: it says so, or not one byte of it can have got there.
    pub(crate) unsent: bool,
}

/// What both alarms and limits of a request are.
pub(crate) struct Terms<'a> {
    pub(crate) exchange: &'a Exchange<'a>,
    pub(crate) limits: &'a Limits,
    /// Of the request's body.
    pub(crate) sending: &'a Alarm,
    /// Of the answer.
    pub(crate) receiving: &'a Alarm,
    /// Requests that share the client's connection.
    pub(crate) sharing: u64,
    /// What the answer tells browsers to remember about TLS.
    pub(crate) hsts: Option<&'a str>,
    /// Where those stand that last.
    pub(crate) stayers: &'a Rc<Stayers>,
}

/// Carries a request whose head was handed to `up` already.
pub(crate) async fn carry<S, K, U, A>(
    request: &Prepared,
    terms: &Terms<'_>,
    source: &mut S,
    sink: &mut K,
    up: &mut U,
    down: &mut A,
) -> Carried
where
    S: RequestSource,
    K: AnswerSink,
    U: RequestSink,
    A: AnswerSource,
{
    let taken = Cell::new(0usize);
    let outcome = exchange(request, terms, source, sink, up, down, &taken).await;
    match outcome {
        Ok(Ended { facts, .. }) if facts.status == 101 => {
            source.tunnel();
            up.tunnel();
            down.tunnel();
            tunnel(request.upgrade, terms, source, sink, up, down).await;
            Carried::Whole { again: false, promised: None }
        }
        Ok(Ended { facts, sent }) => {
            Carried::Whole { again: sent && facts.keep_alive, promised: facts.promised }
        }
        Err(Why { failure, refusal, refused }) => {
            let unsent = refused || !up.has_sent();
            Carried::Failed(Fault { failure, refusal, unsent })
        }
    }
}

/// Why an exchange did not come to its end.
struct Why {
    failure: Failure,
    refusal: Option<Refusal>,
    /// The instance said that it has not begun with it.
    refused: bool,
}

impl From<Failure> for Why {
    fn from(failure: Failure) -> Self {
        Self { failure, refusal: None, refused: false }
    }
}

struct Ended {
    facts: AnswerFacts,
    /// Whether the instance took the whole request.
    sent: bool,
}

/// Request and answer, but for what follows an upgrade.
async fn exchange<S, K, U, A>(
    request: &Prepared,
    terms: &Terms<'_>,
    source: &mut S,
    sink: &mut K,
    up: &mut U,
    down: &mut A,
    taken: &Cell<usize>,
) -> Result<Ended, Why>
where
    S: RequestSource,
    K: AnswerSink,
    U: RequestSink,
    A: AnswerSource,
{
    let timeouts = *terms.exchange.timeouts();
    // Silence is ordinary in gRPC, whose clients say how long they wait.
    let (idle, first_byte) = match request.accept {
        Accept::Grpc => (timeouts.stream, timeouts.stream),
        _ => (timeouts.idle, timeouts.first_byte),
    };
    let is_grpc = request.accept == Accept::Grpc;
    let call = is_grpc.then(|| terms.stay(Lasting::Grpc));
    let mut pace = Pace::of(terms, idle, Client::Sends);
    if is_grpc {
        pace.rate = 0;
    }
    if request.expects_continue {
        // It is for the instance to say when the client shall begin.
        pace.source_idle = first_byte.saturating_add(idle);
        pace.grace = pace.grace.saturating_add(first_byte);
    }
    let is_last = Cell::new(false);
    let sending = pin!(async {
        if request.upgrade.is_some() {
            // What the client says before the instance has agreed is part of no request: an instance that does not
            // agree would take it for the next one.
            return match up.flush().await {
                Ok(()) => Ok(()),
                Err(_) if up.has_sent() => Err(Broken::Sink),
                Err(_) => Err(Broken::Unsent),
            };
        }
        let moved = |length| taken.set(taken.get() + length);
        let relayed = relay(source, up, terms.sending, &pace, moved, &mut Leave::never()).await;
        is_last.set(relayed.is_ok() && !source.is_followed());
        relayed
    });
    let mut sending = Sending::new(sending);
    let owes_continue = Cell::new(request.expects_continue);
    let wait = Wait { terms, first_byte, owes_continue, taken, is_last: &is_last, interim: Cell::new(0) };
    let facts = await_head(&wait, &mut sending, sink, down, call.as_ref()).await;
    let mut facts = facts.map_err(|stop| match stop {
        Stop::Left => {
            let refusal = Some(Refusal::with(503, "the instance that has the call is being replaced"));
            Why { failure: Failure::ClientGone, refusal, refused: false }
        }
        Stop::Client(broken) => {
            Why { failure: Failure::ClientGone, refusal: refusal_for(&broken), refused: false }
        }
        Stop::Instance(NoAnswer::Malformed) => Failure::Malformed.into(),
        Stop::Instance(NoAnswer::Reset) => Failure::Reset.into(),
        Stop::Instance(NoAnswer::Refused) => Why { refused: true, ..Failure::Reset.into() },
        Stop::Late => Failure::FirstByteTimeout.into(),
        Stop::Gone => Failure::ClientGone.into(),
    })?;
    if facts.status == 101 {
        return Ok(Ended { facts, sent: true });
    }

    let idle = if facts.is_stream { timeouts.stream } else { idle };
    let mut pace = Pace::of(terms, idle, Client::Takes);
    if is_grpc || facts.is_stream {
        pace.rate = 0;
    }
    let wants_no_more = !facts.keep_alive || (wait.owes_continue.get() && taken.get() == 0);
    let stay = call.or_else(|| facts.is_stream.then(|| terms.stay(Lasting::EventStream)));
    let boundary = match facts.framing {
        // What has said how long it is cannot end earlier.
        Framing::Length(_) | Framing::Empty => Boundary::Nowhere,
        Framing::Chunked | Framing::UntilClose if is_grpc => Boundary::messages(),
        Framing::Chunked | Framing::UntilClose if facts.is_events && !facts.is_encoded => Boundary::events(),
        Framing::Chunked | Framing::UntilClose => Boundary::Nowhere,
    };
    let mut leave = stay.as_ref().map_or_else(Leave::never, |stay| Leave::at(stay, boundary));
    let left = {
        let mut receiving = pin!(relay(down, sink, terms.receiving, &pace, |_| (), &mut leave));
        let mut received = false;
        poll_fn(|cx| {
            if let Poll::Ready(End::Client(_)) = sending.poll(cx) {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            if !received && let Poll::Ready(outcome) = receiving.as_mut().poll(cx) {
                received = true;
                match outcome {
                    Ok(()) => {}
                    Err(Broken::Asked) => return Poll::Ready(Ok(true)),
                    Err(Broken::Sink | Broken::Unsent | Broken::SinkIdle) => {
                        return Poll::Ready(Err(Failure::ClientGone));
                    }
                    Err(Broken::Source(_) | Broken::SourceIdle | Broken::TooLarge) => {
                        return Poll::Ready(Err(Failure::Truncated));
                    }
                }
            }
            // An answer before the end of its request: what is left of it is taken if the instance still wants it.
            if received && (sending.has_ended() || wants_no_more) {
                return Poll::Ready(Ok(false));
            }
            // Its time is over, also for a client that takes nothing, or still owes what nobody waits for.
            if stay.as_ref().is_some_and(|stay| stay.is_cut(cx)) {
                return Poll::Ready(if received { Ok(false) } else { Err(Failure::ClientGone) });
            }
            Poll::Pending
        })
        .await?
    };
    if left {
        // In the middle of a message, whoever reads it has to notice.
        if !leave.is_clean() || !say_goodbye(terms, is_grpc, sink).await {
            return Err(Failure::ClientGone.into());
        }
        facts.keep_alive = false;
        return Ok(Ended { facts, sent: false });
    }
    Ok(Ended { facts, sent: sending.is_whole() })
}

impl Terms<'_> {
    /// A place among those that last.
    fn stay(&self, kind: Lasting) -> Stay {
        self.stayers.stay(self.exchange.lease().target().instance(), kind)
    }
}

/// What a client is told about its own body.
fn refusal_for(broken: &Broken) -> Option<Refusal> {
    match broken {
        Broken::Source(SourceError::Malformed) => Some(Refusal::bad("the body is malformed")),
        Broken::SourceIdle => Some(Refusal::with(408, "the request did not arrive in time")),
        Broken::TooLarge => Some(Refusal::with(413, "the body is too large")),
        Broken::Source(SourceError::Closed) => Some(Refusal::bad("the body ended before its end")),
        Broken::Sink | Broken::Unsent | Broken::SinkIdle | Broken::Asked => None,
    }
}

impl Pace {
    fn of(terms: &Terms<'_>, idle: Duration, client: Client) -> Self {
        let Terms { limits, sharing, .. } = terms;
        Self {
            source_idle: idle,
            sink_idle: idle,
            most: if client == Client::Sends { limits.body_bytes } else { 0 },
            rate: limits.slow_rate / sharing.max(&1),
            grace: limits.slow_grace,
            client,
        }
    }
}
