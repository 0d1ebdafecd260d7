//! The figures alone, at an address of their own, where anybody may ask: a few at once, one request by connection, nobody for
//! long, and whoever has been there for longest makes room for the next.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::api::metrics::routes;
use crate::api::server::Served;

/// Connections that are served at once.
const ASKERS: usize = 64;
/// A whole head comes within this time.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// No connection lasts longer, whoever reads slowly.
const LONGEST: Duration = Duration::from_secs(10);
/// The wait after a connection that could not be accepted.
const AFTER_TROUBLE: Duration = Duration::from_millis(100);

/// Binds where somebody wants the figures to be.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("figures cannot be given at {address}: {error}"))
}

/// Serves whoever asks there, for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, served: Served) {
    let nothing = async || (StatusCode::NOT_FOUND, "the figures are at /metrics\n");
    let service = TowerToHyperService::new(routes().fallback(nothing).with_state(served));
    let mut askers: VecDeque<AbortOnDrop> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: somebody may give one back.
                tracing::warn!(%error, "nobody can be given figures");
                tokio::time::sleep(AFTER_TROUBLE).await;
                continue;
            }
        };
        askers.retain(|asker| !asker.0.is_finished());
        if askers.len() >= ASKERS {
            askers.pop_front();
        }
        let mut one = http1::Builder::new();
        one.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
        let serving = one.serve_connection(TokioIo::new(stream), service.clone());
        askers.push_back(AbortOnDrop(tokio::spawn(async move {
            // Whatever becomes of it is its asker's matter.
            let _ = tokio::time::timeout(LONGEST, serving).await;
        })));
    }
}

/// A connection that is served, until it is let go of.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
