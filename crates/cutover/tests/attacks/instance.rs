//! An instance that behaves, and hands to be played with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, Infallible>;

const PIECE: usize = 64 * 1024;

/// What happened to an instance.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Requests it was asked.
    pub asked: AtomicUsize,
    /// Requests it holds, to the end of their answers.
    pub holds: AtomicUsize,
    /// Bytes of bodies it has read.
    pub read: AtomicU64,
    /// Bytes of bodies it has made.
    pub made: AtomicU64,
}

impl Ledger {
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn holds(&self) -> usize {
        self.holds.load(Ordering::SeqCst)
    }

    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

/// Speaks HTTP/1.1, and HTTP/2 by prior knowledge.
pub struct Instance {
    pub address: SocketAddr,
    pub ledger: Arc<Ledger>,
    accepting: JoinHandle<()>,
}

impl Instance {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = Arc::new(Ledger::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&ledger)));
        Self { address, ledger, accepting }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, ledger: Arc<Ledger>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = stream.set_nodelay(true);
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&ledger), request));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_concurrent_streams(1000);
            // A connection that ends badly is what attacks are for.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Counts a request for as long as its answer lives.
struct Held(Arc<Ledger>);

impl Held {
    fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.asked.fetch_add(1, Ordering::SeqCst);
        ledger.holds.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(ledger))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(ledger: Arc<Ledger>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let held = Held::new(&ledger);
    let path = request.uri().path().to_owned();
    let mut words = path.split('/').skip(1);
    let name = words.next().unwrap_or_default();
    let number = words.next().and_then(|number| number.parse().ok());
    let mut response = match (name, number) {
        // So many bytes, with their length.
        ("bytes", Some(length)) => {
            let mut response = Response::new(made(held, length, PIECE));
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            response
        }
        // So many bytes, without.
        ("chunks", Some(length)) => Response::new(made(held, length, PIECE)),
        // Bytes in small pieces for as long as somebody takes them.
        ("drops", _) => Response::new(made(held, u64::MAX, 10)),
        // How much of a body has come.
        ("sink", _) => {
            let length = drain(request.into_body(), &ledger).await?;
            Response::new(Full::from(length.to_string()).boxed_unsync())
        }
        // Reads nothing and says nothing.
        ("deaf", _) => {
            let _both = (request, held);
            std::future::pending().await
        }
        _ => Response::new(Full::from("ok").boxed_unsync()),
    };
    // Whatever is left of an attack is not to be waited for longer than is needed: what the proxy keeps for others, it
    // keeps for a second.
    response.headers_mut().insert("keep-alive", HeaderValue::from_static("timeout=2"));
    Ok(response)
}

fn made(held: Held, length: u64, piece: usize) -> Body {
    let piece = Bytes::from(vec![b'x'; piece]);
    StreamBody::new(stream::unfold((held, length), move |(held, left)| {
        let next = piece.slice(..usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()));
        async move {
            held.0.made.fetch_add(next.len() as u64, Ordering::SeqCst);
            let left = left - next.len() as u64;
            (!next.is_empty()).then_some((Ok(Frame::data(next)), (held, left)))
        }
    }))
    .boxed_unsync()
}

async fn drain(mut body: Incoming, ledger: &Ledger) -> Result<u64, hyper::Error> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let count = frame?.data_ref().map_or(0, Bytes::len) as u64;
        length += count;
        ledger.read.fetch_add(count, Ordering::SeqCst);
    }
    Ok(length)
}

/// An instance that a test plays by hand: each connection by itself.
pub async fn played<P, F>(play: P) -> SocketAddr
where
    P: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(stream));
        }
    });
    address
}
