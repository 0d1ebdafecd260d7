//! One request: pick, claim, send, and once more where that is safe.

use std::sync::Arc;
use std::time::Instant;

use cutover_core::routing::{InstanceState, Lease, NoTarget, Pause, Private, RequestRoute, TableCell, claim};
use cutover_core::statistics::Failure;
use httparse::Header;

use crate::answering::{AnswerSink, Leaving};
use crate::attempt::Tried;
use crate::carry::{Carried, RequestSource};
use crate::exchange::Exchange;
use crate::head::request::Accept;
use crate::head::{Framing, Peer, Prepared, Refusal};
use crate::holding::{Nowhere, time_left};
use crate::own_answer::{self, Words};
use crate::private::{self, Admission, Granted};
use crate::retry::{Again, Tries, Try};
use crate::rewind::{Kept, Rewind};
use crate::upstream::Reuse;
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// The deadlines of a client's request and of its answer.
pub(crate) struct Alarms<'a> {
    pub(crate) sending: &'a Alarm,
    pub(crate) receiving: &'a Alarm,
    /// Requests that share the client's connection: each may be as much slower.
    pub(crate) sharing: u64,
}

/// Where a request is let to.
#[derive(Clone, Copy)]
struct Way<'a> {
    /// A token is for this.
    private: Option<Private<'a>>,
    /// It stands for users of this host, whatever they have to speak and to show.
    exempt: bool,
}

impl Worker {
    /// Carries one request of a client, and answers what an instance, or else the proxy, says.
    pub(crate) async fn forward<S: RequestSource, K: AnswerSink>(
        &self,
        request: &Prepared,
        peer: &Peer,
        source: &mut S,
        sink: &mut K,
        alarms: &Alarms<'_>,
    ) {
        if self.tls.challenges.are_shown()
            && let Some(text) = self.tls.challenges.text(request.host(), request.path())
        {
            return Box::pin(self.prove(request, &text, sink, alarms.receiving)).await;
        }
        let mut exempt = false;
        let granted = match &request.ticket {
            None => None,
            Some(ticket) => match self.examine(request, ticket) {
                Admission::Public => None,
                Admission::AsUsers => {
                    exempt = true;
                    None
                }
                Admission::Private(granted) => Some(granted),
                // Boxed, so that requests without tokens have no room for it.
                Admission::Enter { seconds } => {
                    let entered = self.enter(request, ticket, seconds, peer, sink, alarms.receiving);
                    return Box::pin(entered).await;
                }
                Admission::Refused(refusal) => {
                    let Refusal { status, reason, .. } = refusal;
                    tracing::debug!(client = %peer.address, status, reason, "refused");
                    if request.framing != Framing::Empty {
                        sink.end_with_this();
                    }
                    return Box::pin(self.refuse(request, refusal, None, sink, alarms.receiving)).await;
                }
            },
        };
        let way = Way { private: granted.as_ref().map(Granted::as_private), exempt };
        match request.deadline {
            None => self.offer(request, way, peer, source, sink, alarms).await,
            Some(deadline) => {
                let patience = alarms.sending.another();
                // Boxed, so that connections without deadlines have no room for it.
                let offered = Box::pin(self.offer(request, way, peer, source, sink, alarms));
                if patience.within(deadline, offered).await.is_err() {
                    if !source.has_ended() {
                        sink.end_with_this();
                    }
                    let late = Refusal::with(504, "the deadline of the request is over");
                    self.refuse(request, late, None, sink, alarms.receiving).await;
                }
            }
        }
    }

    /// Answers in the proxy's own words, or cuts an answer that has begun.
    pub(crate) async fn refuse<K: AnswerSink>(
        &self,
        request: &Prepared,
        refusal: Refusal,
        service: Option<&str>,
        sink: &mut K,
        alarm: &Alarm,
    ) {
        if sink.has_begun() {
            return sink.cut();
        }
        let cookie = request.takes_cookie_away(refusal.status).then(private::cookie_taken_away);
        let cookie = cookie.as_ref().map(|cookie| Header { name: "Set-Cookie", value: cookie.as_bytes() });
        let words = Words::Ours { pages: &self.pages, service };
        own_answer::give(sink, request, refusal, cookie.as_slice(), words, alarm).await;
    }

    async fn offer<S: RequestSource, K: AnswerSink>(
        &self,
        request: &Prepared,
        way: Way<'_>,
        peer: &Peer,
        source: &mut S,
        sink: &mut K,
        alarms: &Alarms<'_>,
    ) {
        let Way { private, exempt } = way;
        // No await from a claim to its send.
        let claimed = match self.claim(request, private, exempt, &[]) {
            // Boxed, so that requests that need not wait have no room for it.
            Err(NoTarget::Held) => Box::pin(self.wait_for_the_end(request, private, sink)).await,
            claimed => claimed.map_err(Nowhere::Turned),
        };
        let mut lease = match claimed {
            Ok(lease) => lease,
            Err(nowhere) => return self.turn_away(request, nowhere, sink, alarms).await,
        };
        let began = Instant::now();
        if self.is_picky(peer, lease.service())
            && !exempt
            && private.is_none()
            && let Some(detour) = self.detour(request, peer, lease.service())
        {
            let service = lease.service().desired().name.clone();
            drop(lease);
            let taken = self.take_detour(request, detour, service.as_str(), sink, alarms.receiving);
            return Box::pin(taken).await;
        }
        // What is sent on a connection that may just be ending has to be had again.
        let mut reuse = if request.is_idempotent && request.framing == Framing::Empty {
            Reuse::Any
        } else {
            Reuse::Fresh
        };
        let kept = Kept::new(&self.buffers, lease.service().desired().replay.body_bytes);
        let mut source = Rewind::new(source, &kept);
        let (mut avoid, mut tries) = (Vec::new(), Tries::default());
        loop {
            let exchange = Exchange::new(lease, &kept, began, request.deadline, peer.since_us, exempt);
            let Tried { carried, reused, shared } =
                self.attempt(request, peer, &exchange, reuse, &mut source, sink, alarms).await;
            let fault = match carried {
                Carried::Whole { .. } => return,
                Carried::Failed(fault) => fault,
            };
            if sink.has_begun() {
                exchange.failed(fault.failure);
                return sink.cut();
            }
            // What waited in the pool with the one that failed may have ended with it. What was lost where others send their
            // requests too is tried once without them.
            let is_lost = shared && !fault.unsent && fault.failure == Failure::Reset;
            reuse = if is_lost || reuse == Reuse::Alone { Reuse::Alone } else { Reuse::None };
            let repeatable = request.is_idempotent || has_key(request, exchange.lease());
            let again = tries.after(&fault, Try { reused, shared, repeatable });
            let again = again.filter(|_| source.begin_again());
            if matches!(again, Some(Again::Elsewhere | Again::Rather)) {
                avoid.push(Arc::clone(exchange.lease().target().instance()));
            }
            let mut next = again.map(|_| self.claim(request, private, exempt, &avoid));
            if again == Some(Again::Rather) && matches!(next, Some(Err(NoTarget::NoInstance))) {
                next = Some(self.claim(request, private, exempt, &[]));
            }
            match next {
                Some(Ok(next)) => {
                    exchange.sent_on(&next);
                    lease = next;
                }
                // It was lost amid the beginning of a hold.
                Some(Err(NoTarget::Held)) => {
                    exchange.given_back();
                    drop(exchange);
                    match Box::pin(self.wait_for_the_end(request, private, sink)).await {
                        Ok(next) => lease = next,
                        Err(nowhere) => return self.turn_away(request, nowhere, sink, alarms).await,
                    }
                }
                _ => {
                    exchange.failed(fault.failure);
                    let refusal = fault.refusal.unwrap_or(fault.failure.into());
                    if !source.has_ended() {
                        sink.end_with_this();
                    }
                    return self
                        .refuse(request, refusal, Some(exchange.service()), sink, alarms.receiving)
                        .await;
                }
            }
        }
    }

    /// Tells a client that its request goes nowhere, and counts it if that is for us to answer for.
    async fn turn_away<K: AnswerSink>(
        &self,
        request: &Prepared,
        nowhere: Nowhere,
        sink: &mut K,
        alarms: &Alarms<'_>,
    ) {
        let (nowhere, is_closing) = match nowhere {
            Nowhere::Turned(nowhere) => (nowhere, false),
            Nowhere::Left(Leaving::Gone) => return,
            // In case it still listens.
            Nowhere::Left(Leaving::Closing) => (NoTarget::Held, true),
        };
        if request.framing != Framing::Empty || is_closing {
            sink.end_with_this();
        }
        let entry = {
            let table = self.cell.load();
            table.find(request.host(), request.path()).map(Arc::clone)
        };
        let mut refusal = Refusal::from(nowhere);
        if is_closing {
            refusal.reason = "the client ended its side while its request waited";
        }
        if let Some(entry) = &entry {
            let is_ours = matches!(nowhere, NoTarget::NoInstance | NoTarget::Held) && !is_closing;
            if is_ours && request.ticket.is_none() {
                entry.observed().note_turned_away();
            }
            match (&nowhere, &entry.desired().pause) {
                (NoTarget::Held, Some(Pause::Hold(hold))) => {
                    let left = time_left(hold).as_secs().saturating_add(1);
                    refusal.retry_after = u32::try_from(left).unwrap_or(u32::MAX);
                }
                (NoTarget::Maintenance, Some(Pause::Maintenance(said))) => {
                    refusal.retry_after = said.retry_after;
                    if let (Some(page), Accept::Html) = (&said.page, request.accept) {
                        let page = Words::Page(page);
                        return own_answer::give(sink, request, refusal, &[], page, alarms.receiving).await;
                    }
                }
                _ => {}
            }
        }
        let service = entry.as_ref().map(|entry| entry.desired().name.as_str());
        self.refuse(request, refusal, service, sink, alarms.receiving).await;
    }

    pub(crate) fn claim(
        &self,
        request: &Prepared,
        private: Option<Private<'_>>,
        passes: bool,
        avoid: &[Arc<InstanceState>],
    ) -> Result<Lease, NoTarget> {
        let (host, path) = (request.host(), request.path());
        claim(&self.cell, RequestRoute { host, path, avoid, private, passes })
    }
}

/// Whether a request carries the key by which the application knows it when it comes again. Looked for only when it has
/// failed.
fn has_key(request: &Prepared, lease: &Lease) -> bool {
    let Some(key) = lease.service().desired().replay.idempotency_key.as_deref() else { return false };
    request.has_field(key)
}
