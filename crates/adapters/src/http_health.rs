//! Health checks over HTTP: one request, one answer head, one sentence when it is not good.

use std::error::Error;
use std::io;
use std::pin::pin;

use async_trait::async_trait;
use bytes::Bytes;
use cutover_controller::ports::HealthValidator;
use cutover_core::health::{HealthPolicy, is_healthy_status};
use cutover_core::service::Instance;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Asks instances for their health by `GET`, as the proxy does, on a connection of its own each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpHealth;

#[async_trait]
impl HealthValidator for HttpHealth {
    async fn check(&self, instance: &Instance, policy: &HealthPolicy) -> Result<(), String> {
        let status = match tokio::time::timeout(policy.timeout, ask(instance, &policy.path)).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(format!("no answer within {}", humantime::format_duration(policy.timeout)));
            }
        };
        if is_healthy_status(status.as_u16()) {
            return Ok(());
        }
        let (code, path) = (status.as_u16(), &policy.path);
        let mut reason = format!("answered {code} on `{path}`");
        if status == StatusCode::NOT_FOUND {
            reason.push_str("; set `path` in [health] to one that answers 200");
        }
        Err(reason)
    }
}

async fn ask(instance: &Instance, path: &str) -> Result<StatusCode, String> {
    let address = instance.address;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, HeaderValue::from_static("cutover-health"))
        .header(header::ACCEPT, HeaderValue::from_static("*/*"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .map_err(|_| format!("`{path}` is not a path that can be requested"))?;
    let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connection refused on {address}"),
        _ => format!("cannot connect to {address}: {error}"),
    })?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| explain(&error))?;
    let mut answer = pin!(sender.send_request(request));
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        // The connection may end in the same moment in which the answer came.
        _ = connection => answer.await,
    };
    answered.map(|response| response.status()).map_err(|error| explain(&error))
}

fn explain(error: &hyper::Error) -> String {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if error.is_parse() || error.is_parse_too_large() {
        "its answer is not HTTP/1.1".to_owned()
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "it closed the connection without an answer".to_owned()
    } else if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionReset) {
        "it reset the connection without an answer".to_owned()
    } else {
        error.to_string()
    }
}
