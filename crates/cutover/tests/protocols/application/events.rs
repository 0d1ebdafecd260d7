//! Server-sent events, each when the test permits it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::Ledger;
use super::body::{AnswerBody, Error};

/// Events without an end; that the client has gone away is seen in the ledger.
pub fn stream(name: &'static str, ledger: Arc<Ledger>) -> Response<AnswerBody> {
    let visit = ledger.visit();
    let events = stream::unfold((0, ledger, visit), move |(number, ledger, visit)| async move {
        ledger.permission().await;
        let event = Bytes::from(format!("id: {number}\ndata: {name} {number}\n\n"));
        Some((Ok::<_, Error>(Frame::data(event)), (number + 1, ledger, visit)))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
