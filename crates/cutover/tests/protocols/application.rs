//! An application server in this process, as blue or as green: each answer tells which.
//!
//! It knows nothing of proxies. What happened to it is told by its [`Ledger`], and nothing that waits in it goes on
//! before the test permits it, so that no test depends on timing.

mod answer;
mod body;
mod events;
pub mod grpc;
mod ledger;
mod web_socket;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub use answer::ENVIRONMENT;
pub use ledger::Ledger;

/// The protocols of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    H1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    Both,
}

/// A server that ends with the test.
pub struct Application {
    pub name: &'static str,
    pub address: SocketAddr,
    pub ledger: Arc<Ledger>,
    speaks: Speaks,
    accepting: JoinHandle<()>,
}

impl Application {
    pub async fn start(name: &'static str, speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = Arc::new(Ledger::default());
        let accepting = tokio::spawn(accept(listener, name, speaks, Arc::clone(&ledger)));
        Self { name, address, ledger, speaks, accepting }
    }

    /// The version that its requests have, where it speaks but one protocol.
    pub fn version(&self) -> &'static str {
        match self.speaks {
            Speaks::H1 => "HTTP/1.1",
            Speaks::H2c => "HTTP/2.0",
            Speaks::Both => unreachable!("it depends on the client"),
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, name: &'static str, speaks: Speaks, ledger: Arc<Ledger>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        ledger.connected();
        tokio::spawn(serve(stream, name, speaks, Arc::clone(&ledger)));
    }
}

async fn serve(stream: TcpStream, name: &'static str, speaks: Speaks, ledger: Arc<Ledger>) {
    let service = service_fn(move |request| answer::answer(name, Arc::clone(&ledger), request));
    // A connection that ends badly is what some tests want; they see it at the other end or in the ledger.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    match speaks {
        Speaks::H1 => {
            let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
        }
        Speaks::H2c => {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.enable_connect_protocol().max_concurrent_streams(1000);
            let _ = server.serve_connection(io, service).await;
        }
        Speaks::Both => {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().enable_connect_protocol().max_concurrent_streams(1000);
            let _ = server.serve_connection_with_upgrades(io, service).await;
        }
    }
}
