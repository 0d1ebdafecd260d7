//! What each path answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SET_COOKIE, TRAILER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body::{self, AnswerBody, Error};
use super::{Ledger, events, grpc, web_socket};

/// The header that says which environment has answered.
pub const ENVIRONMENT: &str = "x-environment";

pub async fn answer(
    name: &'static str,
    ledger: Arc<Ledger>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Error> {
    ledger.requested();
    let is_head = request.method() == Method::HEAD;
    let mut response = by_path(name, ledger, request).await?;
    if is_head {
        *response.body_mut() = body::text("");
    }
    response.headers_mut().insert(ENVIRONMENT, HeaderValue::from_static(name));
    Ok(response)
}

async fn by_path(
    name: &'static str,
    ledger: Arc<Ledger>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Error> {
    let path = request.uri().path().to_owned();
    let mut words = path.split('/').skip(1);
    let response = match (words.next().unwrap_or_default(), words.next().and_then(|n| n.parse().ok())) {
        ("", _) => Response::new(body::text(format!("{name}\n"))),
        ("health", _) => {
            ledger.probed();
            Response::new(body::text("well\n"))
        }
        ("seen", _) => json_answer(&seen(name, &request)),
        ("sum", _) => {
            let mut found_of_head = seen(name, &request);
            found_of_head["body"] = body::found(request.into_body(), &ledger).await?;
            json_answer(&found_of_head)
        }
        ("echo", _) => {
            let mut response = Response::new(());
            if let Some(trailer) = request.headers().get(TRAILER) {
                response.headers_mut().insert(TRAILER, trailer.clone());
            }
            response.map(|()| request.into_body().map_err(Error::from).boxed_unsync())
        }
        // The length is told before.
        ("large", Some(length)) => {
            let mut response = Response::new(body::patterned(length, &ledger));
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            response
        }
        // As many bytes, then an end that is none.
        ("broken", Some(length)) => Response::new(body::broken(length)),
        ("cookies", _) => {
            let mut response = Response::new(body::text(""));
            for cookie in ["a=1; Path=/", "b=2, c=3"] {
                response.headers_mut().append(SET_COOKIE, HeaderValue::from_static(cookie));
            }
            response
        }
        // The end shows itself.
        ("endless", Some(length)) => Response::new(body::patterned(length, &ledger)),
        ("status", Some(status)) => {
            let mut response = Response::new(body::text(""));
            *response.status_mut() = StatusCode::from_u16(u16::try_from(status)?)?;
            response
        }
        ("trailers", _) => {
            let mut response = Response::new(body::with_trailers(name));
            response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-checksum, x-told-by"));
            response
        }
        // Answers when the test permits it.
        ("gate", _) => {
            let visit = ledger.visit();
            ledger.permission().await;
            visit.over();
            Response::new(body::text(format!("{name}\n")))
        }
        // Answers without having looked at the body.
        ("too-large", _) => {
            let mut response = Response::new(body::text("too large\n"));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        ("events", _) => events::stream(name, ledger),
        ("ws", _) => web_socket::accept(name, &ledger, request),
        ("ws-refused", _) => {
            let mut response = Response::new(body::text("not for you\n"));
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        }
        ("proof.Proof", _) => grpc::answer(name, ledger, request).await,
        _ => {
            let mut response = Response::new(body::text("no such path\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    Ok(response)
}

/// The head as this server got it.
fn seen(name: &str, request: &Request<Incoming>) -> Value {
    let mut headers = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in request.headers() {
        headers.entry(name.as_str()).or_default().push(value.to_str().unwrap_or_default());
    }
    json!({
        "environment": name,
        "version": format!("{:?}", request.version()),
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "authority": request.uri().authority().map(http::uri::Authority::as_str),
        "headers": headers,
    })
}

fn json_answer(value: &Value) -> Response<AnswerBody> {
    let mut response = Response::new(body::text(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
