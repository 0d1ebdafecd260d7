//! The handshake: by what the client says first it is chosen what is asked of it and shown to it.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::routing::{ClientCertificates, RouteTable, TableCell};
use cutover_tls::Facts;
use rustls::HandshakeKind;
use rustls::server::{Accepted, Acceptor, ClientHello};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;

use crate::arrival::Arrival;
use crate::head::identity::Encrypted;
use crate::stream::Stream;
use crate::tls::{Handshake, Tls, policy};

/// The fatal alert `unrecognized_name` (RFC 6066, section 3), as a record of its own.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 1, 0, 2, 2, 112];
/// The fatal alert `internal_error` (RFC 8446, section 6.2).
const INTERNAL_ERROR: &[u8] = &[21, 3, 1, 0, 2, 2, 80];
/// The first byte of a record with a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// For whoever speaks HTTP to a listener with TLS.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 52\r\n\r\n400 Bad Request: https is spoken at this port alone\n";

/// So many kilobytes of what nobody reads are taken before a socket is closed.
const SCRAPS: usize = 64;

/// What is asked of a client.
struct Demand {
    clients: Option<Arc<ClientCertificates>>,
    /// Whoever shows none is turned away at once; else it is looked at with the request.
    required: bool,
}

/// How a handshake ended without a connection to carry requests on.
enum Stop {
    Failed(String),
    /// It was no client, or has been told.
    Done,
}

/// Shakes hands with a client that was just accepted. `None` if there is nobody to serve.
pub(crate) async fn accept(
    arrival: &mut Arrival,
    mut socket: TcpStream,
    listener: Option<&Arc<ClientCertificates>>,
) -> Option<(Stream, Encrypted)> {
    let limit = arrival.worker.clients.limits.head_time;
    let alarm = arrival.alarm.another();
    let tls = Arc::clone(&arrival.worker.tls);
    if !arrival.first_byte(&mut socket).await {
        return None;
    }
    let client = socket.peer_addr().ok();
    match alarm.within(limit, Box::pin(shake_hands(arrival, socket, &tls, listener))).await {
        Ok(Ok(shaken)) => Some(shaken),
        Ok(Err(Stop::Done)) => None,
        Ok(Err(Stop::Failed(reason))) => {
            tls.count(Handshake::Failed);
            tracing::debug!(?client, reason, "no TLS with a client");
            None
        }
        Err(_) => {
            tls.count(Handshake::Failed);
            tracing::debug!(?client, ?limit, "no TLS with a client in time");
            None
        }
    }
}

async fn shake_hands(
    arrival: &mut Arrival,
    mut socket: TcpStream,
    tls: &Tls,
    listener: Option<&Arc<ClientCertificates>>,
) -> Result<(Stream, Encrypted), Stop> {
    let first = arrival.inbox.unread().first().copied();
    if first != Some(HANDSHAKE) {
        if first.is_some_and(|byte| byte.is_ascii_uppercase()) {
            tell(&mut socket, SPEAK_TLS).await;
        }
        return Err(Stop::Failed("it does not speak TLS".to_owned()));
    }
    let accepted = hello(arrival, &mut socket).await?;
    let (config, clients) = {
        let hello = accepted.client_hello();
        let host = hello.server_name();
        if is_proof(&hello) {
            let certified = host.and_then(|host| tls.challenges.certificate(host));
            match certified {
                Some(certified) => (Arc::new(policy::proof(certified)), None),
                None => {
                    tell(&mut socket, UNRECOGNIZED_NAME).await;
                    return Err(Stop::Failed("an authority looks for what nobody has ordered".to_owned()));
                }
            }
        } else {
            if tls.names.load().for_client(host).is_none() {
                let reason = format!("there is no certificate for `{}`", host.unwrap_or("no name"));
                tell(&mut socket, UNRECOGNIZED_NAME).await;
                return Err(Stop::Failed(reason));
            }
            let Demand { clients, required } = demand(&arrival.worker.cell.load(), host, listener);
            let found = tls.policies.load().find(clients.as_deref(), required);
            let Some(config) = found else {
                tell(&mut socket, INTERNAL_ERROR).await;
                return Err(Stop::Failed("the authorities of clients cannot be read".to_owned()));
            };
            (config, clients)
        }
    };
    let proves = config.alpn_protocols.iter().any(|name| name == policy::ACME_ALPN);
    let stream = StartHandshake::from_parts(accepted, socket).into_stream(config).await;
    let mut stream = stream.map_err(|error| Stop::Failed(error.to_string()))?;
    if proves {
        let _ = stream.shutdown().await;
        return Err(Stop::Done);
    }
    let connection = stream.get_ref().1;
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    tls.count(if resumed { Handshake::Resumed } else { Handshake::Full });
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    let facts = shown.map(Facts::of).transpose().map_err(|error| Stop::Failed(error.to_string()))?;
    let speaks_h2 = connection.alpn_protocol().map(|protocol| protocol == b"h2");
    let encrypted = Encrypted::new(clients, listener.cloned(), facts.as_ref(), speaks_h2);
    Ok((Stream::tls(stream), encrypted))
}

/// Reads what the client says first, to its end.
async fn hello(arrival: &mut Arrival, socket: &mut TcpStream) -> Result<Accepted, Stop> {
    let mut acceptor = Acceptor::default();
    loop {
        let mut unread = arrival.inbox.unread();
        while !unread.is_empty() {
            // Takes as much as it has room for.
            let taken = acceptor.read_tls(&mut unread as &mut dyn Read);
            if taken.map_err(|error| Stop::Failed(error.to_string()))? == 0 {
                break;
            }
        }
        arrival.inbox.clear();
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                let _ = alert.write_all(&mut bytes);
                tell(socket, &bytes).await;
                return Err(Stop::Failed(error.to_string()));
            }
        }
        if !arrival.fill(socket).await {
            return Err(Stop::Failed("it went away".to_owned()));
        }
    }
}

/// Says a last word before the socket is closed.
async fn tell(socket: &mut TcpStream, word: &[u8]) {
    // What the client has sent and nobody has read would have the kernel answer with a reset, which takes the word away.
    let mut scrap = [0; 1024];
    for _ in 0..SCRAPS {
        if !socket.try_read(&mut scrap).is_ok_and(|read| read > 0) {
            break;
        }
    }
    let _ = socket.write_all(word).await;
    let _ = socket.shutdown().await;
    let patience = Duration::from_millis(500);
    let gone = async {
        use tokio::io::AsyncReadExt;
        for _ in 0..SCRAPS {
            if !socket.read(&mut scrap).await.is_ok_and(|read| read > 0) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(patience, gone).await;
}

fn is_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut names| names.any(|name| name == policy::ACME_ALPN))
}

/// What is asked of whoever names this host: what its services ask, or else what the listener asks.
fn demand(table: &RouteTable, host: Option<&str>, listener: Option<&Arc<ClientCertificates>>) -> Demand {
    // Who names no host comes by an address, and gets to services of every host.
    let services = table.at_host(host.unwrap_or_default());
    let own = services.iter().find_map(|entry| entry.desired().https.clients.as_ref());
    let clients = own.cloned().map(Arc::new).or_else(|| listener.cloned());
    // Who asks for less on the same host must not lose its clients: then it is looked at with each request.
    let agreed = services.iter().all(|entry| {
        entry.desired().https.clients.as_ref().or(listener.map(|clients| &**clients)) == clients.as_deref()
    });
    let required = clients.as_ref().is_some_and(|clients| clients.required) && agreed;
    Demand { clients, required }
}
