//! One client's life: claim a request, make it, pause, until told to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::caller::Caller;
use crate::client::Client;
use crate::event_stream::EventStream;
use crate::grpc::GrpcStream;
use crate::http2;
use crate::kind::ClientKind;
use crate::load::Shared;
use crate::over::Over;
use crate::session;
use crate::web_socket::WebSocket;

/// The least pause after a failed request, so that a dead target is not asked a hundred thousand times a
/// second.
pub(crate) const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);

/// What makes one request after the other.
pub(crate) trait Calls: Send {
    /// Makes one request, which is always finished, and counts its end; true if it failed.
    fn call(&mut self, serial: u64) -> impl Future<Output = bool> + Send;
}

/// Lives until the load is over.
pub(crate) async fn run(client: Client, shared: Arc<Shared>, over: Over) {
    match client.kind {
        ClientKind::WebSocket => session::run(WebSocket::new(&client), &client, shared, over).await,
        ClientKind::EventStream => session::run(EventStream::new(&client), &client, shared, over).await,
        ClientKind::GrpcStream => session::run(GrpcStream::new(&client), &client, shared, over).await,
        ClientKind::Http2 { streams } => http2::run(client, streams, shared, over).await,
        _ => call_until_over(Caller::new(&client, Arc::clone(&shared)), client.pause, shared, over).await,
    }
}

/// Makes requests until the load is over.
pub(crate) async fn call_until_over(
    mut caller: impl Calls,
    pause: Duration,
    shared: Arc<Shared>,
    mut over: Over,
) {
    while !over.is_told() {
        let Some(serial) = shared.claim_request() else {
            return;
        };
        let failed = caller.call(serial).await;
        let pause = if failed { pause.max(PAUSE_AFTER_FAILURE) } else { pause };
        if !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep_until(Instant::now() + pause) => {}
                () = over.comes() => {}
            }
        }
    }
}
