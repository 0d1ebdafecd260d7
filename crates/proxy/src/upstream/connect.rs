//! A new connection to an instance: within its time, and with a word about the client in front if it wants one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cutover_core::routing::{Protocol, ProxyProtocol, UpstreamTls};
use cutover_core::statistics::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy_protocol;
use crate::stream::Stream;
use crate::upstream::Secured;
use crate::watchdog::Alarm;

/// The client as a PROXY protocol header tells of it; `None` speaks of nobody, as for a probe.
pub(crate) type Introduced = Option<(SocketAddr, SocketAddr)>;

/// In which version which client is told of; `None` where instances are not told.
pub(crate) type Introduction = Option<(ProxyProtocol, Introduced)>;

/// How a connection to an instance begins.
#[derive(Clone, Copy)]
pub(crate) struct Beginning<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) introduce: Introduction,
    /// With TLS, by which of these.
    pub(crate) secure: Option<(&'a Arc<UpstreamTls>, &'a ArcSwap<Secured>)>,
    /// What will be spoken, which TLS has to agree on.
    pub(crate) protocol: Protocol,
}

/// Connects within `limit`.
pub(crate) async fn connect(
    beginning: Beginning<'_>,
    alarm: &Alarm,
    limit: Duration,
) -> Result<Stream, Failure> {
    match alarm.within(limit, open(beginning)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(_)) => Err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

/// Connects, introduces the client, and shakes hands.
pub(crate) async fn open(beginning: Beginning<'_>) -> io::Result<Stream> {
    let Beginning { address, introduce, secure, protocol } = beginning;
    // As they were when the request was given to the instance: another table may name others by the time it has connected.
    let secure = secure.map(|(tls, secured)| (tls, secured.load_full()));
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if let Some((version, client)) = introduce {
        stream.write_all(&proxy_protocol::header(version, client)).await?;
    }
    match secure {
        None => Ok(Stream::Plain(stream)),
        // Boxed, so that connections without TLS have no room for it.
        Some((tls, secured)) => {
            Box::pin(async move { secured.shake_hands(tls, protocol, address, stream).await }).await
        }
    }
}

/// The client's preface of HTTP/2 (RFC 9113, section 3.4) with empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether an instance answers the preface of HTTP/2 as HTTP/2 does, with SETTINGS; with TLS, whether it agrees to it.
/// Whatever else it answers, or its going away, is HTTP/1.1. Silence is no answer.
pub(crate) async fn speaks_h2(
    beginning: Beginning<'_>,
    alarm: &Alarm,
    limit: Duration,
) -> Result<bool, Failure> {
    let ask = async {
        let mut stream = open(beginning).await?;
        if beginning.secure.is_some() {
            return Ok(stream.speaks_h2());
        }
        let mut head = [0; 9];
        let asked = async {
            stream.write_all(PREFACE).await?;
            stream.read_exact(&mut head).await
        };
        Ok(asked.await.is_ok() && head[3] == 4 && head[5..] == [0; 4])
    };
    match alarm.within(limit, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err::<_, io::Error>(_)) => Err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}
