//! A new connection to an instance: within its time, and with a word about the client in front if it wants one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cutover_core::routing::ProxyProtocol;
use cutover_core::statistics::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy_protocol;
use crate::watchdog::Alarm;

/// The client as a PROXY protocol header tells of it; `None` speaks of nobody, as for a probe.
pub(crate) type Introduced = Option<(SocketAddr, SocketAddr)>;

/// In which version which client is told of; `None` where instances are not told.
pub(crate) type Introduction = Option<(ProxyProtocol, Introduced)>;

/// Connects within `limit`.
pub(crate) async fn connect(
    address: SocketAddr,
    introduce: Introduction,
    alarm: &Alarm,
    limit: Duration,
) -> Result<TcpStream, Failure> {
    match alarm.within(limit, open(address, introduce)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(_)) => Err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

/// Connects, and introduces the client.
pub(crate) async fn open(address: SocketAddr, introduce: Introduction) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if let Some((version, client)) = introduce {
        stream.write_all(&proxy_protocol::header(version, client)).await?;
    }
    Ok(stream)
}

/// The client's preface of HTTP/2 (RFC 9113, section 3.4) with empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether an instance answers the preface of HTTP/2 as HTTP/2 does, with SETTINGS. Whatever else it answers, or its going
/// away, is HTTP/1.1. Silence is no answer.
pub(crate) async fn speaks_h2(
    address: SocketAddr,
    introduce: Introduction,
    alarm: &Alarm,
    limit: Duration,
) -> Result<bool, Failure> {
    let ask = async {
        let mut stream = open(address, introduce).await?;
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
