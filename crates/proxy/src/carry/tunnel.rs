//! What follows an upgrade: bytes in both directions, which nobody here understands.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::answering::AnswerSink;
use crate::body::{Broken, Client, Pace, relay};
use crate::carry::{AnswerSource, RequestSink, RequestSource, Terms};
use crate::watchdog::{TICK, ticks_in};

/// Both directions until both have ended, or nothing has moved in either for too long.
pub(super) async fn tunnel<S, K, U, A>(
    terms: &Terms<'_>,
    source: &mut S,
    sink: &mut K,
    up: &mut U,
    down: &mut A,
) where
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
