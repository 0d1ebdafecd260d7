//! The client's side of a connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::body::RequestBody;
use crate::forward::Forwarder;

/// A client that has not sent a whole head after this time, counted from the last answer, is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// What every connection of a worker shares.
pub(crate) struct Server {
    pub(crate) forwarder: Forwarder,
    /// Set when the process is about to end: clients are told with their next answer, never cut.
    pub(crate) closing: Cell<bool>,
}

impl Server {
    /// Serves one client until it goes away.
    pub(crate) async fn serve(self: Rc<Self>, stream: TcpStream, client: SocketAddr) {
        let address = client.ip().to_canonical().to_string();
        let Ok(client) = HeaderValue::from_str(&address) else { return };
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let request = request.map(RequestBody::new);
            let (server, client) = (&self, &client);
            async move {
                let mut response = server.forwarder.forward(request, client).await;
                if server.closing.get() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(client = %address, %error, "connection ended early");
        }
    }
}
