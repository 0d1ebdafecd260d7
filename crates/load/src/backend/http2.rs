//! One connection with HTTP/2, by prior knowledge.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::application::{Application, ECHO_AT_MOST};
use super::echo;
use super::goodbye::Goodbye;
use super::misdeed::{Moment, Way};
use super::request::Asks;
use super::rewound::Rewound;
use crate::h2_connection::data;
use crate::pattern::{self, STREAM_CHUNK_BYTES};

/// Serves all streams of one connection until it ends.
pub(super) async fn serve(stream: Rewound, application: Arc<Application>) -> io::Result<()> {
    let resets = stream.resets();
    let mut farewell = application.farewell.wait();
    let mut connection = h2::server::handshake(stream).await.map_err(io::Error::other)?;
    let (part, mut parting) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    loop {
        let way = tokio::select! {
            // GOAWAY is on its way before the streams say anything.
            biased;
            goodbye = farewell.told() => match goodbye {
                Goodbye::Asked => {
                    connection.graceful_shutdown();
                    continue;
                }
                Goodbye::Cut => Way::Close,
                Goodbye::Reset => Way::Reset,
            },
            Some(way) = parting.recv() => way,
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (application, part) = (Arc::clone(&application), part.clone());
                    streams.spawn(async move {
                        if let Ok(Some(way)) = answer(request, respond, &application).await {
                            // If nobody listens, the connection has ended already.
                            let _ = part.send(way);
                        }
                    });
                    continue;
                }
                Some(Err(_)) | None => return Ok(()),
            },
            Some(_) = streams.join_next() => continue,
        };
        resets.store(way == Way::Reset, Ordering::Relaxed);
        return Ok(());
    }
}

/// Answers one request; a way of parting if the connection is to end instead.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    application: &Application,
) -> Result<Option<Way>, h2::Error> {
    let (head, mut body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    application.asked_for(target);
    let status = application.status.load(Ordering::Relaxed);
    if let Some(way) = application.misdeeds.due(Moment::AfterHead) {
        return Ok(Some(way));
    }
    let header = |name: &str| head.headers.get(name).map(http::HeaderValue::as_bytes);
    if header("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc")) && status == 200 {
        return echo::serve(body, respond, application).await.map(|()| None);
    }
    let asks = Asks::of(head.method == Method::GET, target, header);
    if let (Asks::Stream { chunks, every }, 200) = (&asks, status) {
        let mut send = respond.send_response(response(application, 200, &[]), false)?;
        for index in 0..*chunks {
            tokio::time::sleep(*every).await;
            let piece = pattern::bytes(index * STREAM_CHUNK_BYTES, STREAM_CHUNK_BYTES);
            send_all(&mut send, Bytes::from(piece), false).await?;
        }
        send.send_data(Bytes::new(), true)?;
        return Ok(None);
    }
    if let Asks::Page { after } = asks {
        tokio::time::sleep(after).await;
    }
    let (mut received, mut kept) = (0, Vec::new());
    while let Some(piece) = data(&mut body).await? {
        received += piece.len() as u64;
        kept.extend_from_slice(&piece[..piece.len().min(ECHO_AT_MOST - kept.len())]);
    }
    let has_body = head.method == Method::POST || received > 0;
    let key = header("idempotency-key").map(String::from_utf8_lossy);
    let reply = application.process(status, has_body.then_some((received, kept)), key.as_deref());
    if let Some(way) = application.misdeeds.due(Moment::BeforeAnswer) {
        return Ok(Some(way));
    }
    let head_only = head.method == Method::HEAD;
    let mut headers = reply.headers;
    headers.push(("content-length", reply.body.len().to_string()));
    let no_body = head_only || reply.body.is_empty();
    let mut send = respond.send_response(response(application, status, &headers), no_body)?;
    if !no_body {
        send_all(&mut send, Bytes::from(reply.body), true).await?;
    }
    Ok(None)
}

/// The head of an answer.
pub(super) fn response(
    application: &Application,
    status: u16,
    headers: &[(&'static str, String)],
) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let map: &mut HeaderMap = response.headers_mut();
    for (name, value) in application.identity.iter().chain(headers) {
        // Names of environments that are no header are left out, as everywhere.
        if let Ok(value) = http::HeaderValue::from_str(value) {
            map.insert(*name, value);
        }
    }
    response
}

/// Sends as fast as the client's window allows.
pub(super) async fn send_all(
    send: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let capacity = match std::future::poll_fn(|context| send.poll_capacity(context)).await {
            Some(capacity) => capacity?,
            None => return Ok(()),
        };
        let piece = bytes.split_to(capacity.min(bytes.len()));
        send.send_data(piece, last && bytes.is_empty())?;
    }
    Ok(())
}
