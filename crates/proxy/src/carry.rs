//! A request over one connection to an instance, and its answer back: both bodies at once, whatever is spoken on either
//! side.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use cutover_core::routing::Limits;
use cutover_core::statistics::Failure;

use crate::answering::AnswerSink;
use crate::body::{BodySink, BodySource, Broken, Client, Pace, SourceError, relay};
use crate::exchange::Exchange;
use crate::head::request::Accept;
use crate::head::{AnswerFacts, AnswerHead, Prepared, Refusal};
use crate::watchdog::{Alarm, TICK, ticks_in};

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
    /// Whether a byte of the request may have reached the instance.
    fn has_sent(&self) -> bool;
    /// What follows is raw: an upgrade was accepted.
    fn tunnel(&mut self);
}

/// Where a request's body comes from.
pub(crate) trait RequestSource: BodySource {
    /// What follows is raw.
    fn tunnel(&mut self);
    /// Whether nothing of the body is left.
    fn has_ended(&self) -> bool;
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

/// Bytes of all heads before an answer: there is no window that holds them back, and whoever sends them without an end
/// never answers. Two a minute, without a field, may come for a day.
const INTERIM_BYTES: usize = 64 * 1024;

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
    /// Not one byte of the request can have been taken by the instance, nor is any of it lost here.
    pub(crate) unsent: bool,
    /// Nothing of a body was taken from the client.
    pub(crate) untouched: bool,
}

/// What both alarms and limits of a request are.
pub(crate) struct Terms<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) limits: &'a Limits,
    /// Of the request's body.
    pub(crate) sending: &'a Alarm,
    /// Of the answer.
    pub(crate) receiving: &'a Alarm,
}

/// Why no head came.
enum Stop {
    /// The client's own body is at fault.
    Client(Broken),
    Instance(NoAnswer),
    /// The instance took too long.
    Late,
    /// The client took it back, or gave up.
    Gone,
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
            tunnel(terms, source, sink, up, down).await;
            Carried::Whole { again: false, promised: None }
        }
        Ok(Ended { facts, sent }) => {
            Carried::Whole { again: sent && facts.keep_alive, promised: facts.promised }
        }
        Err(Why { failure, refusal, refused }) => {
            let untouched = taken.get() == 0;
            let unsent = untouched && (refused || !up.has_sent());
            Carried::Failed(Fault { failure, refusal, unsent, untouched })
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
    let mut pace = Pace::of(terms.limits, idle, Client::Sends);
    if request.accept == Accept::Grpc {
        pace.rate = 0;
    }
    let mut sending = Sending {
        future: pin!(relay(source, up, terms.sending, &pace, |length| taken.set(taken.get() + length))),
        outcome: Cell::new(None),
    };
    let facts = await_head(terms, &mut sending, sink, down, first_byte).await;
    let facts = facts.map_err(|stop| match stop {
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
    let pace = Pace::of(terms.limits, idle, Client::Takes);
    let mut receiving = pin!(relay(down, sink, terms.receiving, &pace, |_| ()));
    let mut received = false;
    poll_fn(|cx| {
        if sending.poll(cx).is_ready()
            && let Some(true) = sending.is_clients_fault()
        {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if !received && let Poll::Ready(outcome) = receiving.as_mut().poll(cx) {
            received = true;
            if let Err(broken) = outcome {
                let failure = match broken {
                    Broken::Sink | Broken::SinkIdle => Failure::ClientGone,
                    Broken::Source(_) | Broken::SourceIdle | Broken::TooLarge => Failure::Truncated,
                };
                return Poll::Ready(Err(failure));
            }
        }
        // An answer before the end of its request: what is left of it is taken if the instance still wants it.
        if received && (sending.has_ended() || !facts.keep_alive) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    })
    .await?;
    Ok(Ended { facts, sent: matches!(sending.outcome.take(), Some(Ok(()))) })
}

/// A request's body on its way, polled beside the answer.
struct Sending<F> {
    future: F,
    outcome: Cell<Option<Result<(), Broken>>>,
}

impl<F: Future<Output = Result<(), Broken>>> Sending<Pin<&mut F>> {
    /// Ready once, when it ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_ended() {
            return Poll::Pending;
        }
        self.future.as_mut().poll(cx).map(|outcome| self.outcome.set(Some(outcome)))
    }

    fn has_ended(&self) -> bool {
        let outcome = self.outcome.take();
        let ended = outcome.is_some();
        self.outcome.set(outcome);
        ended
    }

    /// Whether what ended it was the client's doing: an instance that takes no more may still answer.
    fn is_clients_fault(&self) -> Option<bool> {
        let outcome = self.outcome.take();
        let fault = outcome.as_ref().map(|outcome| match outcome {
            Ok(()) | Err(Broken::Sink | Broken::SinkIdle) => false,
            Err(Broken::Source(_) | Broken::SourceIdle | Broken::TooLarge) => true,
        });
        self.outcome.set(outcome);
        fault
    }
}

/// Waits for the answer's head, passing interim ones on: for as long as the request is being sent, and then for
/// `first_byte`.
async fn await_head<F, K, A>(
    terms: &Terms<'_>,
    sending: &mut Sending<Pin<&mut F>>,
    sink: &mut K,
    down: &mut A,
    first_byte: Duration,
) -> Result<AnswerFacts, Stop>
where
    F: Future<Output = Result<(), Broken>>,
    K: AnswerSink,
    A: AnswerSource,
{
    let interim = Cell::new(0usize);
    loop {
        let facts = await_one_head(terms, sending, sink, down, first_byte, &interim).await?;
        if !facts.is_interim() {
            return Ok(facts);
        }
        if interim.get() > INTERIM_BYTES {
            return Err(Stop::Instance(NoAnswer::Malformed));
        }
        let flushed = terms.receiving.within(terms.exchange.timeouts().idle, sink.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            return Err(Stop::Gone);
        }
    }
}

/// Waits for a head, interim or not, and hands it to the sink; what the interim ones weigh is added to `interim`.
async fn await_one_head<F, K, A>(
    terms: &Terms<'_>,
    sending: &mut Sending<Pin<&mut F>>,
    sink: &mut K,
    down: &mut A,
    first_byte: Duration,
    interim: &Cell<usize>,
) -> Result<AnswerFacts, Stop>
where
    F: Future<Output = Result<(), Broken>>,
    K: AnswerSink,
    A: AnswerSource,
{
    let sink = RefCell::new(sink);
    let is_sent = Cell::new(sending.has_ended());
    if is_sent.get() {
        terms.receiving.set(first_byte);
    }
    let mut answering = pin!(down.head(|head| {
        let mut sink = sink.borrow_mut();
        if head.facts.is_interim() {
            interim.set(interim.get() + head.weight());
            return sink.interim(head);
        }
        if !head.facts.keep_alive && !is_sent.get() {
            // The instance is about to close on a body that is still coming.
            sink.end_with_this();
        }
        terms.exchange.answered(head.status);
        sink.head(head);
    }));
    let facts = poll_fn(|cx| {
        if sending.poll(cx).is_ready() {
            if sending.is_clients_fault() == Some(true)
                && let Some(Err(broken)) = sending.outcome.take()
            {
                return Poll::Ready(Err(Stop::Client(broken)));
            }
            is_sent.set(true);
            terms.receiving.set(first_byte);
        }
        if let Poll::Ready(head) = answering.as_mut().poll(cx) {
            return Poll::Ready(head.map_err(Stop::Instance));
        }
        if is_sent.get() && terms.receiving.poll_due(cx).is_ready() {
            return Poll::Ready(Err(Stop::Late));
        }
        sink.borrow_mut().poll_gone(cx).map(|()| Err(Stop::Gone))
    })
    .await;
    terms.receiving.clear();
    facts
}

/// Both directions until both have ended, or nothing has moved in either for too long.
async fn tunnel<S, K, U, A>(terms: &Terms<'_>, source: &mut S, sink: &mut K, up: &mut U, down: &mut A)
where
    S: RequestSource,
    K: AnswerSink,
    U: RequestSink,
    A: AnswerSource,
{
    let limit = terms.exchange.timeouts().stream;
    let moved = Cell::new(terms.receiving.now());
    // How long nothing moved is looked at for both directions together.
    let pace = |client| Pace {
        source_idle: Duration::MAX,
        most: 0,
        rate: 0,
        ..Pace::of(terms.limits, limit, client)
    };
    let (to_instance, to_client) = (pace(Client::Sends), pace(Client::Takes));
    let note = |_| moved.set(terms.receiving.now());
    let mut there = pin!(relay(source, up, terms.sending, &to_instance, note));
    let mut back = pin!(relay(down, sink, terms.receiving, &to_client, note));
    let (mut there_ended, mut back_ended) = (false, false);
    let silence = terms.sending.another();
    silence.set(limit);
    poll_fn(|cx| {
        if !there_ended && let Poll::Ready(outcome) = there.as_mut().poll(cx) {
            there_ended = true;
            // An instance that takes no more may still have something to say.
            if matches!(outcome, Err(Broken::Source(_) | Broken::SourceIdle | Broken::TooLarge)) {
                return Poll::Ready(());
            }
        }
        if !back_ended && let Poll::Ready(outcome) = back.as_mut().poll(cx) {
            back_ended = true;
            if outcome.is_err() {
                return Poll::Ready(());
            }
        }
        if there_ended && back_ended {
            return Poll::Ready(());
        }
        while silence.poll_due(cx).is_ready() {
            let silent = terms.receiving.now() - moved.get();
            if silent >= ticks_in(limit) {
                return Poll::Ready(());
            }
            silence.set(limit - TICK * u32::try_from(silent).unwrap_or(0));
        }
        Poll::Pending
    })
    .await;
}

/// What a client is told about its own body.
fn refusal_for(broken: &Broken) -> Option<Refusal> {
    match broken {
        Broken::Source(SourceError::Malformed) => Some(Refusal::bad("the body is malformed")),
        Broken::SourceIdle => Some(Refusal::with(408, "the request did not arrive in time")),
        Broken::TooLarge => Some(Refusal::with(413, "the body is too large")),
        Broken::Source(SourceError::Closed) => Some(Refusal::bad("the body ended before its end")),
        Broken::Sink | Broken::SinkIdle => None,
    }
}

impl Pace {
    fn of(limits: &Limits, idle: Duration, client: Client) -> Self {
        Self {
            source_idle: idle,
            sink_idle: idle,
            most: if client == Client::Sends { limits.body_bytes } else { 0 },
            rate: limits.slow_rate,
            grace: limits.slow_grace,
            client,
        }
    }
}
