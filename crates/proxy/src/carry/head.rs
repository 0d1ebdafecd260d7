//! The wait for an answer's head, while the request is still being sent.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::answering::AnswerSink;
use crate::body::Broken;
use crate::carry::sending::{End, Sending};
use crate::carry::{AnswerSource, NoAnswer, Terms};
use crate::head::{AnswerFacts, AnswerHead};
use crate::leaving::stayers::{Asked, Stay};

/// Bytes of all heads before an answer: there is no window that holds them back, and whoever sends them without an end
/// never answers. Two a minute, without a field, may come for a day.
const INTERIM_BYTES: usize = 64 * 1024;

/// Heads before an answer that are passed on at once. The others wait for the answer, and not for a client that takes nothing
/// meanwhile: an instance that sends them without an end is found out by what has been taken of them, not by what it has sent.
const HURRIED: u32 = 8;

/// Why no head came.
pub(super) enum Stop {
    /// The client's own body is at fault.
    Client(Broken),
    Instance(NoAnswer),
    /// The instance took too long.
    Late,
    /// The client took it back, or gave up.
    Gone,
    /// The instance has to go, and has not answered.
    Left,
}

/// What is waited for, and how far it is.
pub(super) struct Wait<'a> {
    pub(super) terms: &'a Terms<'a>,
    pub(super) first_byte: Duration,
    /// The client waits for the instance to say 100, so the instance is who is waited for.
    pub(super) owes_continue: Cell<bool>,
    /// Bytes of the body that the client has sent.
    pub(super) taken: &'a Cell<usize>,
    /// The request was taken, and the client has sent nothing behind it.
    pub(super) is_last: &'a Cell<bool>,
    /// About as many bytes as all interim heads had so far.
    pub(super) interim: Cell<usize>,
}

/// Waits for the answer's head, passing interim ones on: for as long as the request is being sent, and then for
/// `first_byte`.
pub(super) async fn await_head<F, K, A>(
    wait: &Wait<'_>,
    sending: &mut Sending<Pin<&mut F>>,
    sink: &mut K,
    down: &mut A,
    call: Option<&Stay>,
) -> Result<AnswerFacts, Stop>
where
    F: Future<Output = Result<(), Broken>>,
    K: AnswerSink,
    A: AnswerSource,
{
    let mut heads = 0;
    loop {
        let facts = await_one_head(wait, sending, sink, down, call).await?;
        if !facts.is_interim() {
            return Ok(facts);
        }
        wait.owes_continue.set(false);
        if wait.interim.get() > INTERIM_BYTES {
            return Err(Stop::Instance(NoAnswer::Malformed));
        }
        heads += 1;
        if heads > HURRIED {
            continue;
        }
        let idle = wait.terms.exchange.timeouts().idle;
        let flushed = wait.terms.receiving.within(idle, sink.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            return Err(Stop::Gone);
        }
    }
}

/// Waits for a head, interim or not, and hands it to the sink.
async fn await_one_head<F, K, A>(
    wait: &Wait<'_>,
    sending: &mut Sending<Pin<&mut F>>,
    sink: &mut K,
    down: &mut A,
    call: Option<&Stay>,
) -> Result<AnswerFacts, Stop>
where
    F: Future<Output = Result<(), Broken>>,
    K: AnswerSink,
    A: AnswerSource,
{
    let Wait { terms, first_byte, owes_continue, taken, is_last, interim } = wait;
    let sink = RefCell::new(sink);
    let is_sent = Cell::new(sending.has_ended());
    let is_owed = || owes_continue.get() && taken.get() == 0;
    if is_sent.get() || is_owed() {
        terms.receiving.set(*first_byte);
    }
    let mut answering = pin!(down.head(|head| {
        let mut sink = sink.borrow_mut();
        if head.facts.is_interim() {
            interim.set(interim.get() + head.weight());
            return sink.interim(head);
        }
        if !is_sent.get() && (!head.facts.keep_alive || is_owed()) {
            // The instance is about to close on a body that is still coming, or has said that it does not want it.
            sink.end_with_this();
        }
        terms.exchange.answered(head.status);
        if is_last.get() {
            terms.exchange.renew(*sink);
        }
        match (terms.exchange.preview(), terms.hsts) {
            (None, None) => sink.head(head),
            (preview, hsts) => sink.head(&AnswerHead { preview, hsts, ..*head }),
        }
    }));
    let facts = poll_fn(|cx| {
        if let Poll::Ready(end) = sending.poll(cx) {
            match end {
                End::Client(_) => {
                    let Some(End::Client(broken)) = sending.take_end() else {
                        unreachable!("it was just seen")
                    };
                    return Poll::Ready(Err(Stop::Client(broken)));
                }
                End::Unsent => return Poll::Ready(Err(Stop::Instance(NoAnswer::Refused))),
                End::Whole | End::Broken => {}
            }
            is_sent.set(true);
            terms.receiving.set(*first_byte);
        }
        if let Poll::Ready(head) = answering.as_mut().poll(cx) {
            return Poll::Ready(head.map_err(Stop::Instance));
        }
        if (is_sent.get() || is_owed()) && terms.receiving.poll_due(cx).is_ready() {
            return Poll::Ready(Err(Stop::Late));
        }
        if let Some(call) = call {
            call.register(cx);
            if call.asked() == Asked::Cut {
                return Poll::Ready(Err(Stop::Left));
            }
        }
        sink.borrow_mut().poll_gone(cx).map(|()| Err(Stop::Gone))
    })
    .await;
    terms.receiving.clear();
    facts
}
