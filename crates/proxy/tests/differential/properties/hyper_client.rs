//! Answers as hyper's client reads them.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::Builder;

use super::hyper_server::sorted;
use super::wire::Wire;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
}

/// The final answer to one request among these bytes, after which the server says no more.
pub(super) fn answer(bytes: &[u8], is_head: bool) -> Result<Seen, String> {
    let method = if is_head { "HEAD" } else { "GET" };
    let request = Request::builder().method(method).uri("/").header("host", "a").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let mut exchange = pin!(async {
        let mut builder = Builder::new();
        builder.max_headers(256).allow_spaces_after_header_name_in_responses(true);
        let (mut sender, connection) = builder.handshake(Wire::answering(bytes)).await?;
        let reading = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            if head.status == 101 {
                return Ok((head, Bytes::new(), Vec::new()));
            }
            let collected = body.collect().await?;
            let trailers = collected.trailers().map(sorted).unwrap_or_default();
            Ok((head, collected.to_bytes(), trailers))
        };
        beside(reading, connection).await
    });
    for _ in 0..256 {
        if let Poll::Ready(read) = exchange.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            let (head, body, trailers) = read.map_err(|error: hyper::Error| error.to_string())?;
            return Ok(Seen {
                status: head.status.as_u16(),
                fields: sorted(&head.headers),
                body: body.to_vec(),
                trailers,
            });
        }
    }
    Err("it waits for ever".to_owned())
}

/// What `reading` answers while `connection` is driven beside it, whatever becomes of that.
async fn beside<T>(reading: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut reading, mut connection) = (pin!(reading), pin!(connection));
    let mut ended = false;
    std::future::poll_fn(|cx| {
        let read = reading.as_mut().poll(cx);
        if read.is_pending() && !ended {
            ended = Pin::new(&mut connection).poll(cx).is_ready();
        }
        read
    })
    .await
}
