//! One request: match, pick, claim, send, and again elsewhere if not one byte of it was lost.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cutover_core::routing::{InstanceState, Lease, NoTarget, RequestRoute, claim};
use cutover_core::statistics::Failure;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;

use crate::body::{AnswerBody, InstanceBody, RequestBody};
use crate::cell::Cell;
use crate::exchange::Exchange;
use crate::headers::{remove_hop_by_hop, set_forwarded};
use crate::upstream::{Pool, Reuse, Sent, send};

/// Instances that one request is offered to at most, and connections tried on one of them.
const ATTEMPTS: usize = 3;

/// What one worker forwards with.
pub(crate) struct Forwarder {
    pub(crate) cell: Cell,
    pub(crate) pool: Rc<Pool>,
}

impl Forwarder {
    /// Carries one request of a client and answers what an instance, or else the proxy, says.
    pub(crate) async fn forward(
        &self,
        mut request: Request<RequestBody>,
        client: &HeaderValue,
    ) -> Response<AnswerBody> {
        let began = Instant::now();
        if let Err((status, reason)) = prepare(&mut request, client) {
            return own_answer(status, reason);
        }
        let mut avoid = Vec::new();
        // No await from a claim to its send.
        let mut lease = match self.claim(&request, &avoid) {
            Ok(lease) => lease,
            Err(nowhere) => return own_answer(nowhere_status(nowhere), &nowhere.to_string()),
        };
        // Only what has no body can be sent twice; a body is gone once it was taken.
        let repeatable = request.method().is_idempotent() && request.body().is_empty();
        let mut reuse = if repeatable { Reuse::Any } else { Reuse::Fresh };
        for attempt in 1.. {
            let exchange = Exchange::new(lease, began);
            let copy = repeatable.then(|| copy_of(&request));
            let failed = match send(&self.pool, &exchange, request, reuse).await {
                // Nobody asked for another protocol: upgrades end at this hop.
                Ok(sent) if sent.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    exchange.unanswered(Failure::Malformed);
                    return own_answer(StatusCode::BAD_GATEWAY, failure_reason(Failure::Malformed));
                }
                Ok(sent) => return answer(sent, exchange),
                Err(failed) => failed,
            };
            if matches!(failed.failure, Failure::Connect | Failure::ConnectTimeout) {
                avoid.push(Arc::clone(exchange.lease().target().instance()));
            }
            let again = match failed.unsent {
                Some(unsent) => Some(unsent),
                // The end of a connection that was idle crossed a request that may be sent twice.
                None if failed.reused && failed.failure == Failure::Reset => copy,
                None => None,
            };
            // What waited in the pool with the one that failed may have ended with it.
            reuse = Reuse::None;
            let next = again.filter(|_| attempt < ATTEMPTS);
            match next.and_then(|next| Some((self.claim(&next, &avoid).ok()?, next))) {
                Some((next_lease, next)) => {
                    exchange.retried();
                    (lease, request) = (next_lease, next);
                }
                None => {
                    exchange.unanswered(failed.failure);
                    return own_answer(failure_status(failed.failure), failure_reason(failed.failure));
                }
            }
        }
        unreachable!("the last attempt answers")
    }

    fn claim(&self, request: &Request<RequestBody>, avoid: &[Arc<InstanceState>]) -> Result<Lease, NoTarget> {
        let route = RequestRoute { host: host_of(request.headers()), path: request.uri().path(), avoid };
        claim(&self.cell, route)
    }
}

/// Makes a client's head into the one that an instance gets.
fn prepare(
    request: &mut Request<RequestBody>,
    client: &HeaderValue,
) -> Result<(), (StatusCode, &'static str)> {
    if request.method() == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "CONNECT is not for a reverse proxy"));
    }
    // RFC 9112, section 3.2.2: the authority of an absolute-form target replaces the Host field.
    if let Some(authority) = request.uri().authority() {
        if authority.as_str().contains('@') {
            return Err((StatusCode::BAD_REQUEST, "the target must not hold user information"));
        }
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| (StatusCode::BAD_REQUEST, "the target's host is malformed"))?;
        request.headers_mut().insert(header::HOST, host);
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target: Uri = target.parse().map_err(|_| (StatusCode::BAD_REQUEST, "the target is malformed"))?;
        *request.uri_mut() = target;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next(), request.version()) {
        (Some(_), None, _) | (None, None, Version::HTTP_10) => {}
        _ => return Err((StatusCode::BAD_REQUEST, "exactly one Host field is needed")),
    }
    let host = request.headers().get(header::HOST).cloned();
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    // The server side has answered 100 Continue already if the client wanted it.
    headers.remove(header::EXPECT);
    headers.entry(header::HOST).or_insert(HeaderValue::from_static(""));
    set_forwarded(headers, client, host);
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}

/// The host that routing looks at: without port.
fn host_of(headers: &http::HeaderMap) -> &str {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match (host.rfind(':'), host.ends_with(']')) {
        (Some(colon), false) => &host[..colon],
        _ => host,
    }
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn answer(sent: Sent, exchange: Rc<Exchange>) -> Response<AnswerBody> {
    let (mut head, incoming) = sent.response.into_parts();
    exchange.answered(head.status.as_u16());
    remove_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    if incoming.is_end_stream() {
        if exchange.is_request_sent() {
            sent.connection.give_back();
        }
        return Response::from_parts(head, AnswerBody::Own(None));
    }
    let body = InstanceBody::new(incoming, exchange, sent.connection);
    Response::from_parts(head, AnswerBody::Instance(body))
}

fn nowhere_status(nowhere: NoTarget) -> StatusCode {
    match nowhere {
        NoTarget::NoService => StatusCode::NOT_FOUND,
        NoTarget::NoInstance => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn failure_status(failure: Failure) -> StatusCode {
    match failure {
        Failure::ConnectTimeout | Failure::FirstByteTimeout => StatusCode::GATEWAY_TIMEOUT,
        Failure::Connect | Failure::Reset | Failure::Malformed | Failure::Truncated => {
            StatusCode::BAD_GATEWAY
        }
        Failure::ClientGone => StatusCode::REQUEST_TIMEOUT,
    }
}

fn failure_reason(failure: Failure) -> &'static str {
    match failure {
        Failure::Connect => "the instance could not be reached",
        Failure::ConnectTimeout => "the instance did not accept the connection in time",
        Failure::Reset => "the instance closed the connection without an answer",
        Failure::FirstByteTimeout => "the instance did not answer in time",
        Failure::Malformed => "the instance's answer could not be understood",
        Failure::Truncated => "the instance's answer ended in the middle",
        Failure::ClientGone => "the request did not arrive in time",
    }
}

/// An answer in the proxy's own words: the status and one short line.
pub(crate) fn own_answer(status: StatusCode, reason: &str) -> Response<AnswerBody> {
    let words = Bytes::from(format!("{status}: {reason}\n"));
    let mut response = Response::new(AnswerBody::Own(Some(words)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_sees_the_host_without_its_port() {
        let check = |host: &'static str, expected: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(host_of(&headers), expected);
        };
        check("shop.example.com", "shop.example.com");
        check("shop.example.com:8080", "shop.example.com");
        check("[::1]:8080", "[::1]");
        check("[::1]", "[::1]");
    }
}
