//! What follows an upgrade: bytes in both directions, which nobody here understands but for where the frames of a WebSocket
//! end.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use cutover_core::routing::Lasting;

use crate::answering::AnswerSink;
use crate::body::{Broken, Client, Pace, Piece, relay};
use crate::carry::{AnswerSource, RequestSink, RequestSource, Terms};
use crate::head::request::Upgrade;
use crate::leaving::Leave;
use crate::leaving::boundary::{Boundary, CLOSE_FOR_RESTART};
use crate::watchdog::{TICK, ticks_in};

/// A client that was told that the service restarts has this time to say goodbye to the instance.
const GOODBYE: Duration = Duration::from_secs(5);

/// Both directions until both have ended, or nothing has moved in either for too long, or it has to leave.
pub(super) async fn tunnel<S, K, U, A>(
    upgrade: Option<Upgrade>,
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
    let pace =
        |client| Pace { source_idle: Duration::MAX, most: 0, rate: 0, ..Pace::of(terms, limit, client) };
    let (to_instance, to_client) = (pace(Client::Sends), pace(Client::Takes));
    let note = |_| moved.set(terms.receiving.now());
    let (kind, boundary) = match upgrade {
        Some(Upgrade::WebSocket) => (Lasting::WebSocket, Boundary::frames()),
        _ => (Lasting::Tunnel, Boundary::Nowhere),
    };
    let stay = terms.stay(kind);
    let (mut stays, mut leave) = (Leave::never(), Leave::at(&stay, boundary));
    let mut there = pin!(relay(source, up, terms.sending, &to_instance, note, &mut stays));
    let mut there_ended = false;
    let silence = terms.sending.another();
    silence.set(limit);
    let left = {
        let mut back = pin!(relay(down, sink, terms.receiving, &to_client, note, &mut leave));
        let mut back_ended = false;
        poll_fn(|cx| {
            if !there_ended && let Poll::Ready(outcome) = there.as_mut().poll(cx) {
                there_ended = true;
                // An instance that takes no more may still have something to say.
                if matches!(outcome, Err(Broken::Source(_) | Broken::SourceIdle | Broken::TooLarge)) {
                    return Poll::Ready(false);
                }
            }
            if !back_ended && let Poll::Ready(outcome) = back.as_mut().poll(cx) {
                back_ended = true;
                match outcome {
                    Ok(()) => {}
                    Err(Broken::Asked) => return Poll::Ready(true),
                    Err(_) => return Poll::Ready(false),
                }
            }
            // Whoever takes nothing any more has no time beyond the others'.
            if there_ended && back_ended || stay.is_cut(cx) {
                return Poll::Ready(false);
            }
            while silence.poll_due(cx).is_ready() {
                let silent = terms.receiving.now() - moved.get();
                if silent >= ticks_in(limit) {
                    return Poll::Ready(false);
                }
                silence.set(limit - TICK * u32::try_from(silent).unwrap_or(0));
            }
            Poll::Pending
        })
        .await
    };
    if !left || !leave.is_clean() {
        return;
    }
    // The client answers with a close of its own, which tells the instance; what that says meanwhile is said to nobody.
    let goodbye = terms.receiving.within(GOODBYE, async {
        let said = sink.data(Piece::Borrowed(CLOSE_FOR_RESTART)).await;
        said.is_ok() && sink.flush().await.is_ok()
    });
    if !matches!(goodbye.await, Ok(true)) {
        return;
    }
    let mut unheard = pin!(async { while let Ok(Some(_)) = down.piece().await {} });
    silence.set(GOODBYE);
    poll_fn(|cx| {
        if !there_ended && there.as_mut().poll(cx).is_ready() {
            there_ended = true;
        }
        if unheard.as_mut().poll(cx).is_ready() || there_ended {
            return Poll::Ready(());
        }
        silence.poll_due(cx)
    })
    .await;
    let _ = terms.receiving.within(GOODBYE, sink.end(None)).await;
}
