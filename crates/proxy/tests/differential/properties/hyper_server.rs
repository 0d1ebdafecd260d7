//! Requests as hyper's server reads them.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;

use super::wire::Wire;

/// More than any of ours; how many fields a head may have is a limit, not a reading.
const MOST_FIELDS: usize = 256;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) is_old: bool,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
}

/// All whole requests among these bytes, after which the client says no more, and whether hyper is content with them.
pub(super) fn requests(bytes: &[u8]) -> (Vec<Seen>, bool) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let collected = body.collect().await.map_err(|_| "a broken body")?;
            let trailers = collected.trailers().map(sorted).unwrap_or_default();
            seen.borrow_mut().push(Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                is_old: head.version == Version::HTTP_10,
                fields: sorted(&head.headers),
                body: collected.to_bytes().to_vec(),
                trailers,
            });
            Ok::<_, &'static str>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = Builder::new();
    builder.half_close(true).max_headers(MOST_FIELDS);
    let content = {
        let mut connection = pin!(builder.serve_connection(Wire::speaking(bytes), service));
        // All bytes are there, so that a few polls are enough for whatever they hold.
        let ended =
            (0..64).find_map(|_| match connection.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(ended) => Some(ended),
                Poll::Pending => None,
            });
        ended.is_some_and(|ended| ended.is_ok())
    };
    let seen = seen.take();
    (seen, content)
}

/// By name; fields of one name keep their order.
pub(super) fn sorted(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> =
        map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}
