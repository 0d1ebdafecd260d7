//! What programs are given as the address of the release: a relay on loopback, only while they run.
//!
//! It sends everything on to the proxy, with the host that the service answers to, and by the private way with what
//! leads there. It changes nothing of an answer, and remembers whether one has not come from the idle environment: then
//! nothing that the program has found counts.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::target::{PREVIEW, Target};

/// Connections at the same time; more wait.
const MOST_CONNECTIONS: usize = 256;

/// Fields that are about one connection (RFC 9110, 7.6.1), and are said anew on the next.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Body = BoxBody<Bytes, hyper::Error>;

/// A relay that runs; it ends with this.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    asked: AtomicUsize,
    doubt: Mutex<Option<String>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    pub(super) async fn start(target: Target) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { target, asked: AtomicUsize::new(0), doubt: Mutex::new(None) });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it got.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Why nothing that was found counts, if one of the answers did not come from whom it should.
    pub(super) fn doubt(&self) -> Option<String> {
        self.shared.doubt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The connections end with this future.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(shared.relay(request).await) }
            });
            let connection = server::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Whoever breaks off has seen it.
            let _ = connection.with_upgrades().await;
            drop(place);
        });
    }
}

impl Shared {
    async fn relay(&self, request: Request<Incoming>) -> Response<Body> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let what = format!("{} {}", request.method(), request.uri().path());
        match self.ask(request).await {
            Ok(answer) => {
                if let Err(reason) = self.target.check_proof(answer.status(), answer.headers()) {
                    self.note(format!("{reason}: {what}"));
                }
                answer
            }
            Err(reason) => {
                self.note(format!("{reason}: {what}"));
                let text = Full::new(Bytes::from(format!("{reason}\n")));
                let mut answer = Response::new(text.map_err(|never| match never {}).boxed());
                *answer.status_mut() = StatusCode::BAD_GATEWAY;
                answer
            }
        }
    }

    /// The first reason is the one that is told.
    fn note(&self, reason: String) {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    async fn ask(&self, mut request: Request<Incoming>) -> Result<Response<Body>, String> {
        let address = self.target.address;
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| format!("cannot connect to the proxy at {address}: {error}"))?;
        let _ = stream.set_nodelay(true);
        let broke = |error: hyper::Error| format!("the proxy has not answered: {error}");
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        // It ends with its last body, or when nobody holds that any more.
        tokio::spawn(connection.with_upgrades());
        let upgrade = take_upgrade(request.headers());
        let below = upgrade.as_ref().and_then(|_| request.extensions_mut().remove::<OnUpgrade>());
        self.redirect(&mut request, upgrade.as_ref())?;
        let mut answer = sender.send_request(request).await.map_err(broke)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let (Some(below), Some(above)) = (below, answer.extensions_mut().remove::<OnUpgrade>())
        {
            tokio::spawn(join(below, above));
        } else {
            strip(answer.headers_mut());
        }
        Ok(answer.map(BodyExt::boxed))
    }

    /// Makes a request to the relay one to the proxy.
    fn redirect(&self, request: &mut Request<Incoming>, upgrade: Option<&HeaderValue>) -> Result<(), String> {
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let uri: Uri = path.parse().map_err(|_| "it is not a path that can be requested".to_owned())?;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        strip(headers);
        if let Some(protocol) = upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        let cannot = |what: &str| format!("{what} cannot be sent");
        if let Some(host) = &self.target.host {
            let host = HeaderValue::from_str(host).map_err(|_| cannot("its host"))?;
            headers.insert(header::HOST, host);
        }
        // Whatever the program says itself: it shall not reach anything else.
        headers.remove(PREVIEW);
        if let Some(token) = self.target.token() {
            let mut token = HeaderValue::from_str(token).map_err(|_| cannot("the private way"))?;
            token.set_sensitive(true);
            headers.insert(PREVIEW, token);
        }
        Ok(())
    }
}

fn take_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::CONNECTION)?.to_str().ok()?;
    let says = wanted.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| says).cloned()
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Carries what is spoken after a change of protocol.
async fn join(below: OnUpgrade, above: OnUpgrade) {
    if let (Ok(below), Ok(above)) = (below.await, above.await) {
        let (mut below, mut above) = (TokioIo::new(below), TokioIo::new(above));
        // Whoever ends it has seen that.
        let _ = tokio::io::copy_bidirectional(&mut below, &mut above).await;
    }
}
