//! The first bytes of a client: who it is, by a PROXY protocol header where one is asked for, and what it speaks.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use cutover_core::routing::Network;
use tokio::net::TcpStream;

use crate::buffers::{Expect, Inbox};
use crate::h1::connection::ClientConnection;
use crate::head::Peer;
use crate::http2::connection::serve;
use crate::http2::meter::{Meter, Metered};
use crate::proxy_protocol::{self, Header};
use crate::watchdog::{Alarm, ticks_in};
use crate::worker::Worker;

/// Reads once more; whether anything came.
async fn fill(inbox: &mut Inbox, stream: &mut TcpStream) -> bool {
    let filled = poll_fn(|cx| inbox.poll_fill(cx, stream, Expect::Head)).await;
    matches!(filled, Ok(1..))
}

/// What a client speaks.
enum Speaks {
    Http1,
    Http2,
}

/// Serves a client that was just accepted, until it goes away.
pub(crate) async fn arrive(worker: Rc<Worker>, stream: TcpStream, client: SocketAddr, local: SocketAddr) {
    let mut arrival = Arrival {
        inbox: Inbox::new(Rc::clone(&worker.buffers)),
        alarm: worker.watchdog.alarm(),
        worker,
        stream,
    };
    let limit = arrival.worker.clients.limits.head_time;
    let mut ends = (client, local);
    let is_proxy = is_trusted(&arrival.worker.clients.trusted_proxies, client);
    let mut trusted = is_proxy;
    if arrival.worker.clients.proxy_protocol {
        // Whoever may introduce a client may introduce it as a proxy that is believed.
        if !is_proxy && !arrival.worker.clients.trusted_proxies.is_empty() {
            tracing::debug!(%client, "closed: it is no trusted proxy, and only those introduce clients");
            return;
        }
        let patience = arrival.alarm.another();
        match patience.within(limit, arrival.introduction()).await {
            Ok(Some(Some(introduced))) => {
                ends = introduced;
                // The client behind the proxy is another one, and believed only if it is a proxy too.
                trusted = is_trusted(&arrival.worker.clients.trusted_proxies, introduced.0);
            }
            Ok(Some(None)) => {}
            Ok(None) | Err(_) => {
                tracing::debug!(%client, "closed: it did not begin with a PROXY protocol header");
                return;
            }
        }
    }
    let peer = Peer::new(ends.0, ends.1, trusted);
    let Some(speaks) = arrival.protocol().await else { return };
    let Arrival { worker, stream, inbox, alarm } = arrival;
    match speaks {
        Speaks::Http1 => {
            let (receiving, looking) = (alarm.another(), alarm.another());
            ClientConnection { worker, stream, peer, inbox, alarm, receiving, looking }.serve().await;
        }
        Speaks::Http2 => {
            let (watchdog, phase) = (Rc::clone(&worker.watchdog), worker.phase.clone());
            let second = ticks_in(std::time::Duration::from_secs(1));
            let io = Metered {
                stream,
                inbox,
                meter: Meter::new(worker.clients.limits, 0),
                clock: Box::new(move || watchdog.now() / second),
                exceeded: Rc::new(Cell::new(false)),
            };
            Box::pin(serve(worker, io, peer, alarm, phase)).await;
        }
    }
}

fn is_trusted(proxies: &[Network], address: SocketAddr) -> bool {
    proxies.iter().any(|network| network.contains(address.ip()))
}

struct Arrival {
    worker: Rc<Worker>,
    stream: TcpStream,
    inbox: Inbox,
    alarm: Alarm,
}

impl Arrival {
    async fn fill(&mut self) -> bool {
        fill(&mut self.inbox, &mut self.stream).await
    }

    /// The client and the address it reached, as a PROXY protocol header tells; `None` if there is no such header.
    async fn introduction(&mut self) -> Option<Option<(SocketAddr, SocketAddr)>> {
        loop {
            match proxy_protocol::read(self.inbox.unread()) {
                Header::Whole { length, client } => {
                    self.inbox.consume(length);
                    return Some(client);
                }
                Header::Malformed => return None,
                Header::Partial => {
                    if !self.fill().await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for as many bytes as tell the protocol; `None` if none came.
    async fn protocol(&mut self) -> Option<Speaks> {
        let limits = self.worker.clients.limits;
        if self.inbox.unread().is_empty() {
            self.alarm.begin_idle();
            // The alarm that is marked is the one that is waited for: it goes off when the place is needed.
            let Self { alarm, inbox, stream, .. } = self;
            let came = alarm.within(limits.keep_alive, fill(inbox, stream)).await;
            alarm.end_idle();
            if came != Ok(true) {
                return None;
            }
        }
        let preface = crate::http2::PREFACE;
        let whole = self.alarm.another();
        let told = whole.within(limits.head_time, async {
            loop {
                let unread = self.inbox.unread();
                let shared = unread.len().min(preface.len());
                if unread[..shared] != preface[..shared] {
                    return Some(Speaks::Http1);
                }
                if shared == preface.len() {
                    return Some(Speaks::Http2);
                }
                if !self.fill().await {
                    return None;
                }
            }
        });
        told.await.ok().flatten()
    }
}
