//! The first bytes of a client: who it is, by a PROXY protocol header where one is asked for, and what it speaks, with TLS
//! or without.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use cutover_core::routing::{ClientCertificates, Network};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;

use crate::buffers::{Expect, Inbox};
use crate::clock;
use crate::h1::connection::ClientConnection;
use crate::head::Peer;
use crate::http2::connection::serve;
use crate::http2::meter::Metered;
use crate::proxy_protocol::{self, Header};
use crate::stream::Stream;
use crate::tls;
use crate::watchdog::{Alarm, ticks_in};
use crate::worker::Worker;

/// Reads once more; whether anything came.
async fn fill<R: AsyncRead + Unpin>(inbox: &mut Inbox, stream: &mut R) -> bool {
    let filled = poll_fn(|cx| inbox.poll_fill(cx, stream, Expect::Head)).await;
    matches!(filled, Ok(1..))
}

/// What a client speaks.
enum Speaks {
    Http1,
    Http2,
}

/// Where a client was accepted.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Plain,
    /// With TLS, and what the listener asks of clients.
    Tls(Option<Arc<ClientCertificates>>),
}

/// Serves a client that was just accepted, until it goes away.
pub(crate) async fn arrive(
    worker: Rc<Worker>,
    mut socket: TcpStream,
    client: SocketAddr,
    local: SocketAddr,
    door: Door,
) {
    let mut arrival =
        Arrival { inbox: Inbox::new(Rc::clone(&worker.buffers)), alarm: worker.watchdog.alarm(), worker };
    let Some(Introduced { ends, trusted }) = arrival.introduced(&mut socket, client, local).await else {
        return;
    };
    let (mut stream, encrypted) = match door {
        Door::Plain => (Stream::Plain(socket), None),
        // Boxed, so that clients without TLS have no room for it.
        Door::Tls(clients) => match Box::pin(tls::accept(&mut arrival, socket, clients.as_ref())).await {
            Some((stream, encrypted)) => (stream, Some(encrypted)),
            None => return,
        },
    };
    let agreed = encrypted.as_ref().and_then(|encrypted| encrypted.speaks_h2);
    let peer = Peer::new(ends.0, ends.1, trusted, encrypted, clock::now_us());
    let speaks = match agreed {
        Some(true) => Speaks::Http2,
        Some(false) => Speaks::Http1,
        None => match arrival.protocol(&mut stream).await {
            Some(speaks) => speaks,
            None => return,
        },
    };
    let Arrival { worker, inbox, alarm } = arrival;
    match speaks {
        Speaks::Http1 => {
            let (receiving, looking) = (alarm.another(), alarm.another());
            ClientConnection { worker, stream, peer, inbox, alarm, receiving, looking }.serve().await;
        }
        Speaks::Http2 => {
            let (watchdog, phase) = (Rc::clone(&worker.watchdog), worker.phase.clone());
            let second = ticks_in(std::time::Duration::from_secs(1));
            let clock = Box::new(move || watchdog.now() / second);
            let io = Metered::new(stream, inbox, worker.clients.limits, clock);
            Box::pin(serve(worker, io, peer, alarm, phase)).await;
        }
    }
}

/// Who a client is, and whether it is a proxy that is believed.
struct Introduced {
    ends: (SocketAddr, SocketAddr),
    trusted: bool,
}

fn is_trusted(proxies: &[Network], address: SocketAddr) -> bool {
    proxies.iter().any(|network| network.contains(address.ip()))
}

/// A client of which nothing is known yet.
pub(crate) struct Arrival {
    pub(crate) worker: Rc<Worker>,
    pub(crate) inbox: Inbox,
    pub(crate) alarm: Alarm,
}

impl Arrival {
    /// Reads once more; whether anything came.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, stream: &mut R) -> bool {
        fill(&mut self.inbox, stream).await
    }

    /// Who the client is. `None` if it says what nobody believes.
    async fn introduced(
        &mut self,
        socket: &mut TcpStream,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Option<Introduced> {
        let worker = Rc::clone(&self.worker);
        let proxies = &worker.clients.trusted_proxies;
        let is_proxy = is_trusted(proxies, client);
        let itself = Introduced { ends: (client, local), trusted: is_proxy };
        if !worker.clients.proxy_protocol {
            return Some(itself);
        }
        // Whoever may introduce a client may introduce it as a proxy that is believed.
        if !is_proxy && !proxies.is_empty() {
            tracing::debug!(%client, "closed: it is no trusted proxy, and only those introduce clients");
            return None;
        }
        let patience = self.alarm.another();
        match patience.within(worker.clients.limits.head_time, self.introduction(socket)).await {
            // The client behind the proxy is another one, and believed only if it is a proxy too.
            Ok(Some(Some(ends))) => Some(Introduced { ends, trusted: is_trusted(proxies, ends.0) }),
            Ok(Some(None)) => Some(itself),
            Ok(None) | Err(_) => {
                tracing::debug!(%client, "closed: it did not begin with a PROXY protocol header");
                None
            }
        }
    }

    /// The client and the address it reached, as a PROXY protocol header tells; `None` if there is no such header.
    async fn introduction(&mut self, socket: &mut TcpStream) -> Option<Option<(SocketAddr, SocketAddr)>> {
        loop {
            match proxy_protocol::read(self.inbox.unread()) {
                Header::Whole { length, client } => {
                    self.inbox.consume(length);
                    return Some(client);
                }
                Header::Malformed => return None,
                Header::Partial => {
                    if !self.fill(socket).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits until a client says anything. It counts as idle until then, and may have to go for another one.
    pub(crate) async fn first_byte<R: AsyncRead + Unpin>(&mut self, stream: &mut R) -> bool {
        if !self.inbox.unread().is_empty() {
            return true;
        }
        let limit = self.worker.clients.limits.keep_alive;
        self.alarm.begin_idle();
        // The alarm that is marked is the one that is waited for: it goes off when the place is needed.
        let came = self.alarm.within(limit, fill(&mut self.inbox, stream)).await;
        self.alarm.end_idle();
        came == Ok(true)
    }

    /// Waits for as many bytes as tell the protocol; `None` if none came.
    async fn protocol<R: AsyncRead + Unpin>(&mut self, stream: &mut R) -> Option<Speaks> {
        if !self.first_byte(stream).await {
            return None;
        }
        let limits = self.worker.clients.limits;
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
                if !self.fill(stream).await {
                    return None;
                }
            }
        });
        told.await.ok().flatten()
    }
}
