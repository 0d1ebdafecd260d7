//! One connection: HTTP/1.1, unless it begins as HTTP/2 does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::application::{Application, ECHO_AT_MOST, Reply};
use super::misdeed::{Moment, Way};
use super::request::{Asks, BadHead, Request, parse};
use super::rewound::Rewound;
use super::{events, http2, web_socket};
use crate::framing::{Body, Framing};
use crate::pattern::{self, STREAM_CHUNK_BYTES};

const MAX_HEAD_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 8 * 1024;
/// How every connection with HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection until it ends; its errors are its client's to notice.
pub(super) async fn serve(mut stream: TcpStream, application: Arc<Application>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(way) = application.misdeeds.due(Moment::OnAccept) {
        return way.part(&mut stream).await;
    }
    let mut buffer = BytesMut::new();
    if begins_as_http2(&mut stream, &mut buffer).await? {
        return http2::serve(Rewound::new(buffer, stream), application).await;
    }
    while let Some(request) = read_head(&mut stream, &mut buffer, &application).await? {
        let status = application.status.load(Ordering::Relaxed);
        let Ok(request) = request else {
            let reply = Reply { status: 400, headers: Vec::new(), body: Vec::new() };
            return stream.write_all(&application.wire(&reply, false, false)).await;
        };
        if let Some(way) = application.misdeeds.due(Moment::AfterHead) {
            return way.part(&mut stream).await;
        }
        match &request.asks {
            Asks::WebSocket { key } if status == 200 => {
                return web_socket::serve(stream, buffer, &application, key).await;
            }
            Asks::Events { every, last } if status == 200 => {
                events::serve(&mut stream, &mut buffer, &application, *every, *last).await?;
            }
            Asks::Stream { chunks, every } if status == 200 => {
                send_chunks(&mut stream, &application, *chunks, *every).await?;
            }
            _ => {
                if let Some(way) = answer(&mut stream, &mut buffer, &application, &request, status).await? {
                    return way.part(&mut stream).await;
                }
            }
        }
        if !request.keep_alive {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// Reads the rest of a request and answers it; a way of parting if the connection is to end instead.
async fn answer(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    application: &Application,
    request: &Request,
    status: u16,
) -> io::Result<Option<Way>> {
    if let Asks::Page { after } = request.asks
        && !after.is_zero()
    {
        tokio::time::sleep(after).await;
    }
    if request.is_plain && status == 200 {
        let way = application.misdeeds.due(Moment::BeforeAnswer);
        if way.is_none() {
            stream.write_all(&application.ready_answer).await?;
        }
        return Ok(way);
    }
    if request.expects_continue {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let Some(body) = read_body(stream, buffer, request.framing).await? else {
        let reply = Reply { status: 400, headers: Vec::new(), body: Vec::new() };
        stream.write_all(&application.wire(&reply, false, false)).await?;
        return Ok(Some(Way::Close));
    };
    let received = request.has_body.then_some((body.received, body.kept));
    let reply = application.process(status, received, request.key.as_deref());
    let way = application.misdeeds.due(Moment::BeforeAnswer);
    if way.is_none() {
        stream.write_all(&application.wire(&reply, request.head_only, request.keep_alive)).await?;
    }
    Ok(way)
}

/// Sends the pattern, piece by piece.
async fn send_chunks(
    stream: &mut TcpStream,
    application: &Application,
    chunks: usize,
    every: Duration,
) -> io::Result<()> {
    stream.write_all(&application.head(200, &[("transfer-encoding", "chunked".to_owned())])).await?;
    for index in 0..chunks {
        tokio::time::sleep(every).await;
        let piece = pattern::bytes(index * STREAM_CHUNK_BYTES, STREAM_CHUNK_BYTES);
        stream.write_all(&chunk(&piece)).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// Bytes in the framing of one chunk.
pub(super) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Reads as much as it takes to tell.
async fn begins_as_http2(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<bool> {
    loop {
        let compared = buffer.len().min(PREFACE.len());
        if buffer[..compared] != PREFACE[..compared] {
            return Ok(false);
        }
        if compared == PREFACE.len() {
            return Ok(true);
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    }
}

/// Reads the next head; `None` once the client has closed.
async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    application: &Application,
) -> io::Result<Option<Result<Request, BadHead>>> {
    loop {
        if !buffer.is_empty() {
            match parse(buffer, |target| application.asked_for(target)) {
                Ok(None) if buffer.len() <= MAX_HEAD_BYTES => {}
                Ok(Some((length, request))) => {
                    buffer.advance(length);
                    return Ok(Some(Ok(request)));
                }
                Ok(None) | Err(BadHead) => {
                    application.requests.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Err(BadHead)));
                }
            }
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Reads a whole body; `None` if its chunks make no sense.
async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    framing: Framing,
) -> io::Result<Option<Body>> {
    let mut body = Body::new(framing, ECHO_AT_MOST);
    loop {
        match body.advance(buffer) {
            Ok(true) => return Ok(Some(body)),
            Ok(false) => {}
            Err(_) => return Ok(None),
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
