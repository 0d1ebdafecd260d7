//! One try of a request: one instance, one connection, whichever protocol is spoken on it.

use std::time::Duration;

use cutover_core::routing::Protocol;
use cutover_core::statistics::Failure;

use crate::answering::AnswerSink;
use crate::carry::{Carried, Fault, RequestSource, Terms, carry};
use crate::exchange::Exchange;
use crate::forward::Alarms;
use crate::head::request::Upgrade;
use crate::head::{Peer, Prepared, Refusal};
use crate::upstream::{
    Beginning, Declined, H1Connection, H2Connection, Key, Reuse, connect, mark, speaks_h2,
};
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// What one try came to.
pub(crate) struct Tried {
    pub(crate) carried: Carried,
    /// The connection had carried a request before: its end may have crossed this one.
    pub(crate) reused: bool,
    /// Others send their requests on it too.
    pub(crate) shared: bool,
}

impl Worker {
    /// Tries one instance on one connection.
    #[allow(clippy::too_many_arguments, reason = "the two sides of an exchange, and what it is about")]
    pub(crate) async fn attempt<S: RequestSource, K: AnswerSink>(
        &self,
        request: &Prepared,
        peer: &Peer,
        exchange: &Exchange<'_>,
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
            carried: Carried::Failed(Fault { failure, refusal: None, unsent: true }),
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
            stayers: &self.stayers,
            hsts: if peer.secure() { exchange.lease().service().hsts() } else { None },
        };
        let protocol = if is_h2 { Protocol::H2 } else { Protocol::H1 };
        let beginning = Beginning { protocol, ..beginning };
        if is_h2 {
            let shared = reuse != Reuse::Alone;
            return match self.h2_connection(key, beginning, shared, alarms.receiving, limit).await {
                Ok((connection, reused)) => {
                    let carried = self.over_h2(connection, key, request, &terms, source, sink).await;
                    Tried { carried, reused, shared }
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
        let declined = |failure, refusal| Carried::Failed(Fault { failure, refusal, unsent: true });
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

    /// A connection with room for one more request, and whether it has carried one before; or else one that nobody shares.
    async fn h2_connection(
        &self,
        key: Key,
        beginning: Beginning<'_>,
        shared: bool,
        alarm: &Alarm,
        limit: Duration,
    ) -> Result<(H2Connection, bool), Failure> {
        if !shared {
            let stream = connect(beginning, alarm, limit).await?;
            return Ok((H2Connection::open(stream, alarm, limit).await?, false));
        }
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
        let connection = H2Connection::open(stream, alarm, limit).await?;
        self.h2_pool.share(key, &connection);
        Ok((connection, false))
    }
}
