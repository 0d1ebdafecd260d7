//! One request: pick, claim, send, and again elsewhere if not one byte of it was lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cutover_core::routing::{
    InstanceState, Lease, NoTarget, Private, Protocol, RequestRoute, TableCell, claim,
};
use cutover_core::statistics::Failure;
use httparse::Header;

use crate::answering::AnswerSink;
use crate::carry::{Carried, Fault, RequestSource, Terms, carry};
use crate::exchange::Exchange;
use crate::head::request::Upgrade;
use crate::head::{Framing, Peer, Prepared, Refusal};
use crate::own_answer;
use crate::private::{self, Admission, Granted};
use crate::upstream::{
    Beginning, Declined, H1Connection, H2Connection, Key, Reuse, connect, mark, speaks_h2,
};
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// Instances that one request is offered to at most, and connections tried on one of them.
const ATTEMPTS: usize = 5;

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

/// What one try came to.
struct Tried {
    carried: Carried,
    /// The connection had carried a request before: its end may have crossed this one.
    reused: bool,
    /// Others send their requests on it too.
    shared: bool,
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
                    let Refusal { status, reason } = refusal;
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
        own_answer::give(sink, request, refusal, cookie.as_slice(), service, &self.pages, alarm).await;
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
        let began = Instant::now();
        let mut avoid = Vec::new();
        // No await from a claim to its send.
        let mut lease = match self.claim(request, private, &avoid) {
            Ok(lease) => lease,
            Err(nowhere) => {
                if request.framing != Framing::Empty {
                    sink.end_with_this();
                }
                let table = self.cell.load();
                let entry = table.find(request.host(), request.path());
                let service = entry.map(|entry| entry.desired().name.clone());
                drop(table);
                let service = service.as_ref().map(cutover_core::ServiceName::as_str);
                return self.refuse(request, nowhere.into(), service, sink, alarms.receiving).await;
            }
        };
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
        // A body is gone once it was taken.
        let repeatable = request.is_idempotent && request.framing == Framing::Empty;
        let mut reuse = if repeatable { Reuse::Any } else { Reuse::Fresh };
        let mut excused = false;
        for attempt in 1..=ATTEMPTS {
            let exchange = Exchange::new(lease, began, request.deadline);
            let Tried { carried, reused, shared } =
                self.attempt(request, peer, &exchange, reuse, source, sink, alarms).await;
            let fault = match carried {
                Carried::Whole { .. } => return,
                Carried::Failed(fault) => fault,
            };
            if sink.has_begun() {
                exchange.failed(fault.failure);
                return sink.cut();
            }
            if matches!(fault.failure, Failure::Connect | Failure::ConnectTimeout) {
                avoid.push(Arc::clone(exchange.lease().target().instance()));
            }
            // The end of a connection that was idle crossed a request that may be sent twice.
            // So may what others did on one that is shared; once, or a request that ends its instance would end several.
            let excusable = reused || shared && !std::mem::replace(&mut excused, true);
            let crossed = excusable && fault.failure == Failure::Reset && repeatable;
            // What waited in the pool with the one that failed may have ended with it.
            reuse = Reuse::None;
            let again =
                attempt < ATTEMPTS && fault.refusal.is_none() && (fault.unsent || crossed && fault.untouched);
            match again.then(|| self.claim(request, private, &avoid)) {
                Some(Ok(next)) => {
                    exchange.retried();
                    lease = next;
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

    fn claim(
        &self,
        request: &Prepared,
        private: Option<Private<'_>>,
        avoid: &[Arc<InstanceState>],
    ) -> Result<Lease, NoTarget> {
        claim(&self.cell, RequestRoute { host: request.host(), path: request.path(), avoid, private })
    }

    /// Tries one instance on one connection.
    #[allow(clippy::too_many_arguments, reason = "the two sides of an exchange, and what it is about")]
    async fn attempt<S: RequestSource, K: AnswerSink>(
        &self,
        request: &Prepared,
        peer: &Peer,
        exchange: &Exchange,
        reuse: Reuse,
        source: &mut S,
        sink: &mut K,
        alarms: &Alarms<'_>,
    ) -> Tried {
        let instance = exchange.lease().target().instance();
        let upstream = exchange.upstream();
        let introduce = upstream.proxy_protocol.map(|version| (version, Some((peer.address, peer.local))));
        let secured = upstream.tls.as_deref().map_or(0, mark);
        let key = Key { address: instance.address(), client: introduce.map(|_| peer.address), secured };
        let limit = exchange.timeouts().connect;
        let unreached = |failure| Tried {
            carried: Carried::Failed(Fault { failure, refusal: None, unsent: true, untouched: true }),
            reused: false,
            shared: false,
        };
        let beginning = Beginning {
            address: key.address,
            introduce,
            secure: upstream.tls.as_ref().map(|tls| (tls, &self.tls.upstreams)),
            protocol: upstream.protocol,
        };
        let is_h2 = match (upstream.protocol, instance.speaks_h2()) {
            (Protocol::H1, _) | (Protocol::Auto, Some(false)) => false,
            (Protocol::H2c | Protocol::H2, _) | (Protocol::Auto, Some(true)) => true,
            (Protocol::Auto, None) => match speaks_h2(beginning, alarms.receiving, limit).await {
                Ok(speaks) => {
                    instance.note_speaks_h2(speaks);
                    speaks
                }
                Err(failure) => return unreached(failure),
            },
        };
        let terms = Terms {
            exchange,
            limits: &self.clients.limits,
            sending: alarms.sending,
            receiving: alarms.receiving,
            sharing: alarms.sharing,
            hsts: if peer.secure() { exchange.lease().service().hsts() } else { None },
        };
        let protocol = if is_h2 { Protocol::H2 } else { Protocol::H1 };
        let beginning = Beginning { protocol, ..beginning };
        if is_h2 {
            return match self.h2_connection(key, beginning, alarms.receiving, limit).await {
                Ok((connection, reused)) => {
                    let carried = self.over_h2(connection, key, request, &terms, source, sink).await;
                    Tried { carried, reused, shared: true }
                }
                Err(failure) => unreached(failure),
            };
        }
        let (stream, carried_before) = match self.pool.take(key, reuse) {
            Some(taken) => taken,
            None => match connect(beginning, alarms.receiving, limit).await {
                Ok(stream) => (stream, 0),
                Err(failure) => return unreached(failure),
            },
        };
        let mut connection = H1Connection::new(stream, &self.buffers);
        let (mut up, mut down) = connection.begin(request, &self.buffers);
        let carried = carry(request, &terms, source, sink, &mut up, &mut down).await;
        drop((up, down));
        if let Carried::Whole { again: true, promised } = carried
            && let Some(stream) = connection.into_idle()
        {
            self.pool.give_back(key, stream, carried_before + 1, promised);
        }
        Tried { carried, reused: carried_before > 0, shared: false }
    }

    async fn over_h2<S: RequestSource, K: AnswerSink>(
        &self,
        mut connection: H2Connection,
        key: Key,
        request: &Prepared,
        terms: &Terms<'_>,
        source: &mut S,
        sink: &mut K,
    ) -> Carried {
        let declined =
            |failure, refusal| Carried::Failed(Fault { failure, refusal, unsent: true, untouched: true });
        let (mut up, mut down) = match connection.begin(request, &key.address.to_string()) {
            Ok(begun) => begun,
            // Nothing is wrong with the instance.
            Err(Declined::Spent) => return declined(Failure::Reset, None),
            Err(Declined::NoUpgrade) => {
                let reason = match request.upgrade {
                    Some(Upgrade::WebSocket) => "the instance takes no WebSockets over HTTP/2",
                    _ => "the instance speaks HTTP/2, which has no upgrades",
                };
                return declined(Failure::ClientGone, Some(Refusal::with(501, reason)));
            }
            Err(Declined::Untranslatable) => {
                let refusal = Refusal::bad("the request cannot be said in HTTP/2, which the instance speaks");
                return declined(Failure::ClientGone, Some(refusal));
            }
        };
        let carried = Box::pin(carry(request, terms, source, sink, &mut up, &mut down)).await;
        if let Carried::Failed(Fault { failure, unsent, .. }) = &carried
            && (*unsent || *failure == Failure::FirstByteTimeout)
        {
            // It was told to go, or does not answer: others need not try it.
            connection.spend();
        }
        carried
    }

    /// A connection with room for one more request, and whether it has carried one before.
    async fn h2_connection(
        &self,
        key: Key,
        beginning: Beginning<'_>,
        alarm: &Alarm,
        limit: Duration,
    ) -> Result<(H2Connection, bool), Failure> {
        if let Some(connection) = self.h2_pool.take(key) {
            return Ok((connection, true));
        }
        let gate = self.h2_pool.gate(key);
        let Ok(_held) = alarm.within(limit, gate.lock()).await else { return Err(Failure::ConnectTimeout) };
        // Somebody else may have opened one meanwhile.
        if let Some(connection) = self.h2_pool.take(key) {
            return Ok((connection, true));
        }
        let stream = connect(beginning, alarm, limit).await?;
        Ok((self.h2_pool.open(key, stream, alarm, limit).await?, false))
    }
}
