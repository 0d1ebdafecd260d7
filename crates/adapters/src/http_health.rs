//! Health checks over HTTP/1.1 and HTTP/2: one request, one answer head, one sentence when it is not good.

mod secure;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use async_trait::async_trait;
use bytes::Bytes;
use cutover_controller::ports::HealthValidator;
use cutover_core::health::{HealthCheck, is_healthy_status};
use cutover_core::routing::{Protocol, Upstream};
use cutover_core::service::Instance;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks instances for their health by `GET`, as the proxy does, on a connection of its own each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpHealth;

#[async_trait]
impl HealthValidator for HttpHealth {
    async fn check(&self, instance: &Instance, check: &HealthCheck) -> Result<(), String> {
        let HealthCheck { policy, upstream } = check;
        let status =
            match tokio::time::timeout(policy.timeout, ask(instance.address, &policy.path, upstream)).await {
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

async fn ask(address: SocketAddr, path: &str, upstream: &Upstream) -> Result<StatusCode, String> {
    if let Some(tls) = &upstream.tls {
        let stream =
            secure::connect(connect(address, upstream).await?, address, tls, upstream.protocol).await?;
        return if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            ask_h2(stream, address, path).await
        } else {
            ask_h1(stream, address, path).await
        };
    }
    match upstream.protocol {
        Protocol::H1 => ask_h1(connect(address, upstream).await?, address, path).await,
        Protocol::H2c | Protocol::H2 => ask_h2(connect(address, upstream).await?, address, path).await,
        // Most speak HTTP/1.1, and complain in their logs when they are asked for anything else.
        Protocol::Auto => match ask_h1(connect(address, upstream).await?, address, path).await {
            Ok(status) => Ok(status),
            Err(reason) => match ask_h2(connect(address, upstream).await?, address, path).await {
                Ok(status) => Ok(status),
                Err(_) => Err(reason),
            },
        },
    }
}

async fn connect(address: SocketAddr, upstream: &Upstream) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connection refused on {address}"),
        _ => format!("cannot connect to {address}: {error}"),
    })?;
    if let Some(version) = upstream.proxy_protocol {
        let told = stream.write_all(version.header_of_nobody()).await;
        told.map_err(|_| "it closed the connection without an answer".to_owned())?;
    }
    Ok(stream)
}

fn not_a_path(path: &str) -> String {
    format!("`{path}` is not a path that can be requested")
}

async fn ask_h1<S>(stream: S, address: SocketAddr, path: &str) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, HeaderValue::from_static("cutover-health"))
        .header(header::ACCEPT, HeaderValue::from_static("*/*"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .map_err(|_| not_a_path(path))?;
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

async fn ask_h2<S>(stream: S, address: SocketAddr, path: &str) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(format!("http://{address}{path}"))
        .header(header::USER_AGENT, HeaderValue::from_static("cutover-health"))
        .header(header::ACCEPT, HeaderValue::from_static("*/*"))
        .body(())
        .map_err(|_| not_a_path(path))?;
    let not_h2 = |error: h2::Error| match error.reason() {
        _ if error.is_io() => "it closed the connection without an answer".to_owned(),
        Some(reason) if error.is_remote() => format!("its answer is an error of HTTP/2: {reason}"),
        _ => "its answer is not HTTP/2".to_owned(),
    };
    let (sender, connection) = h2::client::handshake(stream).await.map_err(not_h2)?;
    let ask = async {
        let mut sender = sender.ready().await?;
        let (answer, _) = sender.send_request(request, true)?;
        answer.await.map(|response| response.status())
    };
    let mut ask = pin!(ask);
    let answered = tokio::select! {
        biased;
        answered = &mut ask => answered,
        ended = connection => match ended {
            Err(error) => Err(error),
            Ok(()) => ask.await,
        },
    };
    answered.map_err(not_h2)
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
