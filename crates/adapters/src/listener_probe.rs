//! Goes the way of users through each listener of the proxy, and says which environment has answered.
//!
//! The health path is asked for, which a pause lets through, with a token that stands for users: the proxy names the release
//! in its answer to it. Over TLS any certificate will do, because the question is who routes, not whom to believe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::ports::{ShiftProbe, WantedProbe};
use cutover_core::receipt::Probe;
use cutover_core::routing::Listen;
use cutover_core::{Environment, ServiceName, Timestamp};
use cutover_tls::client::Trust;
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// No head of an answer is longer.
const HEAD: usize = 64 * 1024;

/// Signs what stands for the users of a service until a moment; `None` where there is no key.
pub type UsersWay = Arc<dyn Fn(&ServiceName, Timestamp) -> Option<String> + Send + Sync>;

/// Looks through the listeners of the proxy of this host.
pub struct ListenerProbe {
    listen: Listen,
    way: UsersWay,
}

impl ListenerProbe {
    /// Through these listeners.
    #[must_use]
    pub fn new(listen: Listen, way: UsersWay) -> Self {
        Self { listen, way }
    }

    async fn look(&self, address: SocketAddr, tls: bool, wanted: &WantedProbe) -> Probe {
        let asked = ask(address, tls, wanted, (self.way)(&wanted.service, wanted.until));
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        let probe = Probe { listener: address, tls, answered: None, status: None, problem: None };
        match asked {
            Err(problem) => Probe { problem: Some(problem), ..probe },
            Ok(head) => {
                let tag = head.release.as_deref();
                let named = |environment: &Environment| tag == Some(wanted.releases[*environment].as_str());
                let answered =
                    Environment::ALL.into_iter().find(|environment| tag.is_some() && named(environment));
                let problem =
                    answered.is_none().then(|| "the answer names no release of the service".to_owned());
                Probe { answered, status: Some(head.status), problem, ..probe }
            }
        }
    }
}

#[async_trait]
impl ShiftProbe for ListenerProbe {
    async fn look(&self, wanted: &WantedProbe) -> Vec<Probe> {
        let mut probes = Vec::new();
        let Listen { http, https } = &self.listen;
        let all =
            http.iter().map(|address| (*address, false)).chain(https.iter().map(|address| (*address, true)));
        for (address, tls) in all {
            probes.push(self.look(address, tls, wanted).await);
        }
        probes
    }
}

/// What the head of an answer says.
#[derive(Debug)]
struct Head {
    status: u16,
    release: Option<String>,
}

async fn ask(
    address: SocketAddr,
    tls: bool,
    wanted: &WantedProbe,
    token: Option<String>,
) -> Result<Head, String> {
    let token = token.ok_or("there is no key to say who asks")?;
    let mut reached = address;
    if reached.ip().is_unspecified() {
        reached.set_ip(match reached.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let socket =
        TcpStream::connect(reached).await.map_err(|error| format!("it cannot be reached: {error}"))?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: cutover/{}\r\nX-Cutover-Preview: {token}\r\n\r\n",
        wanted.path,
        wanted.host,
        env!("CARGO_PKG_VERSION"),
    );
    if !tls {
        return exchange(socket, &request).await;
    }
    // It is asked who answers, not whether the certificate is good.
    let config = cutover_tls::client::config(Trust::Anybody, None, &[]).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(wanted.host.clone())
        .map_err(|_| format!("`{}` is no name for TLS", wanted.host))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    exchange(stream.map_err(|error| without_tls(&error, &wanted.host))?, &request).await
}

/// Why there is no TLS with a listener: a service of which it has no certificate is no trouble of the listener's.
fn without_tls(error: &std::io::Error, host: &str) -> String {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match reason {
        Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)) => {
            format!("it has no certificate for `{host}`")
        }
        _ => format!("no TLS with it: {error}"),
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Result<Head, String> {
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = read(&bytes)? {
            return Ok(head);
        }
        if bytes.len() > HEAD {
            return Err("its answer has no end of its head".to_owned());
        }
        if stream.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            return Err("it closed the connection without an answer".to_owned());
        }
    }
}

fn read(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("its answer cannot be understood: {error}")),
    }
    let named = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case("x-cutover-preview"));
    let release = named.map(|field| String::from_utf8_lossy(field.value).into_owned());
    Ok(Some(Head { status: answer.code.unwrap_or_default(), release }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_known_is_told_as_what_it_is() {
        let alert = |description| std::io::Error::other(rustls::Error::AlertReceived(description));
        let unknown = without_tls(&alert(AlertDescription::UnrecognisedName), "shop.test");
        assert_eq!(unknown, "it has no certificate for `shop.test`");
        assert!(
            without_tls(&alert(AlertDescription::HandshakeFailure), "shop.test")
                .starts_with("no TLS with it: ")
        );
    }

    #[test]
    fn an_answer_names_its_release_or_none() {
        let head = read(b"HTTP/1.1 200 OK\r\nX-Cutover-Preview: 0123abcd\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, head.release.as_deref()), (200, Some("0123abcd")));
        let head = read(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, head.release), (503, None));
        assert!(read(b"HTTP/1.1 200 OK\r\nX-").unwrap().is_none());
        assert!(read(b"SSH-2.0\r\n\r\n").is_err());
    }
}
